"""Parquet: tables of numbers, whole and by rows, from one file or all files of a folder."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eckart.arrays import Array, DType, own_pages
from eckart.errors import FormatError, MatrixError
from eckart.files.columns import (
    BatchReader,
    arrow_reading,
    beside_index,
    is_number,
    is_words,
    keep_numbers,
    narrow_dtype,
    numbers,
    select,
    table_of,
    write_blocks,
)
from eckart.files.reading import damaged
from eckart.files.records import (
    ArrowTable,
    ArrowType,
    Contents,
    Part,
    Rows,
    Selection,
    Table,
    only_part,
)
from eckart.matrices import Dense, Matrix

SELECTABLE = frozenset({"columns", "index"})
INDEX = "__index_level_"
"""The beginning of the name that pandas gives to the column of an unnamed index."""
BATCH_BYTES: Final = 4 * 2**20
"""Bytes of the numbers in a batch of a tall row group."""
BUFFER_BYTES: Final = 2**16
"""Bytes of the file that are read at once for each column."""
LOW_ROWS: Final = 2**18
"""Rows up to which the columns of a row group take no more than two pages each."""
PAGES_BYTES: Final = 2**21
"""Bytes for a column of a taller group: one stored page, the same page unpacked, and its values."""
FOOTER_RATIO: Final = 16
"""Bytes in memory per byte of a footer, which describes every column of every row group."""
KEPT_BYTES: Final = 8 * 2**20
"""Bytes that the allocator of Arrow keeps of the memory that was released to it."""
COLUMNS_AT_ONCE: Final = 32
"""Columns of a low row group that are read together."""


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
        self._schema: ArrowType = self._file.schema_arrow
        self.names: list[str] = list(self._schema.names)
        self.types: list[ArrowType] = list(self._schema.types)
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
        listed = written if isinstance(written, list) else []
        stored = {name for name in listed if isinstance(name, str)}
        return {
            position
            for position, name in enumerate(self.names)
            if name in stored or name.startswith(INDEX)
        }

    def read(self, positions: Sequence[int], group: int | None = None) -> ArrowTable:
        """Read some columns as an Arrow table, in this order; of a row group without threads."""
        # `ParquetFile` itself takes names, and several columns may have one name
        reader, places = self._file.reader, self._under(positions)
        if group is None:
            return _plain(reader.read_all(column_indices=places, use_threads=True))
        return _plain(reader.read_row_group(group, column_indices=places, use_threads=False))

    def batches(
        self, height: int, positions: Sequence[int], groups: Sequence[int] | None = None
    ) -> Iterator[ArrowTable]:
        """Read some columns in batches of `height` rows, of some row groups or of all."""
        chosen = range(len(self.heights)) if groups is None else groups
        batches = self._file.reader.iter_batches(
            height, row_groups=list(chosen), column_indices=self._under(positions), use_threads=True
        )
        return map(_plain, batches)

    def _under(self, positions: Sequence[int]) -> list[int]:
        """Positions of the stored columns: one for each plain column, several for a nested one."""
        return [leaf for position in positions for leaf in self._leaves[position]]


def _plain(rows: ArrowTable) -> ArrowTable:
    """Rows with views of text and bytes converted to types that all functions of Arrow accept."""
    rows.validate()
    # a column of lists or records is no number either way, and keeps its type
    plain = {"string_view": pa.string(), "binary_view": pa.binary()}
    for place, kind in enumerate(rows.schema.types):
        if str(kind) in plain:
            field = rows.schema.field(place).with_type(plain[str(kind)])
            rows = rows.set_column(place, field, rows.column(place).cast(field.type))
    return rows


def _leaves(kind: ArrowType) -> int:
    """The number of stored columns for a column of a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(place).type) for place in range(kind.num_fields))


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
    write_blocks(path, map(table_of, only_part(parts, path).row_blocks()), ".parquet")


