"""Tables of numbers as text, `.csv` and `.tsv`: whole, by rows, and folders of factors."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from eckart.arrays import FLOAT64
from eckart.errors import FormatError
from eckart.factors import Factors
from eckart.files.columns import (
    BatchReader,
    arrow_reading,
    beside_index,
    keep_numbers,
    select,
    table_of,
    write_blocks,
)
from eckart.files.factor_files import from_arrays, to_arrays
from eckart.files.reading import check_regular, read_object
from eckart.files.records import Contents, FactorFile, Part, Rows, Selection, Table, only_part
from eckart.files.text.survey import NumberText, read_numbers
from eckart.files.writing import write_text
from eckart.matrices import Dense, Matrix
from eckart.matrices.derived import dense

SELECTABLE = frozenset({"header", "index", "columns"})


def read(path: Path, selection: Selection) -> Contents:
    """Read a table of numbers; the notes say what was taken as header and as index."""
    with arrow_reading(path):
        table = read_numbers(path, selection.header)
        positions, notes = _kept(table, selection)
        # words in a column of numbers are an error, so they are looked for before memory is taken
        table.check(positions)
        W = np.empty((table.count, len(positions)))
        # filled batch by batch, so that the whole text is never in memory
        BatchReader(path, table.batches(positions)).read(W)
    return Contents(parts=(Part(name="", matrix=Dense(W)),), notes=(*table.notes, *notes))


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix without header, block by block, with all digits of float64."""
    blocks = (block.astype(float, copy=False) for block in only_part(parts, path).row_blocks())
    write_blocks(path, map(table_of, blocks), path.suffix.lower(), header=False)


def _kept(table: NumberText, selection: Selection) -> tuple[list[int], list[str]]:
    """Positions of the columns to keep, and notes on an index that is left out."""
    if selection.columns is not None:
        return select(table.names, selection.columns, table.text.sample.path), []
    index, notes = index_of(table, selection.index)
    left_out = {*table.empty, *range(index)}
    return beside_index(len(table.names), left_out, index, table.text.sample.path), notes


def index_of(table: NumberText, index: bool | None) -> tuple[int, list[str]]:
    """The number of leading columns that are an index, and notes on them.

    The index is the leading columns without a name if other columns have names; otherwise it is
    the first column, if that holds words. `index` says whether there is one; None finds out.
    """
    unnamed, name = table.unnamed, table.text.sample.path.name
    if index is not None:
        return max(1, unnamed) if index else 0, []
    if unnamed > 1:
        which = f"{unnamed} columns, which have no names, are"
    elif unnamed:
        which = "column, which has no name, is"
    elif len(table.names) > 1 and table.is_text(0):
        which = "column is"
    else:
        return 0, []
    return max(1, unnamed), [f"{name}: the first {which} taken as an index (`index=False` if not)."]


HELD_BLOCKS: Final = 40
"""Memory that Arrow holds at once for text and numbers, in units of one block of text."""
KEPT_BYTES: Final = 24 * 2**20
"""Bytes that the threads of Arrow hold in addition, whatever the table."""


def open_rows(path: Path, selection: Selection) -> Table:
    """Open a table by rows; one pass counts the rows and finds the columns of numbers."""
    with arrow_reading(path):
        table = read_numbers(path, selection.header, selection.named or ())
        beside = select(table.names, selection.beside, path)
        kept, notes = _row_columns(table, selection, beside)
        table.check(kept)
    names = tuple(table.names[place] for place in kept)
    return Table(
        source=Rows(
            shape=(table.count, len(kept)),
            dtype=FLOAT64,
            open=lambda: BatchReader(path, table.batches(kept)),
            held=KEPT_BYTES + HELD_BLOCKS * table.text.block,
        ),
        names=names if table.text.header else None,
        notes=(*table.notes, *notes),
        passes=table.text.passes,
        along=partial(table.beside, beside) if beside else None,
    )


def _row_columns(
    table: NumberText, selection: Selection, beside: list[int]
) -> tuple[list[int], tuple[str, ...]]:
    """Positions of the columns of numbers, and notes on the columns that are left out."""
    if selection.names is not None:
        return select(table.names, selection.names, table.text.sample.path), ()
    taken = {*beside, *table.empty}
    notes: list[str] = []
    if 0 not in taken and (table.unnamed or not table.is_text(0)):
        index, notes = index_of(table, selection.index)
        taken |= set(range(index))
    text = [
        place for place in range(len(table.names)) if place not in taken and table.is_text(place)
    ]
    kept, skipped = keep_numbers(
        table.text.sample.path, table.names, {*taken, *text}, table.words(text)
    )
    return kept, (*notes, *skipped)


DOCUMENT: Final = "factors.json"
"""The file of the document in a folder of factors, and of the dtype, which text does not tell."""


def read_factors(path: Path) -> FactorFile:
    """Read every `NAME.B.csv` and `NAME.A.csv` of a folder, and the document."""
    document: dict[str, Any] = {}
    if (path / DOCUMENT).is_file():
        document = read_object(path / DOCUMENT)
    # the files of factors have neither; a first row of whole numbers might pass for names
    plain = Selection(header=False, index=False)
    arrays: dict[str, Any] = {}
    for file in sorted(path.glob("*.csv")):
        # other files of the folder may be anything, and are left alone
        if file.stem in ("B", "A") or file.stem.endswith((".B", ".A")):
            check_regular(file)
            arrays[file.stem] = dense(read(file, plain).parts[0].matrix)
    if not arrays:
        raise FormatError(
            f"The folder {path} holds no factors.",
            hint="Give a folder with B.csv and A.csv.",
            code="not-factors",
        )
    dtype = document.get("dtype", "float64")
    parts = from_arrays(arrays, path)
    # text does not tell float32 from float64
    if dtype in ("float32", "float64"):
        parts = {name: factors.astype(dtype) for name, factors in parts.items()}
    return FactorFile(parts=parts, document=document.get("document", {}))


def write_factors(path: Path, parts: Mapping[str, Factors], document: Mapping[str, Any]) -> None:
    """Write `NAME.B.csv` and `NAME.A.csv` with all digits, and the document."""
    path.mkdir()
    for name, array in to_arrays(parts).items():
        write(path / f"{name}.csv", {"": Dense(array)})
    dtype = str(next(iter(parts.values())).dtype)
    text = json.dumps({"dtype": dtype, "document": document}, allow_nan=False, indent=1)
    write_text(path / DOCUMENT, text)
