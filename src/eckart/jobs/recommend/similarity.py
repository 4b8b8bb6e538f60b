"""The items most like one."""

from typing import Final

import numpy as np
import numpy.typing as npt

from eckart.errors import ArgumentError
from eckart.jobs.recommend.answers import Listed, listed
from eckart.jobs.recommend.checks import whole_number
from eckart.jobs.recommend.model import Model
from eckart.jobs.recommend.names import Names
from eckart.jobs.recommend.ranking import rank

SMALLEST: Final = 1e-12


def similar_items(model: Model, item: object, k: int = 10, *, names: Names | None = None) -> Listed:
    """The k items whose factors point most nearly where those of one do.

    The score is the cosine of the angle between the two, from −1 to 1, in the coordinates where
    both sides weigh the same (BᵀB = AAᵀ), so that it does not depend on how a solver happened to
    scale them.

    Args:
        model: That was fitted.
        item: Its id.
        k: How many.
        names: Titles by id.

    Raises:
        ArgumentError: If the item is unknown, or has no factors.

    Cost:
        One product with the factors of all items.
    """
    place = model.item(item)
    directions = _directions(model)
    own = directions[place]
    if not own.any():
        raise ArgumentError(
            f"Nothing is known of item {item}.",
            hint="Give one that users dealt with.",
            code="no-factors",
        )
    k = min(whole_number("k", k), len(directions))
    allowed = np.arange(len(directions)) != place
    scores = (directions @ own)[None, :]
    ranking = rank(
        lambda users: scores[users].copy(), np.array([0]), len(directions), k, allowed=allowed
    )
    return listed(model, ranking, names=names)


def _directions(model: Model) -> npt.NDArray[np.float32]:
    """The factors of the items, each of length 1, or 0 where it has none."""
    A = model.offset.factors.balance().A.T
    lengths = np.linalg.norm(A, axis=1, keepdims=True)
    return np.where(lengths > SMALLEST, A / np.maximum(lengths, SMALLEST), 0).astype(np.float32)
