"""The best items for one user, some or all."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eckart.arguments import check_flag
from eckart.errors import MatrixError
from eckart.jobs.recommend.answers import Listed, as_table, listed
from eckart.jobs.recommend.baselines import with_popular
from eckart.jobs.recommend.checks import whole_number
from eckart.jobs.recommend.ids import all_of
from eckart.jobs.recommend.model import Model
from eckart.jobs.recommend.names import Names
from eckart.jobs.recommend.ranking import Ranking, ranked_blocks


def top_items(
    model: Model,
    users: Sequence[object],
    k: int = 10,
    *,
    seen: bool = False,
    only: Iterable[object] | None = None,
    without: Iterable[object] | None = None,
    names: Names | None = None,
) -> list[Listed]:
    """The k best items of some users, the best first.

    Of whom nothing is known, neither history nor attributes, gets the items that most users dealt
    with, and the list says so.

    Args:
        model: That was fitted.
        users: Their ids; a user may be unknown.
        k: How many items. There may be fewer, where fewer are left.
        seen: Whether items may be listed that the user has already dealt with.
        only: The items that may be listed; None allows all.
        without: Items that may not.
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
    lists: list[Listed] = []
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
    """The same for many users, as columns of blocks of a table, and how many users each holds.

    Args:
        model: That was fitted.
        places: Of the users, −1 for unknown ones.
        k: How many items.
        seen: Whether items may be listed that the user has already dealt with.
        allowed: A mask of items.
        names: Titles by id.
        asked: The ids of the users, where unknown ones are to be named.
    """
    begin = 0
    for ranking, popular in ranked(model, places, k, seen=seen, allowed=allowed):
        size = len(ranking.users)
        own = None if asked is None else asked.slice(begin, size)
        yield as_table(model, ranking, names=names, popular=popular, asked=own), size
        begin += size


def ranked(
    model: Model,
    places: npt.NDArray[np.int32],
    k: int,
    *,
    seen: bool,
    allowed: npt.NDArray[np.bool_] | None,
) -> Iterator[tuple[Ranking, npt.NDArray[np.bool_]]]:
    """Lists of users by place, −1 for unknown ones, and which of them hold the popular items."""
    strangers = np.append(model.strangers(), True)
    cold, cold_row = strangers[places], len(model.data.users)
    score = with_popular(model.scores, model.popularity(), strangers)
    rows = np.where(cold, cold_row, places).astype(np.intp)
    starts = model.data.starts()  # with one user more, who has seen nothing
    history = None if seen else (np.append(starts, starts[-1]), model.data.columns)
    total = len(model.data.items)
    k = min(whole_number("k", k), total)
    begin = 0
    for block in ranked_blocks(score, rows, total, k, history=history, allowed=allowed):
        end = begin + len(block.users)
        own = Ranking(
            users=places[begin:end].astype(np.intp), items=block.items, scores=block.scores
        )
        yield own, cold[begin:end]
        begin = end


def allowed_items(
    model: Model, only: Iterable[object] | None, without: Iterable[object] | None
) -> npt.NDArray[np.bool_] | None:
    """A mask of the items that may be listed; None where all may.

    Raises:
        MatrixError: If one is unknown.
    """
    if only is None and without is None:
        return None
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
