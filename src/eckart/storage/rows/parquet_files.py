"""Rows of a Parquet file, or of all files of a folder in the order of their names."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from eckart.arrays import DType, own_pages
from eckart.errors import FormatError, MatrixError
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.rows.arrow import (
    Batches,
    chosen,
    narrow_dtype,
    skipped,
)
from eckart.storage.rows.columns import column_of, numbers
from eckart.storage.rows.table import Table, Wanted

BATCH_BYTES: Final = 4 * 2**20
BUFFER: Final = 2**16
"""Of the file that is read for a column at a time."""
LOW: Final = 2**18
"""Rows of a group whose columns take no more than two pages each."""
PAGES: Final = 2**21
"""Of a column of a taller group: a page as it is stored, the same unpacked, and its values."""
UNPACKED: Final = 16
"""Bytes in memory for each of a footer, which names every column of every group."""
KEPT: Final = 8 * 2**20
"""That Arrow's allocator keeps of what was given back to it."""
AT_ONCE: Final = 32
"""Columns that are read together."""


def open_rows(path: Path, wanted: Wanted) -> Table:
    """The rows of the file, or of the files of the folder."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise MatrixError(
            f"The folder {path} holds no .parquet file.",
            hint="Give a folder of .parquet files.",
            code="empty",
        )
    schemas = [_schema(file) for file in files]
    rows, schema = sum(count for count, _, _, _ in schemas), schemas[0][1]
    names: list[str] = list(schema.names)
    kept = chosen(names, list(schema.types), wanted, path)
    for file, (_, other, _, _) in zip(files, schemas, strict=True):
        missing = [name for name in (*kept, *wanted.beside) if name not in other.names]
        if missing:
            raise FormatError(
                f"{file} has no column '{missing[0]}', which {files[0].name} has.",
                hint="Give files with the same columns.",
                code="columns-differ",
            )
    types = [schema.field(name).type for name in kept]
    dtype = narrow_dtype(types)
    tallest = max(group for _, _, group, _ in schemas)
    held = len(kept) * (tallest * dtype.itemsize if tallest <= LOW else PAGES)
    held += KEPT + UNPACKED * max(footer for _, _, _, footer in schemas)
    source = Batches(path, kept, rows, dtype, partial(_number_batches, files, dtype), held)
    along = partial(_batches, files, list(wanted.beside)) if wanted.beside else None
    return Table(
        source=source, names=tuple(kept), notes=skipped(names, kept, wanted, path), along=along
    )


def _schema(file: Path) -> tuple[int, Any, int, int]:
    """Rows, schema, rows of the tallest row group, and bytes of the footer."""
    with arrow_reading(file), pq.ParquetFile(file) as opened:
        groups = range(opened.num_row_groups)
        heights = [opened.metadata.row_group(group).num_rows for group in groups]
        footer = opened.metadata.serialized_size
        return opened.metadata.num_rows, opened.schema_arrow, max(heights, default=0), footer


def _batches(files: list[Path], names: list[str]) -> Iterator[Any]:
    """Batches of some columns, in this order of the columns."""
    for file in files:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER) as opened:
            for group in range(opened.num_row_groups):
                yield from _in_rows(opened, group, names)


def _number_batches(files: list[Path], dtype: DType, names: list[str]) -> Iterator[Any]:
    """Batches of columns of numbers.

    A reader holds pages of every column that it was opened for, some megabytes each. So a low row
    group is read a few columns at a time into one array, and a tall one in batches of rows.
    """
    for file in files:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER) as opened:
            for group in range(opened.num_row_groups):
                if opened.metadata.row_group(group).num_rows <= LOW:
                    yield _in_columns(opened, group, names, dtype)
                else:
                    yield from _in_rows(opened, group, names)


def _in_rows(opened: Any, group: int, names: list[str]) -> Iterator[Any]:
    height = max(256, BATCH_BYTES // (8 * max(1, len(names))))
    for batch in opened.iter_batches(height, row_groups=[group], columns=names):
        yield batch.select(names)


def _in_columns(opened: Any, group: int, names: list[str], dtype: DType) -> Any:
    values = own_pages((len(names), opened.metadata.row_group(group).num_rows), dtype)
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        part = opened.read_row_group(group, columns=some, use_threads=False)
        for place, name in enumerate(some, start):
            values[place] = numbers(part.column(name).combine_chunks(), dtype)
    return pa.RecordBatch.from_arrays([column_of(row) for row in values], names=names)
