"""Lists of recommended items as objects, documents and tables, and the items similar to one."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from eckart.errors import ArgumentError, MatrixError
from eckart.files.columns import plain_values
from eckart.files.tables import read_columns, table_head
from eckart.files.text.table import plain
from eckart.recommend.columns import NAMES
from eckart.recommend.feedback import whole_number
from eckart.recommend.ids import all_of, without_points
from eckart.recommend.model import Model
from eckart.recommend.ranking import Ranking, rank
from eckart.recommend.vocabulary import Id

pc: Final[Any] = compute  # its functions are created at import, which no type checker sees
Names: TypeAlias = dict[str, str]
"""The title of each item, by the text of its id."""
TITLES: Final = ("title", "name", "itemname", "movietitle", "label", "product", "description")
"""Usual names of columns of titles, in lower case without punctuation; the first found counts."""


def read_names(path: str | PathLike[str]) -> Names:
    """Read the titles of items from a table with a column of ids and a column of titles.

    The ids are in the column with a usual name of items, else in the first; the titles are in the
    column with a usual name of titles, else in the second.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If the file is damaged.
        MatrixError: If the table has one column only.
        StorageError: If the system refuses to read it.
    """
    source = Path(path)
    head = table_head(source, frozenset((*NAMES["item"], *TITLES)))
    if head.width < 2:
        raise MatrixError(
            f"{source} has one column.",
            hint="Give ids in one and titles in another.",
            code="no-such-column",
        )
    labels = [plain(name) for name in head.names or ()]
    ids = next((labels.index(name) for name in (*NAMES["item"], "id") if name in labels), 0)
    others = [labels.index(name) for name in TITLES if name in labels]
    titles = next((place for place in others if place != ids), 1 if ids == 0 else 0)
    table: Any = read_columns(source, head, {ids: "id", titles: "text"})
    # a row without an id names nothing
    table = table.filter(pc.is_valid(table.column(str(ids))))
    keys = all_of(table.column(str(ids))).cast(pa.string())
    try:
        values = plain_values(table.column(str(titles)).combine_chunks()).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise MatrixError(
            f"The titles of {source} are of the type {table.column(str(titles)).type}.",
            hint="Give text.",
            code="not-text",
        ) from error
    texts = [value or "" for value in values.to_pylist()]
    # pandas writes whole ids as floats where a cell of their column is missing: the title of 10.0
    # is that of 10 as well, unless 10 has one of its own
    return {
        **dict(zip(without_points(keys).to_pylist(), texts, strict=True)),
        **dict(zip(keys.to_pylist(), texts, strict=True)),
    }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One item of a ranked list.

    Fields:
        item: Id of the item.
        score: Score of the item, higher is better; a predicted rating if the model was fitted to
            ratings.
        title: Title of the item; None where no names were given.
    """

    item: Id
    score: float
    title: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values; without the title if there are no names."""
        own = {"item": self.item, "score": self.score}
        return own if self.title is None else {**own, "title": self.title}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A ranked list of items, for one user or similar to one item.

    Fields:
        lines: The items, the best first.
        user: Id of the user; None for items that are similar to one.
        popular: Whether these are the most popular items, because nothing is known of the user.
    """

    lines: tuple[Line, ...]
    user: Id | None = None
    popular: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        items = [line.to_dict() for line in self.lines]
        if self.user is None:
            return {"items": items}
        return {"user": self.user, "popular": self.popular, "items": items}


def listed(
    model: Model,
    ranking: Ranking,
    place: int = 0,
    *,
    names: Names | None = None,
    user: Id | None = None,
    popular: bool = False,
) -> Listed:
    """The list at one place of a ranking, with ids and titles."""
    # −1 marks the end of a list that is shorter than k
    kept = ranking.items[place] >= 0
    ids = model.data.items.listed(ranking.items[place][kept])
    scores = ranking.scores[place][kept].tolist()
    lines = [
        Line(item=one, score=score, title=None if names is None else names.get(str(one), ""))
        for one, score in zip(ids, scores, strict=True)
    ]
    return Listed(lines=tuple(lines), user=user, popular=popular)


def as_table(
    model: Model, ranking: Ranking, *, names: Names | None, popular: Any, asked: Any = None
) -> dict[str, Any]:
    """All lists of a ranking as columns: user, item, place, score, popular and, with names, title.

    Args:
        model: The fitted model.
        ranking: The ranked lists of some users.
        names: Titles by id; None leaves the column out.
        popular: A mask of the users who got the most popular items.
        asked: Ids of the users, given if some may be unknown to the model.
    """
    k = ranking.items.shape[1]
    lists = np.repeat(np.arange(len(ranking.users)), k)
    # −1 marks the end of a list that is shorter than k
    kept = ranking.items.ravel() >= 0
    whose = lists[kept]
    users = model.data.users
    ids = users.column(ranking.users[whose]) if asked is None else asked.take(pa.array(whose))
    columns = {
        "user": ids,
        "item": model.data.items.column(ranking.items.ravel()[kept]),
        "place": pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), len(ranking.users))[kept]),
        "score": pa.array(ranking.scores.ravel()[kept]),
        "popular": pa.array(np.asarray(popular, np.bool_)[whose]),
    }
    if names is not None:
        titled = columns["item"].cast(pa.string()).to_pylist()
        columns["title"] = pa.array([names.get(one, "") for one in titled])
    return columns


SMALLEST: Final = 1e-12
"""Length of factors up to which an item counts as having none."""


def similar_items(model: Model, item: object, k: int = 10, *, names: Names | None = None) -> Listed:
    """The k items whose factors have the directions nearest to those of a given item.

    The score is the cosine of the angle between the factors of both items, from −1 to 1, after
    balancing the factors (BᵀB = AAᵀ), so that it does not depend on how a solver happened to scale
    them.

    Args:
        model: The fitted model.
        item: Id of the item.
        k: Number of items in the list.
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
    # an item is always most similar to itself
    allowed = np.arange(len(directions)) != place
    scores = (directions @ own)[None, :]
    ranking = rank(
        lambda users: scores[users].copy(), np.array([0]), len(directions), k, allowed=allowed
    )
    return listed(model, ranking, names=names)


def _directions(model: Model) -> npt.NDArray[np.float32]:
    """The factors of the items, scaled to length 1; zeros for items without factors."""
    A = model.offset.factors.balance().A.T
    lengths = np.linalg.norm(A, axis=1, keepdims=True)
    return np.where(lengths > SMALLEST, A / np.maximum(lengths, SMALLEST), 0).astype(np.float32)
