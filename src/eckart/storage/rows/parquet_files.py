"""Rows of a Parquet file, or of all files of a folder in the order of their names."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from eckart.errors import FormatError, MatrixError
from eckart.storage.rows.arrow import Batches, arrow_errors, chosen, narrow_dtype, skipped
from eckart.storage.rows.table import Table, Wanted

BATCH_BYTES: Final = 16 * 2**20


def open_rows(path: Path, wanted: Wanted) -> Table:
    """The rows of the file, or of the files of the folder."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise MatrixError(
            f"The folder {path} holds no .parquet file.",
            hint="Give a folder of .parquet files.",
            code="empty",
        )
    schemas = [arrow_errors(file, partial(_schema, file)) for file in files]
    rows, schema = sum(count for count, _ in schemas), schemas[0][1]
    names: list[str] = list(schema.names)
    kept = chosen(names, list(schema.types), wanted, path)
    for file, (_, other) in zip(files, schemas, strict=True):
        missing = [name for name in (*kept, *wanted.beside) if name not in other.names]
        if missing:
            raise FormatError(
                f"{file} has no column '{missing[0]}', which {files[0].name} has.",
                hint="Give files with the same columns.",
                code="columns-differ",
            )
    types = [schema.field(name).type for name in kept]
    source = Batches(path, kept, rows, narrow_dtype(types), partial(_batches, files))
    along = partial(_batches, files, list(wanted.beside)) if wanted.beside else None
    return Table(
        source=source, names=tuple(kept), notes=skipped(names, kept, wanted, path), along=along
    )


def _schema(file: Path) -> tuple[int, Any]:
    with pq.ParquetFile(file) as opened:
        return opened.metadata.num_rows, opened.schema_arrow


def _batches(files: list[Path], names: list[str]) -> Iterator[Any]:
    """Batches of some columns, in this order of the columns."""
    height = max(256, BATCH_BYTES // (8 * max(1, len(names))))
    for file in files:
        with pq.ParquetFile(file, pre_buffer=False) as opened:
            for batch in opened.iter_batches(batch_size=height, columns=names):
                yield batch.select(names)
