"""Ranked lists of items: the best for users, and the most similar to one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from eckart.arguments import check_flag
from eckart.errors import ArgumentError, MatrixError
from eckart.files.tables import write_tables
from eckart.progress import Report, Watch, unwatched
from eckart.recommend.columns import Names
from eckart.recommend.ids import all_of
from eckart.recommend.model import Model
from eckart.recommend.ranking import Ranking, rank, ranked_blocks, with_popular
from eckart.recommend.settings import whole_number
from eckart.recommend.vocabulary import Id

SMALLEST: Final = 1e-12
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
        own = {"item": self.item, "score": self.score}
        return own if self.title is None else {**own, "title": self.title}


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
    asked = all_of(users)
    places = model.data.users.places(asked)
    ids = model.data.users.alike(asked).to_pylist()
    lists: list[RankedList] = []
    allowed = allowed_items(model, only, without)
    for ranking, popular in ranked(model, places, k, seen=seen, allowed=allowed):
        for row in range(len(ranking.users)):
            place = int(places[len(lists)])
            user = ids[len(lists)] if place < 0 else model.data.users.at(place)
            lists.append(
                listed(
                    model,
                    ranking,
                    row,
                    names=names,
                    user=user,
                    popular=bool(popular[row]),
                )
            )
    return lists


def ranked(
    model: Model,
    places: npt.NDArray[np.int32],
    k: int,
    *,
    seen: bool,
    allowed: npt.NDArray[np.bool_] | None,
) -> Iterator[tuple[Ranking, npt.NDArray[np.bool_]]]:
    """Rank items for users by place, −1 for unknown; yields lists and a mask of popular ones."""
    # an index of −1, an unknown user, thus finds True
    strangers = np.append(model.strangers(), True)
    cold, cold_row = strangers[places], len(model.data.users)
    score = with_popular(model.scores, model.popularity(), strangers)
    rows = np.where(cold, cold_row, places).astype(np.intp)
    starts = model.data.starts()  # extended by one user, who has seen nothing, for all unknown ones
    history = None if seen else (np.append(starts, starts[-1]), model.data.columns)
    total = len(model.data.items)
    # no list is longer than all items: padding for a huge k would fill the memory
    k = min(whole_number("k", k), total)
    begin = 0
    for block in ranked_blocks(score, rows, total, k, history=history, allowed=allowed):
        end = begin + len(block.users)
        own = Ranking(
            # places as given, with −1 for unknown users, not the shared row that stood for them
            users=places[begin:end].astype(np.intp),
            items=block.items,
            scores=block.scores,
        )
        yield own, cold[begin:end]
        begin = end


def allowed_items(
    model: Model, only: Iterable[object] | None, without: Iterable[object] | None
) -> npt.NDArray[np.bool_] | None:
    """A mask of the items that may be listed; None if all may.

    Raises:
        MatrixError: If an item is unknown.
    """
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


def listed(
    model: Model,
    ranking: Ranking,
    place: int = 0,
    *,
    names: Names | None = None,
    user: Id | None = None,
    popular: bool = False,
) -> RankedList:
    """The list at one place of a ranking, with ids and titles."""
    # −1 marks the end of a list that is shorter than k
    kept = ranking.items[place] >= 0
    ids = model.data.items.listed(ranking.items[place][kept])
    scores = ranking.scores[place][kept].tolist()
    lines = [
        RankedItem(item=one, score=score, title=None if names is None else names.get(str(one), ""))
        for one, score in zip(ids, scores, strict=True)
    ]
    return RankedList(lines=tuple(lines), user=user, popular=popular)


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
        return {
            "users": self.users,
            "lines": self.lines,
            "popular": self.popular,
            "path": self.path,
        }


def write_top(
    model: Model,
    path: Path,
    users: Any,
    k: int = 10,
    *,
    seen: bool = False,
    only: Iterable[object] | None = None,
    without: Iterable[object] | None = None,
    names: Names | None = None,
    watch: Watch = unwatched,
    force: bool = False,
) -> Written:
    """Write the k best items of some users or of all users to a table.

    Args:
        model: The fitted model.
        path: Path of a .parquet, .csv, .tsv or .jsonl file.
        users: Ids of the users; None takes all. Unknown users get the most popular items.
        k: Number of items for each user.
        seen: Whether items that the user has interacted with may be listed.
        only: The items that may be listed; None allows all.
        without: The items that may not be listed.
        names: Titles by id.
        watch: Shows how many users are done.
        force: Whether existing files are overwritten.

    Raises:
        MatrixError: If an item is unknown.
        StorageError: If the system refuses to write.

    Cost:
        32 MB of scores and one block of the table at a time.
    """
    places = np.arange(len(model.data.users), dtype=np.int32)
    asked: Any = None
    if users is not None:
        ids = all_of(users)
        places = model.data.users.places(ids)
        # the ids of known users come from the model, so the given ones are kept only if needed
        asked = model.data.users.alike(ids) if (places < 0).any() else None
    allowed = allowed_items(model, only, without)
    counts = {"lines": 0, "popular": 0}

    def blocks(report: Report) -> Any:
        for table, size in top_tables(
            model, places, k, seen=seen, allowed=allowed, names=names, asked=asked
        ):
            counts["lines"] += len(table["item"])
            report(size)
            yield table

    with watch("Ranking", len(places)) as report:
        write_tables(path, blocks(report), force=force)
    return Written(
        users=len(places),
        lines=counts["lines"],
        popular=int(np.append(model.strangers(), True)[places].sum()),
        path=str(path),
    )


def top_tables(
    model: Model,
    places: npt.NDArray[np.int32],
    k: int,
    *,
    seen: bool = False,
    allowed: npt.NDArray[np.bool_] | None = None,
    names: Names | None = None,
    asked: Any = None,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Recommend to many users: yields blocks of a table of lists, and the number of users in each.

    Args:
        model: The fitted model.
        places: Places of the users, −1 for unknown ones.
        k: Number of items for each user.
        seen: Whether items that the user has interacted with may be listed.
        allowed: A mask of the items that may be listed; None allows all.
        names: Titles by id.
        asked: Ids of the users, given if unknown users are to be named.
    """
    begin = 0
    for ranking, popular in ranked(model, places, k, seen=seen, allowed=allowed):
        size = len(ranking.users)
        own = None if asked is None else asked.slice(begin, size)
        yield as_table(model, ranking, names=names, popular=popular, asked=own), size
        begin += size


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


pc: Final[Any] = compute  # its functions are created at import, which no type checker sees
