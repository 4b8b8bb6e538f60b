"""Parquet tables of numbers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from eckart.errors import MatrixError
from eckart.matrices import Dense, Matrix
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.columns import numbers
from eckart.storage.contents import Contents, Part, Selection
from eckart.storage.npy import only_part
from eckart.storage.parquet_columns import ParquetColumns
from eckart.storage.table import is_number, narrow_dtype, select, table_of

SELECTABLE = frozenset({"columns", "index"})


def read(path: Path, selection: Selection) -> Contents:
    """The chosen columns as a matrix; an index that pandas wrote is left out and said."""
    with arrow_reading(path), ParquetColumns(path) as file:
        keep, notes = _keep(file, selection, path)
        table = file.read(keep)
    W = np.empty((table.num_rows, len(keep)), narrow_dtype([file.types[place] for place in keep]))
    for place, column in enumerate(table.columns):
        W[:, place] = numbers(column.combine_chunks(), W.dtype)
    return Contents(parts=(Part(name="", matrix=Dense(W)),), notes=notes)


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix, block by block, with columns named by their numbers."""
    blocks = only_part(parts, path).row_blocks()
    table = table_of(next(blocks))
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        for block in blocks:
            writer.write_table(table_of(block))


def index_of(
    file: ParquetColumns, index: bool | None, path: Path
) -> tuple[set[int], tuple[str, ...]]:
    """Positions of the columns that are an index, and what to say of them.

    They are those that pandas wrote as one; else the first, if it holds words.

    Args:
        file: The file.
        index: Whether there is one; None finds out.
        path: For the notes.
    """
    if index is False:
        return set(), ()
    found = file.index() or ({0} if index or file.first_is_words() else set())
    notes = tuple(
        f"{path.name}: the column '{file.names[place]}' is taken as an index (--no-index if not)."
        for place in sorted(found)
    )
    return found, notes


def _keep(
    file: ParquetColumns, selection: Selection, path: Path
) -> tuple[list[int], tuple[str, ...]]:
    keep = select(file.names, selection.columns, path)
    notes: tuple[str, ...] = ()
    if selection.columns is None:
        index, notes = index_of(file, selection.index, path)
        keep = [place for place in keep if place not in index]
        if index and not keep:
            raise MatrixError(
                f"{path} has no column beside the index.",
                hint="Use --no-index, or give a table of numbers.",
                code="empty",
            )
    text = [place for place in keep if not is_number(file.types[place])]
    if text:
        listed = ", ".join(f"{file.names[place]} ({file.types[place]})" for place in text[:10])
        some, others = f"{len(text)} column{'s' * (len(text) > 1)}", len(text) < len(keep)
        raise MatrixError(
            f"{path}: the cells of {some} do not hold numbers: {listed}.",
            hint="Choose the others with --columns." if others else "Give a table of numbers.",
            code="not-numbers",
        )
    return keep, notes