def _keep(
    file: ParquetColumns, selection: Selection, path: Path
) -> tuple[list[int], tuple[str, ...]]:
    """Positions of the columns to keep, and notes on an index that is left out."""
    notes: tuple[str, ...] = ()
    if selection.columns is None:
        index, notes = index_of(file, selection.index, path)
        keep = beside_index(len(file.names), index, index, path)
    else:
        keep = select(file.names, selection.columns, path)
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


def index_of(
    file: ParquetColumns, index: bool | None, path: Path
) -> tuple[set[int], tuple[str, ...]]:
    """Positions of the columns that are an index, and notes on them.

    The index is the columns that pandas wrote as one; otherwise it is the first column, if that
    holds words and is not the only one.
    """
    if index is False:
        return set(), ()
    words = len(file.types) > 1 and is_words(file.types[0])
    found = file.index() or ({0} if index or words else set())
    notes = tuple(
        f"{path.name}: the column '{file.names[place]}' is taken as an index "
        "(`index=False` if not)."
        for place in sorted(found)
    )
    return found, notes


def open_rows(path: Path, selection: Selection) -> Table:
    """Open the rows of a file, or those of all files of a folder."""
    files = _files(path)
    # the first file decides which columns there are, and in which order
    with arrow_reading(files[0]), ParquetColumns(files[0]) as first:
        beside = select(first.names, selection.beside, path)
        kept, notes = _kept(first, selection, beside, path)
        own = set(first.names)
    numbers, along, types = [], [], set[ArrowType]()
    rows, tallest, footer = 0, 0, 0
    others = dict[str, None]()
    for file in files:
        # one file is open at a time, since its footer may be large
        with arrow_reading(file), ParquetColumns(file) as opened:
            places = _places(opened, first, kept, path)
            for place in places:
                if not is_number(opened.types[place]):
                    raise MatrixError(
                        f"The column '{opened.names[place]}' of {path} holds "
                        f"{opened.types[place]}, no numbers.",
                        hint="Choose the others with `columns`.",
                        code="not-numbers",
                    )
            types |= {opened.types[place] for place in places}
            rows += opened.rows
            tallest = max(tallest, *opened.heights, 0)
            footer = max(footer, opened.footer)
            numbers.append((file, places, opened.rows))
            along.append((file, _places(opened, first, beside, path)))
            others |= dict.fromkeys(set(opened.names) - own)
    # a column without values has the type null in one file, which does not decide the dtype
    dtype = narrow_dtype([kind for kind in types if not pa.types.is_null(kind)] or list(types))
    held = len(kept) * (tallest * dtype.itemsize if tallest <= LOW_ROWS else PAGES_BYTES)
    held += KEPT_BYTES + FOOTER_RATIO * footer
    names = [first.names[place] for place in beside]
    if others and selection.names is None:
        notes = (*notes, _left_out(path, sorted(others)))
    # columns that stand in names of folders, such as `year=2020`
    between = files[0].relative_to(path).parts[:-1] if path.is_dir() else ()
    parted = [part.split("=")[0] for part in between if "=" in part]
    if parted:
        notes = (*notes, f"{path.name}: {', '.join(parted)} of the names of its folders left out.")
    return Table(
        source=Rows(
            shape=(rows, len(kept)),
            dtype=dtype,
            open=lambda: BatchReader(path, _number_batches(numbers, dtype)),
            held=held,
            at=lambda first: BatchReader(path, _number_batches(numbers, dtype, first)),
        ),
        names=tuple(first.names[place] for place in kept),
        notes=notes,
        along=partial(_batches, along, names) if beside else None,
    )


