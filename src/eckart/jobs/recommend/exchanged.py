"""Whether users and items stand in each other's place, or have ids of another kind."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.errors import MatrixError
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.reading import Table
from eckart.jobs.recommend.vocabulary import Vocabulary

FEW: Final = 0.5
MANY: Final = 0.9


def check_not_exchanged(
    table: Table,
    rows: npt.NDArray[Any],
    columns: npt.NDArray[Any],
    known: tuple[Vocabulary, Vocabulary],
) -> list[str]:
    """Hold the ids of a table against those that a model knows, both ways round.

    Args:
        table: That was read.
        rows: The places of its users, −1 where they are unknown.
        columns: The places of its items.
        known: The users and the items of the model.

    Returns:
        What to tell the reader, if it cannot be decided.

    Raises:
        MatrixError: If the users of the table are the items of the model.
    """
    fits = np.mean((rows >= 0) & (columns >= 0)) if len(rows) else 1.0
    if fits >= MANY:
        return []
    users, items = known
    turned = np.mean(
        (items.places(table.columns["user"], "user") >= 0)
        & (users.places(table.columns["item"], "item") >= 0)
    )
    if turned < MANY or turned <= fits:
        return []
    if fits <= FEW:
        raise MatrixError(
            f"Users and items of {table.source} are exchanged: its users are items of the model "
            f"in {turned:.0%} of the rows, and users of it in {fits:.0%}.",
            hint="Name the columns with --user and --item the other way round; a matrix is "
            "users × items, so give its transpose.",
            code="transposed",
        )
    return [
        f"Only {fits:.0%} of the pairs of {table.source} are known, but {turned:.0%} are if its "
        "users are taken as items; if they are exchanged, name them with --user and --item."
    ]


def check_numbered(known: Interactions, ids: tuple[Any, Any]) -> None:
    """Refuse a sparse matrix whose rows and columns are numbered, where a model has other ids.

    Args:
        known: What the model knows.
        ids: Of the rows and of the columns; None where they are numbered.

    Raises:
        MatrixError: If numbers are no ids of the model.
    """
    for vocabulary, own, what in zip(
        (known.users, known.items), ids, ("user", "item"), strict=True
    ):
        if own is None and not pa.types.is_integer(vocabulary.ids.type):
            raise MatrixError(
                f"The model knows {what}s by name, and those of the matrix have only numbers.",
                hint=f"Give {what}_ids, one for each {'row' if what == 'user' else 'column'}.",
                code="other-ids",
            )
