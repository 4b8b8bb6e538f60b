"""Tables of interactions and attributes as text: columns, whole or one block of lines at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, final

import pyarrow as pa

from eckart.files.columns import pc
from eckart.files.records import ArrowColumn, ArrowTable, ArrowType
from eckart.files.text.cells import is_missing, is_number, numbers
from eckart.files.text.reader import TextRows, one_column
from eckart.files.text.sample import Sample, read_sample

Kind: TypeAlias = Literal["id", "number", "time", "text"]
BLOCK_BYTES: Final = 2**23
"""Bytes of text that are read at once."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TableHead:
    """What the beginning of a table tells about it.

    Fields:
        names: Names of the columns; None if a text file has no header.
        width: Number of columns.
        text: The rows of a text file, in which ids have no type; None for other formats.
        notes: Sentences for the user about how the table is read.
    """

    names: tuple[str, ...] | None
    width: int
    text: TextRows | None = None
    notes: tuple[str, ...] = ()


def text_head(path: Path, known: frozenset[str]) -> TableHead:
    """Read the names of the columns of a text file, and find its dialect.

    The first line is a header if it holds a known name; or if it holds no number, and below it a
    column holds nothing but numbers. The `known` names are in lower case, without punctuation.
    """
    sample = read_sample(path)
    header = any(plain(cell) in known for cell in sample.names) or _stands_above(sample)
    return TableHead(
        names=tuple(sample.names) if header else None,
        width=sample.width,
        text=TextRows(sample, header=header, least=BLOCK_BYTES),
        notes=tuple(sample.notes()),
    )


def plain(name: str) -> str:
    """A name in lower case, reduced to its letters and digits.

    Example:
        >>> plain("User_ID")
        'userid'
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def text_columns(rows: TextRows, wanted: Mapping[int, Kind]) -> ArrowTable:
    """Read some columns of a text file as an Arrow table, named by their positions."""
    types = _types(rows.sample, wanted, header=rows.header)
    try:
        return _converted(rows, _together(rows.batches(types), types), wanted)
    except pa.ArrowInvalid:  # such as decimal commas, or blanks that Arrow does not strip
        types = _types_of_text(rows, wanted)
        return _converted(rows, _together(rows.batches(types), types), wanted)


def text_blocks(rows: TextRows, wanted: Mapping[int, Kind]) -> Iterator[ArrowTable]:
    """Read columns as `text_columns` does, but yield one block of lines at a time.

    The type of a column of times is that of its block. If a cell is not of the type with which its
    column begins, the table is read again as text, and the rows that were yielded already are
    skipped.
    """
    given = passed = 0
    try:
        for batch in rows.batches(_types(rows.sample, wanted, header=rows.header)):
            given += batch.num_rows
            yield _converted(rows, pa.Table.from_batches([batch]), wanted)
        return
    except pa.ArrowInvalid:
        types = _types_of_text(rows, wanted)
    for batch in rows.batches(types):
        # rows of an earlier block were yielded in the first attempt
        fresh = batch.slice(max(0, given - passed))
        passed += batch.num_rows
        if fresh.num_rows:
            yield _converted(rows, pa.Table.from_batches([fresh]), wanted)


def _stands_above(sample: Sample) -> bool:
    """Whether the first line holds no number, and a column below it holds nothing but numbers."""
    above = [cell for cell in sample.first if not is_missing(cell)]
    if any(is_number(cell, sample.decimal) for cell in above):
        return False
    for position, cell in enumerate(sample.first):
        below = [one for one in sample.below(position, header=True) if not is_missing(one)]
        if below and not is_missing(cell) and all(is_number(one, sample.decimal) for one in below):
            return True
    return False


def _types(sample: Sample, wanted: Mapping[int, Kind], *, header: bool) -> dict[int, ArrowType]:
    """The types with which Arrow reads the columns in the first attempt."""
    types: dict[int, ArrowType] = dict.fromkeys(wanted, pa.string())
    for position, kind in wanted.items():
        if kind == "id":
            # most tables repeat their ids, and a dictionary holds each of them once
            types[position] = pa.dictionary(pa.int32(), pa.string())
        if kind == "number":
            types[position] = pa.float64()
        cells = [one for one in sample.below(position, header=header) if not is_missing(one)]
        # times that are whole numbers in the sample are read as such; others are inferred later
        if kind == "time" and cells and all(one.isdecimal() for one in cells):
            types[position] = pa.int64()
    return types


def _types_of_text(rows: TextRows, wanted: Mapping[int, Kind]) -> dict[int, ArrowType]:
    """The types for the second attempt, in which every column is text; finds the decimal mark."""
    rows.find_decimal([position for position, kind in wanted.items() if kind == "number"])
    return dict.fromkeys(wanted, pa.string())


def _together(batches: Iterator[ArrowTable], types: Mapping[int, ArrowType]) -> ArrowTable:
    """All batches as one table, which has its columns even if there is no batch."""
    schema = pa.schema([(str(position), kind) for position, kind in types.items()])
    return pa.Table.from_batches(list(batches), schema)


def _converted(rows: TextRows, table: ArrowTable, wanted: Mapping[int, Kind]) -> ArrowTable:
    """The columns of a table, each converted to its kind."""
    columns: dict[str, ArrowColumn] = {}
    for (position, kind), column in zip(wanted.items(), table.columns, strict=True):
        found = column
        if kind == "id":
            found = pa.chunked_array([_id(chunk) for chunk in column.chunks], _ID)
        elif pa.types.is_string(column.type) and kind == "time":
            found = _time(column)
        elif pa.types.is_string(column.type) and kind == "number":
            found, words = numbers(column, rows.decimal)
            if pc.any(words).as_py():
                raise rows.located("a cell is no number", [position])
        # an attribute may be a number, which is then read with its decimal comma
        elif kind == "text" and rows.decimal == "," and not pc.any(numbers(column, ",")[1]).as_py():
            found = pc.replace_substring(column, ",", ".")
        columns[str(position)] = found
    return pa.table(columns)


_ID: Final = pa.dictionary(pa.int32(), pa.string())


def _id(chunk: ArrowColumn) -> ArrowColumn:
    """Ids without surrounding blanks; a blank id is missing."""
    coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
    trimmed = pc.utf8_trim_whitespace(coded.dictionary)
    # pc.all gives null for an empty dictionary, in which no id is blank
    if trimmed.equals(coded.dictionary) and pc.all(pc.not_equal(trimmed, "")).as_py() is not False:
        return coded.cast(_ID)
    words = trimmed.take(coded.indices)
    blank = pc.equal(words, "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), words).dictionary_encode().cast(_ID)


def _time(column: ArrowColumn) -> ArrowColumn:
    """Times in the type that Arrow infers: integers, floats, dates, or text."""
    # Arrow infers types only while it parses, so the cells are written as lines and read again
    cells = pc.fill_null(pc.utf8_trim_whitespace(column), "").combine_chunks()
    lines = pc.binary_join(pa.ListArray.from_arrays([0, len(cells)], cells), "\n")[0].as_py()
    return one_column(lines.encode())
