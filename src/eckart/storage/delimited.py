"""Tables of text: `.csv` and `.tsv`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.csv as arrow_csv

from eckart.errors import MatrixError
from eckart.matrices import Dense, Matrix
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.contents import Contents, Part, Selection
from eckart.storage.npy import only_part
from eckart.storage.rows.arrow import Batches
from eckart.storage.table import select, table_of
from eckart.storage.text.survey import NumberText, read_numbers

SELECTABLE = frozenset({"header", "index", "columns"})


def read(path: Path, selection: Selection) -> Contents:
    """A table of numbers, with what was taken as header and index said in the notes."""
    with arrow_reading(path):
        table = read_numbers(path, selection.header)
        positions, notes = _kept(table, selection)
        table.check(positions)
        W = np.empty((table.count, len(positions)))
        Batches(path, W.shape, W.dtype, partial(table.batches, positions)).open().read(W)
    return Contents(parts=(Part(name="", matrix=Dense(W)),), notes=(*table.notes, *notes))


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix without header, block by block, with every digit that float64 needs."""
    options = arrow_csv.WriteOptions(include_header=False, delimiter=delimiter_of(path))
    blocks = only_part(parts, path).row_blocks()
    table = table_of(next(blocks).astype(float, copy=False))
    with arrow_csv.CSVWriter(path, table.schema, write_options=options) as writer:
        writer.write_table(table)
        for block in blocks:
            writer.write_table(table_of(block.astype(float, copy=False)))


def delimiter_of(path: Path) -> str:
    """What is written between the cells: a tab in a `.tsv`, else a comma."""
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _kept(table: NumberText, selection: Selection) -> tuple[list[int], list[str]]:
    """Positions of the columns to keep, and why the first is none of them.

    Raises:
        MatrixError: If a column is not there, or none is left.
    """
    if selection.columns is not None:
        return select(table.names, selection.columns, table.path), []
    index, notes = index_of(table, selection.index)
    left_out = table.empty | set(range(index))
    positions = [place for place in range(len(table.names)) if place not in left_out]
    if index and not positions:
        raise MatrixError(
            f"{table.path} has no column beside the index.",
            hint="Use --no-index, or give a table of numbers.",
            code="empty",
        )
    return positions, notes


def index_of(table: NumberText, index: bool | None) -> tuple[int, list[str]]:
    """How many of the first columns of a table of text are an index, and what to say of them.

    They are those without a name where others have one; else the first, if it holds words.

    Args:
        table: The table.
        index: Whether there is one; None finds out.
    """
    unnamed = table.unnamed
    if index is not None:
        return max(1, unnamed) if index else 0, []
    name = table.path.name
    if unnamed == 1:
        return 1, [
            f"{name}: the first column, which has no name, is taken as an index "
            "(--no-index if not)."
        ]
    if unnamed:
        return unnamed, [
            f"{name}: the first {unnamed} columns, which have no names, are taken as an index "
            "(--no-index if not)."
        ]
    if len(table.names) > 1 and table.is_text(0):
        return 1, [f"{name}: the first column is taken as an index (--no-index if not)."]
    return 0, []
