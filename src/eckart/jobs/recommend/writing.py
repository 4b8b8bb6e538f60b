"""Lists of many users written to a table, block by block."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from eckart.errors import MatrixError
from eckart.jobs.recommend.columns import KNOWN, NAMES, ColumnNames
from eckart.jobs.recommend.ids import all_of
from eckart.jobs.recommend.model import Model
from eckart.jobs.recommend.names import Names
from eckart.jobs.recommend.top import allowed_items, top_tables
from eckart.storage.table_text import plain
from eckart.storage.tables import read_columns, table_head, write_tables


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The result of `write_top`.

    Fields:
        users: Whose lists were written.
        lines: Of all lists together.
        popular: Users of whom nothing is known, who got the popular items.
        path: Of the table.
    """

    users: int
    lines: int
    popular: int
    path: str

    def sentence(self) -> str:
        """What was done."""
        told = (
            f"; nothing is known of {self.popular:,} of them, who got the popular items"
            if self.popular
            else ""
        )
        return f"{self.lines:,} recommendations for {self.users:,} users{told}."

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text."""
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
    on_block: Callable[..., None] | None = None,
    force: bool = False,
) -> Written:
    """Write the k best items of some users, or of all, to a table.

    Args:
        model: That was fitted.
        path: A .parquet, .csv, .tsv or .jsonl file.
        users: Their ids; None takes all. Unknown ones get the popular items.
        k: How many items each.
        seen: Whether items may be listed that the user has already dealt with.
        only: The items that may be listed; None allows all.
        without: Items that may not.
        names: Titles by id.
        on_block: Called with a word for each block of users.
        force: Overwrite what is there.

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
        asked = model.data.users.alike(ids) if (places < 0).any() else None
    allowed = allowed_items(model, only, without)
    counts = {"lines": 0, "popular": 0}

    def blocks() -> Any:
        begin = 0
        for table, size in top_tables(
            model, places, k, seen=seen, allowed=allowed, names=names, asked=asked
        ):
            counts["lines"] += len(table["item"])
            begin += size
            if on_block is not None:
                on_block(f"{begin:,} users")
            yield table

    write_tables(path, blocks(), force=force)
    return Written(
        users=len(places),
        lines=counts["lines"],
        popular=int(np.append(model.strangers(), True)[places].sum()),
        path=str(path),
    )


def read_ids(path: Path, role: str, named: ColumnNames | None = None) -> list[Any]:
    """The ids of a table, of their own types: its column of users or items, else its first.

    Args:
        path: The table.
        role: user or item.
        named: What columns of ids were called at the fit.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If it is damaged.
        MatrixError: If a row has no id.
    """
    usual = plain((named or ColumnNames()).known().get(role, ""))
    words = {usual} if usual and not usual.isdigit() else set[str]()
    head = table_head(path, KNOWN | {"id"} | words)
    labels = [plain(name) for name in head.names or ()]
    common = (*words, *NAMES[role], "id")
    place = next((labels.index(name) for name in common if name in labels), 0)
    found = read_columns(path, head, {place: "id"}).column(0).to_pylist()
    if None in found:
        raise MatrixError(
            f"Row {found.index(None) + 1} of {path.name} has no {role}.",
            hint="Leave it out; a word such as NA is an id in quotes only.",
            code="missing-id",
        )
    return found
