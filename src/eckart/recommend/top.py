"""Ranked lists of items: the best for users, and the most similar to one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.arguments import check_flag
from eckart.errors import ArgumentError, MatrixError
from eckart.files.tables import write_tables
from eckart.progress import Report, Watch, unwatched
from eckart.recommend.chunked import Column, as_document
from eckart.recommend.columns import Names
from eckart.recommend.ids import all_of
from eckart.recommend.model import Model
from eckart.recommend.ranking import Ranking, rank, rank_blocks, with_popular
from eckart.recommend.settings import whole_number
from eckart.recommend.vocabulary import Id, Places

LEAST_LENGTH: Final = 1e-12
"""Length of factors up to which an item counts as having none."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RankedItem:
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
        return as_document(self)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RankedList:
    """A ranked list of items, for one user or similar to one item.

    Fields:
        lines: The items, the best first.
        user: Id of the user; None for items that are similar to one.
        popular: Whether these are the most popular items, because nothing is known of the user.
    """

    lines: tuple[RankedItem, ...]
    user: Id | None = None
    popular: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        items = [line.to_dict() for line in self.lines]
        if self.user is None:
            return {"items": items}
        return {"user": self.user, "popular": self.popular, "items": items}


def top_items(
    model: Model,
    users: Sequence[object],
    k: int = 10,
    *,
    seen: bool = False,
    only: Iterable[object] | None = None,
    without: Iterable[object] | None = None,
    names: Names | None = None,
) -> list[RankedList]:
    """Recommend the k best items to each of some users, the best first.

    Users of whom nothing is known, neither history nor attributes, get the most popular items, and
    their list says so.

    Args:
        model: The fitted model.
        users: Ids of the users; they may be unknown.
        k: Number of items for each user; fewer are listed if fewer are left.
        seen: Whether items that the user has interacted with may be listed.
        only: The items that may be listed; None allows all.
        without: The items that may not be listed.
        names: Titles by id.

    Raises:
        ArgumentError: If k is below 1.
        MatrixError: If an item of `only` or `without` is unknown.

    Cost:
        users × items × rank operations; 32 MB of scores at a time.
    """
    check_flag("seen", seen)
    places, asked = _places(model, users)
    lists: list[RankedList] = []
    allowed = allowed_items(model, only, without)
    for ranking, popular in rank_users(model, places, k, seen=seen, allowed=allowed):
        for row, place in enumerate(ranking.users.tolist()):
            given = None if asked is None else asked[len(lists)].as_py()
            user = given if place < 0 else model.data.users.at(place)
            lines = _lines(model, ranking, row, names)
            lists.append(RankedList(lines=lines, user=user, popular=bool(popular[row])))
    return lists


def _places(model: Model, users: Iterable[object]) -> tuple[Places, Column | None]:
    """The places of users, −1 for unknown; and the given ids, if some are unknown."""
    ids = all_of(users)
    places = model.data.users.places(ids)
    # the ids of known users come from the model, so the given ones are kept only if needed
    return places, model.data.users.convert(ids) if (places < 0).any() else None


def rank_users(
    model: Model, places: Places, k: int, *, seen: bool, allowed: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[Ranking, npt.NDArray[np.bool_]]]:
    """Rank items for users by place, −1 for unknown; yields lists and a mask of popular ones."""
    # an index of −1, an unknown user, thus finds True
    strangers = np.append(model.strangers(), True)
    cold = strangers[places]
    score = with_popular(model.scores, model.data.popularity(), strangers)
    # one row for all unknown users, who have seen nothing
    rows = np.where(cold, len(model.data.users), places).astype(np.intp)
    total = len(model.data.items)
    # no list is longer than all items: padding for a huge k would fill the memory
    k = min(whole_number("k", k), total)
    begin = 0
    known = None if seen else model.data
    for block in rank_blocks(score, rows, total, k, seen=known, allowed=allowed):
        here = slice(begin, begin + len(block.users))
        # places as given, with −1 for unknown users, not the shared row that stood for them
        yield replace(block, users=places[here].astype(np.intp)), cold[here]
        begin = here.stop


def allowed_items(
    model: Model, only: Iterable[object] | None, without: Iterable[object] | None
) -> npt.NDArray[np.bool_] | None:
    """A mask of the items that may be listed; None if all may."""
    if only is None and without is None:
        return None
    # `only` first, then `without` takes from it
    allowed = np.full(len(model.data.items), only is None)
    for ids, may in ((only, True), (without, False)):
        if ids is not None:
            wanted = all_of(ids)
            places = model.data.items.places(wanted)
            if (places < 0).any():
                unknown = wanted[int(np.argmax(places < 0))].as_py()
                raise MatrixError(
                    f"The model knows no item {unknown}.",
                    hint="Give items that it was fitted to.",
                    code="unknown-item",
                )
            allowed[places] = may
    return allowed


