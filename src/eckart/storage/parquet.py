"""Parquet tables of numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eckart.errors import MatrixError
from eckart.matrices import Dense, Matrix
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.contents import Contents, Part, Selection
from eckart.storage.npy import only_part
from eckart.storage.table import is_number, matrix_of, select, table_of

SELECTABLE = frozenset({"columns", "index"})


def read(path: Path, selection: Selection) -> Contents:
    """The chosen columns as a matrix; an index that pandas wrote is left out and said."""
    with arrow_reading(path), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        keep, notes = _keep(schema, selection, path)
        table: Any = file.read(columns=[schema.names[position] for position in keep])
    W = matrix_of(table.select([schema.names[position] for position in keep]))
    return Contents(parts=(Part(name="", matrix=Dense(W)),), notes=notes)


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix, block by block, with columns named by their numbers."""
    blocks = only_part(parts, path).row_blocks()
    table = table_of(next(blocks))
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        for block in blocks:
            writer.write_table(table_of(block))


def _keep(schema: Any, selection: Selection, path: Path) -> tuple[list[int], tuple[str, ...]]:
    names: list[str] = schema.names
    keep = select(names, selection.columns, path)
    notes: tuple[str, ...] = ()
    if selection.columns is None and selection.index is not False:
        written = (schema.pandas_metadata or {}).get("index_columns", [])
        stored = {name for name in written if isinstance(name, str)}
        first_is_names = bool(names) and not is_number(schema.types[0])
        index = {p for p in keep if names[p] in stored or (p == 0 and (first_is_names))}
        if selection.index and keep and not index:
            index = {0}
        keep = [position for position in keep if position not in index]
        notes = tuple(
            f"{path.name}: the column '{names[position]}' is taken as an index (--no-index if not)."
            for position in sorted(index)
        )
    text = [names[position] for position in keep if not is_number(schema.types[position])]
    if text:
        raise MatrixError(
            f"{path}: {len(text)} columns do not hold numbers: {', '.join(text[:10])}.",
            hint="Choose the others with --columns.",
            code="not-numbers",
        )
    return keep, notes
