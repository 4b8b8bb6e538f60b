"""Columns of a Parquet file by their positions, since names may occur more than once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq

from eckart.storage.table import is_words
from eckart.storage.whole import damaged

INDEX = "__index_level_"
"""How pandas begins the name of an index that has none."""


@final
class ParquetColumns:
    """A Parquet file, opened.

    Args:
        path: The file.
        buffer: Bytes of a column that are read at a time; 0 reads whole columns, and ahead.

    Fields:
        names: Of the columns.
        types: Arrow types of the columns.
        rows: How many there are.
        heights: Rows of each row group.
        footer: Bytes that describe the file, as they are stored.

    Raises:
        FormatError: If the schema is not that of the columns.
    """

    def __init__(self, path: Path, buffer: int = 0) -> None:
        self._file = pq.ParquetFile(path, pre_buffer=buffer == 0, buffer_size=buffer)
        self._schema: Any = self._file.schema_arrow
        self.names: list[str] = list(self._schema.names)
        self.types: list[Any] = list(self._schema.types)
        data = self._file.metadata
        self.rows = int(data.num_rows)
        self.heights = [data.row_group(group).num_rows for group in range(data.num_row_groups)]
        self.footer = int(data.serialized_size)
        self._leaves: list[range] = []
        first = 0
        for kind in self.types:
            self._leaves.append(range(first, first + _leaves(kind)))
            first = self._leaves[-1].stop
        if first != data.num_columns:
            raise damaged(path, "its columns are not those that its schema describes")

    def __enter__(self) -> "ParquetColumns":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def index(self) -> set[int]:
        """Positions of the columns that pandas wrote for the index of a data frame."""
        try:
            written: Any = (self._schema.pandas_metadata or {}).get("index_columns", [])
        except (ValueError, AttributeError, RecursionError):  # JSON of something else, or none
            written = []
        stored = {name for name in written if isinstance(name, str)} \
            if isinstance(written, list) else set[str]()  # fmt: skip
        return {
            position
            for position, name in enumerate(self.names)
            if name in stored or name.startswith(INDEX)
        }

    def first_is_words(self) -> bool:
        """Whether the first of several columns is text or categories."""
        return len(self.types) > 1 and is_words(self.types[0])

    def empty(self) -> Any:
        """The columns without their rows."""
        return self._schema.empty_table()

    def read(self, positions: Sequence[int]) -> Any:
        """Some columns as an Arrow table, in this order."""
        found = self._file.reader.read_all(column_indices=self._under(positions), use_threads=True)
        return _plain(found)

    def read_group(self, group: int, positions: Sequence[int]) -> Any:
        """The same of one row group, without threads."""
        found = self._file.reader.read_row_group(
            group, column_indices=self._under(positions), use_threads=False
        )
        return _plain(found)

    def batches(
        self, height: int, positions: Sequence[int], groups: Sequence[int] | None = None
    ) -> Iterator[Any]:
        """The same in batches of so many rows, of some row groups or of all."""
        chosen = range(len(self.heights)) if groups is None else groups
        batches = self._file.reader.iter_batches(
            height, row_groups=list(chosen), column_indices=self._under(positions), use_threads=True
        )
        return map(_plain, batches)

    def _under(self, positions: Sequence[int]) -> list[int]:
        """What is stored for some columns: one for each, more for a nested one."""
        return [leaf for position in positions for leaf in self._leaves[position]]


def _plain(rows: Any) -> Any:
    """Rows with text and bytes laid out so that all functions of Arrow take them.

    Raises:
        pa.ArrowInvalid: If the columns of a damaged file are not of one length.
    """
    rows.validate()
    plain = {"string_view": pa.string(), "binary_view": pa.binary()}
    for place, kind in enumerate(rows.schema.types):
        if str(kind) in plain:
            field = rows.schema.field(place).with_type(plain[str(kind)])
            rows = rows.set_column(place, field, rows.column(place).cast(field.type))
    return rows


def _leaves(kind: Any) -> int:
    """How many columns are stored for one of a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(place).type) for place in range(kind.num_fields))