def _lines(model: Model, ranking: Ranking, row: int, names: Names | None) -> tuple[RankedItem, ...]:
    """The items of one list of a ranking, with ids and titles."""
    # −1 marks the end of a list that is shorter than k
    kept = ranking.items[row] >= 0
    ids = model.data.items.to_list(ranking.items[row][kept])
    return tuple(
        RankedItem(item=one, score=score, title=None if names is None else names.get(str(one), ""))
        for one, score in zip(ids, ranking.scores[row][kept].tolist(), strict=True)
    )


def similar_items(
    model: Model, item: object, k: int = 10, *, names: Names | None = None
) -> RankedList:
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
    A = model.offset.factors.balance().A.T
    lengths = np.linalg.norm(A, axis=1, keepdims=True)
    # zeros for items without factors
    directions = np.where(lengths > LEAST_LENGTH, A / np.maximum(lengths, LEAST_LENGTH), 0)
    directions = directions.astype(np.float32)
    if not directions[place].any():
        raise ArgumentError(
            f"Nothing is known of item {item}.",
            hint="Give one that users dealt with.",
            code="no-factors",
        )
    k = min(whole_number("k", k), len(directions))
    # an item is always most similar to itself
    allowed = np.arange(len(directions)) != place
    scores = (directions @ directions[place])[None, :]
    ranking = rank(
        lambda users: scores[users].copy(), np.array([0]), len(directions), k, allowed=allowed
    )
    return RankedList(lines=_lines(model, ranking, 0, names))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The result of `write_top`.

    Fields:
        users: Number of users whose lists were written.
        lines: Number of lines of all lists.
        popular: Number of users of whom nothing is known, who got the most popular items.
        path: Path of the table.
    """

    users: int
    lines: int
    popular: int
    path: str

    def sentence(self) -> str:
        """What was done, in a sentence."""
        told = (
            f"; nothing is known of {self.popular:,} of them, who got the popular items"
            if self.popular
            else ""
        )
        return f"{self.lines:,} recommendations for {self.users:,} users{told}."

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return asdict(self)


def write_top(
    model: Model,
    path: Path,
    users: Iterable[object] | None,
    k: int = 10,
    *,
    seen: bool = False,
    only: Iterable[object] | None = None,
    without: Iterable[object] | None = None,
    names: Names | None = None,
    watch: Watch = unwatched,
    force: bool = False,
) -> Written:
    """Write the k best items of some users or of all users (None) to a table, as `top_items` does.

    Cost:
        32 MB of scores and one block of the table at a time.
    """
    places, asked = np.arange(len(model.data.users), dtype=np.int32), None
    if users is not None:
        places, asked = _places(model, users)
    allowed = allowed_items(model, only, without)
    lines, popular_users, done = 0, 0, 0

    def blocks(report: Report) -> Iterator[dict[str, Column]]:
        nonlocal lines, popular_users, done
        for ranking, popular in rank_users(model, places, k, seen=seen, allowed=allowed):
            size = len(ranking.users)
            own = None if asked is None else asked.slice(done, size)
            table = _as_table(model, ranking, popular, names, own)
            lines, popular_users, done = (
                lines + len(table["item"]), popular_users + int(popular.sum()), done + size,
            )  # fmt: skip
            report(size)
            yield table

    with watch("Ranking", len(places)) as report:
        write_tables(path, blocks(report), force=force)
    return Written(users=len(places), lines=lines, popular=popular_users, path=str(path))


def _as_table(
    model: Model,
    ranking: Ranking,
    popular: npt.NDArray[np.bool_],
    names: Names | None,
    asked: Column | None,
) -> dict[str, Column]:
    """All lists of a ranking as columns: user, item, place, score, popular and, with names, title.

    `popular` marks the users who got the most popular items; `asked` holds the ids of the users if
    some may be unknown to the model.
    """
    k = ranking.items.shape[1]
    # −1 marks the end of a list that is shorter than k
    kept = ranking.items.ravel() >= 0
    whose = np.repeat(np.arange(len(ranking.users)), k)[kept]
    users = model.data.users.column(ranking.users[whose]) if asked is None else asked.take(
        pa.array(whose)
    )  # fmt: skip
    columns = {
        "user": users,
        "item": model.data.items.column(ranking.items.ravel()[kept]),
        "place": pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), len(ranking.users))[kept]),
        "score": pa.array(ranking.scores.ravel()[kept]),
        "popular": pa.array(popular[whose]),
    }
    if names is not None:
        titled = columns["item"].cast(pa.string()).to_pylist()
        columns["title"] = pa.array([names.get(one, "") for one in titled])
    return columns
