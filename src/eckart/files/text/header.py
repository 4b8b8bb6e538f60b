"""The decision whether the first row of a table of numbers names its columns."""

import re
from itertools import pairwise
from typing import Final

from eckart.files.text.cells import is_meant, is_missing, is_number
from eckart.files.text.sample import Sample

EVEN: Final = 3
"""At least so many numbers that rise in equal steps may be names: wavelengths, years."""
SORTED: Final = 8
"""At least so many numbers that rise or fall in any steps may be names."""
OUT: Final = 3.0
"""A number that is more than so many times as large as all numbers below it may be a name."""
LONGEST: Final = 20
"""Digits that are converted of a number from which columns may be counted."""
SURE: Final = 3
"""At least so many rising numbers, in the first row and the first column, are no coincidence."""


def found_header(
    sample: Sample, header: bool | None, known: tuple[str, ...] = ()
) -> tuple[bool, list[str]]:
    """Whether the first row is a header, and notes on it.

    It is a header if it holds a word, unless its words are like those below them and numbers stand
    beside them. It is also one if it holds numbers after an empty cell, as pandas writes a table
    whose columns have numbers as names.

    Args:
        sample: The first lines of the table.
        header: Whether the first row is a header; None finds out.
        known: Names that the columns have; a row that holds all of them, and none twice, is a
            header.
    """
    if header is not None:
        return header, []
    name, first = sample.path.name, sample.names
    words = [place for place, cell in enumerate(first) if not is_meant(cell, sample.decimal)]
    record = bool(words) and _is_record(sample, words)
    named = bool(known) and set(known) <= set(first) and len(set(first)) == len(first)
    if named or (words and not record) or _is_behind_a_corner(sample):
        shown = ", ".join(first[:4]) + (" …" if len(first) > 4 else "")
        notes = [f"{name}: the first row is taken as a header ({shown}; `header=False` if not)."]
        return True, [*notes, *_of_a_second(sample)]
    doubtful = len(sample.records) > 1 and (
        not first[0] or _may_be_names(first, sample.decimal) or _stands_out(sample)
    )
    if record or doubtful:
        shown, what = ", ".join(first[:2]), "a row of the table" if record else "numbers"
        return False, [
            f"{name}: the first row, {shown} …, is taken as {what} (`header=True` if not)."
        ]
    return False, []


def _is_record(sample: Sample, words: list[int]) -> bool:
    """Whether the first row is a record like the others.

    It is if it holds more than words, and each word occurs again below it. A word with digits,
    such as a date or `row 1`, need not occur: all cells below it have the same form, with other
    digits.
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
    """The form of a cell: its text with every number replaced by `#`."""
    return re.sub(r"\d+", "#", cell)


def _is_behind_a_corner(sample: Sample) -> bool:
    """Whether the first row is column names after an empty cell, and the first column row names.

    Then one of the two counts from 0, the column holds words, or both rise from cell to cell.
    """
    corner, *columns = sample.names
    rows = [cell.strip() for cell in sample.below(0, header=True)]
    if corner or not columns or not all(columns) or not rows or any(map(is_missing, rows)):
        return False
    if not any(is_meant(row, sample.decimal) for row in rows):
        return True
    # pandas counts columns or rows without names from 0
    if _is_counted(columns, 0) or _is_counted(rows, 0):
        return True
    return all(
        len(cells) >= SURE and min(_steps(cells, sample.decimal), default=0.0) > 0
        for cells in (columns, rows)
    )


def _may_be_names(cells: list[str], decimal: str) -> bool:
    """Whether numbers may be names: they are counted, or they rise or fall from cell to cell."""
    if len(cells) < 2:
        return cells == ["0"]  # as pandas writes one column
    first = cells[0]
    # isdecimal alone accepts digits of any alphabet; int() refuses numbers of thousands of digits
    if first.isascii() and first.isdecimal() and _is_counted(cells, int(first[:LONGEST])):
        return first == "0" or len(cells) > 2
    steps = _steps(cells, decimal)
    if not steps:
        return False
    even = max(steps) - min(steps) <= 1e-6 * abs(steps[0])  # steps of decimals differ by rounding
    one_way = min(steps) > 0 or max(steps) < 0
    return one_way and (len(cells) >= SORTED or (even and steps[0] > 0 and len(cells) >= EVEN))


def _stands_out(sample: Sample) -> bool:
    """Whether the first row is much larger than all other rows, in every column."""
    for place, cell in enumerate(sample.first):
        below = _values(sample.below(place, header=True), sample.decimal)
        own = _values([cell], sample.decimal)
        if not own or not below or abs(own[0]) <= OUT * max(map(abs, below)):
            return False
    return True


def _is_counted(cells: list[str], first: int) -> bool:
    """Whether the cells count up from `first` in steps of 1."""
    return cells == [str(first + place) for place in range(len(cells))]


def _of_a_second(sample: Sample) -> list[str]:
    """A note on a second row without a row name, which may be a second level of column names."""
    second, *others = sample.below(0, header=True) or [""]
    if sample.names[0] or second.strip() or not others or any(map(is_missing, others)):
        return []
    line = sample.records[1].line
    return [
        f"{sample.path.name}: line {line}, which has no name as others have, is taken as numbers."
    ]


def _steps(cells: list[str], decimal: str) -> list[float]:
    """Differences of successive cells; empty if one of the cells is missing or no number."""
    values = _values(cells, decimal)
    steps = [high - low for low, high in pairwise(values)]
    return steps if len(values) == len(cells) else []


def _values(cells: list[str], decimal: str) -> list[float]:
    """The numbers of the cells that are not missing and hold one."""
    known = [cell for cell in cells if is_number(cell, decimal) and not is_missing(cell)]
    return [float(cell.strip().replace(decimal, ".")) for cell in known]
