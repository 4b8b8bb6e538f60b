"""Titles of items, by id."""

from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa
from pyarrow import compute

from eckart.errors import MatrixError
from eckart.jobs.recommend.columns import NAMES
from eckart.jobs.recommend.ids import all_of, without_points
from eckart.storage.columns import plain_values
from eckart.storage.table_text import plain
from eckart.storage.tables import read_columns, table_head

pc: Final[Any] = compute  # its functions are made when it is imported, which no type checker sees
Names: TypeAlias = dict[str, str]
"""Title by the text of an id."""
TITLES: Final = ("title", "name", "itemname", "movietitle", "label", "product", "description")


def read_names(path: str | PathLike[str]) -> Names:
    """Titles by id from a table: its column of items, or the first; its titles, or the second.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If it is damaged.
        MatrixError: If it has one column only.
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
    # 10.0 is the title of 10 as well, unless that has one of its own
    return {
        **dict(zip(without_points(keys).to_pylist(), texts, strict=True)),
        **dict(zip(keys.to_pylist(), texts, strict=True)),
    }
