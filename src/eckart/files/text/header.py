"""Whether the first row of a table of numbers names its columns."""

import re
from itertools import pairwise
from typing import Final

from eckart.files.text.cells import is_meant, is_missing, is_number
from eckart.files.text.sample import Sample

EVEN: Final = 3
"""Numbers that rise in equal steps which may be names: wavelengths, years."""
SORTED: Final = 8
"""The same in any steps, up or down."""
OUT: Final = 3.0
"""So many times as large as all below is a number that may be a name."""
LONGEST: Final = 20
"""Digits of a number that counts."""
SURE: Final = 3
"""Rising numbers, in the first row and in the first column, that are not so by chance."""


def found_header(
    sample: Sample, header: bool | None, known: tuple[str, ...] = ()
) -> tuple[bool, list[str]]:
    """Whether the first row is a header, and what to say of it.

    It is one if it holds a word, unless its words are like those below them and numbers stand
    beside them; or if it is numbers behind an empty cell, as pandas writes a table whose columns
    have no names or numbers as names.

    Args:
        sample: The first lines of the table.
        header: Whether it is one; None finds out.
        known: Names that the columns have; what holds them all, and nothing twice, is a header.
    """
    if header is not None:
        return header, []
    name, first = sample.path.name, sample.names
    words = [place for place, cell in enumerate(first) if not is_meant(cell, sample.decimal)]
    record = bool(words) and _is_record(sample, words)
    named = bool(known) and set(known) <= set(first) and len(set(first)) == len(first)
    if named or (words and not record) or _is_behind_a_corner(sample):
        shown = ", ".join(first[:4]) + (" …" if len(first) > 4 else "")
        notes = [f"{name}: the first row is taken as a header ({shown}; --no-header if not)."]
        return True, [*notes, *_of_a_second(sample)]
    doubtful = len(sample.records) > 1 and (
        not first[0] or _may_be_names(first, sample.decimal) or _stands_out(sample)
    )
    if record or doubtful:
        shown, what = ", ".join(first[:2]), "a row of the table" if record else "numbers"
        return False, [f"{name}: the first row, {shown} …, is taken as {what} (--header if not)."]
    return False, []


def _is_record(sample: Sample, words: list[int]) -> bool:
    """Whether the first row is one of many: not words alone, and these are there again below.

    A date, `row 1`, and what else has digits is so where all below it have others in their place.
    """
    if len(words) == sample.width:
        return False
    for place in words:
        cell = sample.first[place].strip()
        below = [one.strip() for one in sample.below(place, header=True) if not is_missing(one)]
        alike = _shape(cell) != cell and {_shape(one) for one in below} == {_shape(cell)}
        if cell not in below and not alike:
            return False
    return True


def _shape(cell: str) -> str:
    return re.sub(r"\d+", "#", cell)


def _is_behind_a_corner(sample: Sample) -> bool:
    """Whether the first row is numbers behind an empty cell, and the first column that of rows.

    Then one of them is counted from 0, the column is words, or both rise from cell to cell.
    """
    corner, *columns = sample.names
    rows = [cell.strip() for cell in sample.below(0, header=True)]
    if corner or not columns or not all(columns) or not rows or any(map(is_missing, rows)):
        return False
    if not any(is_meant(row, sample.decimal) for row in rows):
        return True
    if _is_counted(columns, 0) or _is_counted(rows, 0):
        return True
    return all(
        len(cells) >= SURE and min(_steps(cells, sample.decimal), default=0.0) > 0
        for cells in (columns, rows)
    )


def _may_be_names(cells: list[str], decimal: str) -> bool:
    """Whether numbers may be names: they count, or they rise or fall from cell to cell."""
    if len(cells) < 2:
        return cells == ["0"]  # as pandas writes one column
    first = cells[0]
    if first.isascii() and first.isdecimal() and _is_counted(cells, int(first[:LONGEST])):
        return first == "0" or len(cells) > 2
    steps = _steps(cells, decimal)
    if not steps:
        return False
    even = max(steps) - min(steps) <= 1e-6 * abs(steps[0])
    one_way = min(steps) > 0 or max(steps) < 0
    return one_way and (len(cells) >= SORTED or (even and steps[0] > 0 and len(cells) >= EVEN))


def _stands_out(sample: Sample) -> bool:
    """Whether the first row is far above all others, in every column."""
    for place, cell in enumerate(sample.first):
        below = _values(sample.below(place, header=True), sample.decimal)
        own = _values([cell], sample.decimal)
        if not own or not below or abs(own[0]) <= OUT * max(map(abs, below)):
            return False
    return True


def _is_counted(cells: list[str], first: int) -> bool:
    return cells == [str(first + place) for place in range(len(cells))]


def _of_a_second(sample: Sample) -> list[str]:
    """What to say of a second row without a name, as of a second level of names."""
    second, *others = sample.below(0, header=True) or [""]
    if sample.names[0] or second.strip() or not others or any(map(is_missing, others)):
        return []
    line = sample.records[1].line
    return [
        f"{sample.path.name}: line {line}, which has no name as others have, is taken as numbers."
    ]


def _steps(cells: list[str], decimal: str) -> list[float]:
    """From each cell to the next; none where one of them is missing or no number."""
    values = _values(cells, decimal)
    steps = [high - low for low, high in pairwise(values)]
    return steps if len(values) == len(cells) else []


def _values(cells: list[str], decimal: str) -> list[float]:
    """The cells that are there and are numbers."""
    known = [cell for cell in cells if is_number(cell, decimal) and not is_missing(cell)]
    return [float(cell.strip().replace(decimal, ".")) for cell in known]
