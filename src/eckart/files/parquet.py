"""Parquet tables of numbers, their columns by position, and errors of Arrow as one sentence."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eckart.errors import EckartError, MatrixError
from eckart.files.columns import is_number, is_words, narrow_dtype, numbers, select, table_of
from eckart.files.contents import Contents, Part, Selection
from eckart.files.npy import only_part
from eckart.files.whole import damaged
from eckart.matrices import Dense, Matrix

BROKEN: Final = (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError)
"""Errors of Arrow for a damaged file: invalid bytes, types that only such bytes name, and names
that are no text.
"""


@contextmanager
def arrow_reading(path: Path) -> Generator[None, None, None]:
    """Turn an error of Arrow while `path` is read into one sentence.

    Arrow raises OSError also for pages and headers that it cannot unpack; only an error of the
    system has a number.

    Raises:
        FormatError: If the file is damaged.
        OSError: If the system refuses to read the file.
    """
    try:
        yield
    except EckartError:  # a StorageError is an OSError without a number too
        raise
    except BROKEN as error:
        raise damaged(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise damaged(path, error) from error


INDEX = "__index_level_"
"""The beginning of the name that pandas gives to the column of an unnamed index."""


@final
class ParquetColumns:
    """An open Parquet file whose columns are chosen by position.

    Args:
        path: The file.
        buffer: Bytes of a column that are read at once; 0 reads whole columns, and reads ahead.

    Fields:
        names: Names of the columns.
        types: Arrow types of the columns.
        rows: Number of rows.
        heights: Number of rows of each row group.
        footer: Stored bytes of the footer, which describes the file.

    Raises:
        FormatError: If the schema does not match the stored columns.
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
        # a nested column is stored as several, which are numbered through all columns
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
        except (ValueError, AttributeError, RecursionError):  # the metadata is not from pandas
            written = []
        # pandas describes a range as a dictionary, which no column holds
        stored = {name for name in written if isinstance(name, str)} \
            if isinstance(written, list) else set[str]()  # fmt: skip
        return {
            position
            for position, name in enumerate(self.names)
            if name in stored or name.startswith(INDEX)
        }

    def first_is_words(self) -> bool:
        """Whether there are several columns and the first is text or categories."""
        return len(self.types) > 1 and is_words(self.types[0])

    def empty(self) -> Any:
        """An Arrow table of all columns without rows."""
        return self._schema.empty_table()

    def read(self, positions: Sequence[int]) -> Any:
        """Read some columns as an Arrow table, in this order."""
        # `ParquetFile` itself takes names, and several columns may have one name
        found = self._file.reader.read_all(column_indices=self._under(positions), use_threads=True)
        return _plain(found)

    def read_group(self, group: int, positions: Sequence[int]) -> Any:
        """Read some columns of one row group as an Arrow table, without threads."""
        found = self._file.reader.read_row_group(
            group, column_indices=self._under(positions), use_threads=False
        )
        return _plain(found)

    def batches(
        self, height: int, positions: Sequence[int], groups: Sequence[int] | None = None
    ) -> Iterator[Any]:
        """Read some columns in batches of `height` rows, of some row groups or of all."""
        chosen = range(len(self.heights)) if groups is None else groups
        batches = self._file.reader.iter_batches(
            height, row_groups=list(chosen), column_indices=self._under(positions), use_threads=True
        )
        return map(_plain, batches)

    def _under(self, positions: Sequence[int]) -> list[int]:
        """Positions of the stored columns: one for each plain column, several for a nested one."""
        return [leaf for position in positions for leaf in self._leaves[position]]


def _plain(rows: Any) -> Any:
    """Rows with views of text and bytes converted to types that all functions of Arrow accept.

    Raises:
        pa.ArrowInvalid: If the columns of a damaged file are not of one length.
    """
    rows.validate()
    # a column of lists or records is no number either way, and keeps its type
    plain = {"string_view": pa.string(), "binary_view": pa.binary()}
    for place, kind in enumerate(rows.schema.types):
        if str(kind) in plain:
            field = rows.schema.field(place).with_type(plain[str(kind)])
            rows = rows.set_column(place, field, rows.column(place).cast(field.type))
    return rows


def _leaves(kind: Any) -> int:
    """The number of stored columns for a column of a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(place).type) for place in range(kind.num_fields))


SELECTABLE = frozenset({"columns", "index"})


def read(path: Path, selection: Selection) -> Contents:
    """Read the chosen columns as a matrix; an index is left out, and the notes say so."""
    with arrow_reading(path), ParquetColumns(path) as file:
        keep, notes = _keep(file, selection, path)
        table = file.read(keep)
    W = np.empty((table.num_rows, len(keep)), narrow_dtype([file.types[place] for place in keep]))
    for place, column in enumerate(table.columns):
        W[:, place] = numbers(column.combine_chunks(), W.dtype)
    return Contents(parts=(Part(name="", matrix=Dense(W)),), notes=notes)


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix, block by block, with columns named by their positions."""
    blocks = only_part(parts, path).row_blocks()
    table = table_of(next(blocks))
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        for block in blocks:
            writer.write_table(table_of(block))


def index_of(
    file: ParquetColumns, index: bool | None, path: Path
) -> tuple[set[int], tuple[str, ...]]:
    """Positions of the columns that are an index, and notes on them.

    The index is the columns that pandas wrote as one; otherwise it is the first column, if that
    holds words.

    Args:
        file: The file.
        index: Whether the table has an index; None finds out.
        path: Path of the file, for the notes.
    """
    if index is False:
        return set(), ()
    found = file.index() or ({0} if index or file.first_is_words() else set())
    notes = tuple(
        f"{path.name}: the column '{file.names[place]}' is taken as an index "
        "(`index=False` if not)."
        for place in sorted(found)
    )
    return found, notes


def _keep(
    file: ParquetColumns, selection: Selection, path: Path
) -> tuple[list[int], tuple[str, ...]]:
    """Positions of the columns to keep, and notes on an index that is left out.

    Raises:
        MatrixError: If a chosen column does not exist or holds no numbers, or no column is left.
    """
    keep = select(file.names, selection.columns, path)
    notes: tuple[str, ...] = ()
    if selection.columns is None:
        index, notes = index_of(file, selection.index, path)
        keep = [place for place in keep if place not in index]
        if index and not keep:
            raise MatrixError(
                f"{path} has no column beside the index.",
                hint="Use `index=False`, or give a table of numbers.",
                code="empty",
            )
    text = [place for place in keep if not is_number(file.types[place])]
    if text:
        listed = ", ".join(f"{file.names[place]} ({file.types[place]})" for place in text[:10])
        some, others = f"{len(text)} column{'s' * (len(text) > 1)}", len(text) < len(keep)
        raise MatrixError(
            f"{path}: the cells of {some} do not hold numbers: {listed}.",
            hint="Choose the others with `columns`." if others else "Give a table of numbers.",
            code="not-numbers",
        )
    return keep, notes
