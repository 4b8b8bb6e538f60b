"""Rows of a `.csv` or `.tsv`, parsed anew in each pass."""

from functools import partial
from pathlib import Path
from typing import Final

from eckart.arrays import FLOAT64
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.delimited import index_of
from eckart.storage.rows.arrow import Batches, no_numbers, skipped
from eckart.storage.rows.table import Table, Wanted
from eckart.storage.table import select
from eckart.storage.text.survey import NumberText, read_numbers

HELD: Final = 40
"""What Arrow keeps of text and numbers at once, in blocks of text."""
KEPT: Final = 24 * 2**20
"""Bytes that its threads keep beside that, whatever the table."""


def open_rows(path: Path, wanted: Wanted) -> Table:
    """The rows; one pass counts them and tells which columns are numbers."""
    with arrow_reading(path):
        table = read_numbers(path, wanted.header, wanted.named or ())
        beside = select(table.names, wanted.beside, path)
        kept, notes = _kept(table, wanted, beside)
        table.check(kept)
    names = tuple(table.names[place] for place in kept)
    held = KEPT + HELD * table.text.block
    return Table(
        source=Batches(path, (table.count, len(kept)), FLOAT64, partial(table.batches, kept), held),
        names=names if table.header else None,
        notes=(*table.notes, *notes),
        passes=table.passes,
        along=partial(table.beside, beside) if beside else None,
    )


def _kept(
    table: NumberText, wanted: Wanted, beside: list[int]
) -> tuple[list[int], tuple[str, ...]]:
    """Positions of the columns of numbers, and which are left out.

    Raises:
        MatrixError: If one is not there, or none is left.
    """
    if wanted.names is not None:
        return select(table.names, wanted.names, table.path), ()
    taken = {*beside, *table.empty}
    notes: list[str] = []
    if 0 not in taken and (table.unnamed or not table.is_text(0)):
        index, notes = index_of(table, wanted.index)
        taken |= set(range(index))
    text = [
        place for place in range(len(table.names)) if place not in taken and table.is_text(place)
    ]
    why = table.words(text)
    kept = [place for place in range(len(table.names)) if place not in {*taken, *text}]
    if not kept:
        raise no_numbers(table.path, table.names, why)
    return kept, (*notes, *skipped(table.path, table.names, why))