def _files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder without hidden ones and metadata (`_common`)."""
    if not path.is_dir():
        return [path]
    files = [
        file
        # the order of names is that of the rows, on every system
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() == ".parquet"
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    ]
    if not files:
        raise MatrixError(
            f"The folder {path} holds no .parquet file.",
            hint="Give a folder of .parquet files.",
            code="empty",
        )
    return files


def _kept(
    first: ParquetColumns, selection: Selection, beside: list[int], path: Path
) -> tuple[list[int], tuple[str, ...]]:
    """Positions of the columns of numbers in the first file, and notes on what is left out."""
    if selection.names is not None:
        return select(first.names, selection.names, path), ()
    taken, notes = set(beside), ()
    # a column of words in front is looked at as an index only if pandas says so; else it is text
    if not first.types or is_number(first.types[0]) or first.index():
        index, notes = index_of(first, selection.index, path)
        taken |= index
    text = {
        place: str(kind)
        for place, kind in enumerate(first.types)
        if place not in taken and not is_number(kind)
    }
    kept, skipped = keep_numbers(path, first.names, taken, text)
    return kept, (*notes, *skipped)


def _left_out(path: Path, names: list[str]) -> str:
    """The note on columns that the first file lacks."""
    shown = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
    columns = f"column{'s' * (len(names) > 1)}"
    return f"{path.name}: the {columns} {shown}, not in the first file, left out."


def _places(other: ParquetColumns, first: ParquetColumns, kept: list[int], path: Path) -> list[int]:
    """Positions in another file of the columns that are kept of the first one."""
    if other.names == first.names:
        return kept
    where = {key: place for place, key in enumerate(_numbered(other.names))}
    wanted = list(_numbered(first.names))
    missing = [first.names[place] for place in kept if wanted[place] not in where]
    if missing:
        raise FormatError(
            f"A file of {path} has no column '{missing[0]}', which another has.",
            hint="Give files with the same columns.",
            code="columns-differ",
        )
    return [where[wanted[place]] for place in kept]


def _numbered(names: list[str]) -> Iterator[tuple[str, int]]:
    """Yield each name with the number of earlier columns of that name."""
    seen: Counter[str] = Counter()
    for name in names:
        yield name, seen[name]
        seen[name] += 1


def _batches(files: list[tuple[Path, list[int]]], names: list[str]) -> Iterator[ArrowTable]:
    """Yield batches of some columns in this order."""
    for file, places in files:
        with ParquetColumns(file, BUFFER_BYTES) as opened:
            for batch in _in_rows(opened, places):
                yield pa.RecordBatch.from_arrays(batch.columns, names=names)


def _number_batches(
    files: list[tuple[Path, list[int], int]], dtype: DType, skip: int = 0
) -> Iterator[ArrowTable | Array]:
    """Yield batches of columns of numbers, without the first `skip` rows.

    A reader holds pages of every column that it was opened for, some megabytes each. Therefore a
    low row group is read a few columns at a time into one array, and a tall one in batches of rows.
    """
    for file, places, rows in files:
        if skip >= rows:  # a file before the first row is not even opened
            skip -= rows
            continue
        with ParquetColumns(file, BUFFER_BYTES) as opened:
            for group, height in enumerate(opened.heights):
                if skip >= height:
                    skip -= height
                    continue
                whole = (
                    [_in_columns(opened, group, places, dtype)]
                    if height <= LOW_ROWS
                    else _in_rows(opened, places, [group])
                )
                for batch in whole:
                    yield batch[skip:] if skip < len(batch) else batch[:0]
                    skip = max(0, skip - len(batch))


def _in_rows(
    opened: ParquetColumns, places: list[int], groups: list[int] | None = None
) -> Iterator[ArrowTable]:
    """Yield batches of rows of some row groups, or of all."""
    return opened.batches(max(256, BATCH_BYTES // (8 * max(1, len(places)))), places, groups)


def _in_columns(opened: ParquetColumns, group: int, places: list[int], dtype: DType) -> Array:
    """The numbers of a row group as one array, read a few columns at a time."""
    # one row per column in memory, so that each column is written contiguously
    values = own_pages((len(places), opened.heights[group]), dtype)
    for start in range(0, len(places), COLUMNS_AT_ONCE):
        part = opened.read(places[start : start + COLUMNS_AT_ONCE], group)
        # a damaged file may hold another number of rows than its footer says
        if part.num_rows != opened.heights[group]:
            raise pa.ArrowInvalid(f"row group {group} has {part.num_rows} rows, not as it says")
        for place, column in enumerate(part.columns, start):
            values[place] = numbers(column.combine_chunks(), dtype)
    return values.T
