"""The best items for one user, several or all, also written to a table block by block."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from eckart.arguments import check_flag
from eckart.errors import MatrixError
from eckart.files.tables import read_columns, table_head, write_tables
from eckart.files.text.table import plain
from eckart.progress import Report, Watch, unwatched
from eckart.recommend.answers import Listed, Names, as_table, listed
from eckart.recommend.columns import KNOWN, NAMES, ColumnNames
from eckart.recommend.feedback import whole_number
from eckart.recommend.ids import all_of
from eckart.recommend.model import Model
from eckart.recommend.ranking import Ranking, ranked_blocks, with_popular


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


def read_ids(path: Path, role: str, named: ColumnNames | None = None) -> list[Any]:
    """Read the ids of a table: its column of users or items, else its first column.

    Args:
        path: The table.
        role: "user" or "item".
        named: Names of the columns at the fit.

    Returns:
        The ids in the types that the table gives them.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If the file is damaged.
        MatrixError: If a row has no id.
    """
    usual = plain((named or ColumnNames()).known().get(role, ""))
    words = {usual} if usual and not usual.isdigit() else set[str]()
    head = table_head(path, KNOWN | {"id"} | words)
    labels = [plain(name) for name in head.names or ()]
    common = (*words, *NAMES[role], "id")
    # the first column, if none has a usual name
    place = next((labels.index(name) for name in common if name in labels), 0)
    found = read_columns(path, head, {place: "id"}).column(0).to_pylist()
    if None in found:
        raise MatrixError(
            f"Row {found.index(None) + 1} of {path.name} has no {role}.",
            hint="Leave it out; a word such as NA is an id in quotes only.",
            code="missing-id",
        )
    return found
