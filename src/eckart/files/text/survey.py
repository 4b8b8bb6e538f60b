"""A text table of numbers: its header, its index, and its columns of numbers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, final

import pyarrow as pa

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.files.records import ArrowTable
from eckart.files.text.cells import is_meant, is_missing, is_number, numbers
from eckart.files.text.reader import WIDE_COLUMNS, CellCounts, Flat, TextRows, flat_values
from eckart.files.text.sample import Sample, read_sample


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NumberText:
    """A text table that was read once, so that its size and its columns are known.

    Fields:
        text: The rows of the table.
        names: Names of the columns; their positions if there is no header.
        count: Number of rows.
        empty: Positions of columns without name and cells, before or behind all others.
        notes: Sentences for the user about how the table is read.
    """

    text: TextRows
    names: list[str]
    count: int
    empty: frozenset[int]
    notes: tuple[str, ...]
    _counts: CellCounts = field(repr=False)

    @property
    def unnamed(self) -> int:
        """The number of leading columns without a name, if others have one: an index of pandas."""
        named = (place for place, name in enumerate(self.names) if name)
        return next(named, 0) if self.text.header else 0

    def is_text(self, position: int) -> bool:
        """Whether most cells of a column that are not missing are words.

        A cell that is surely meant as a number does not count as a word, nor does a mark such as
        `?` beside numbers: a column that holds them is refused and not skipped.
        """
        counts = self._counts
        numbers = counts.numbers[position] + counts.doubtful[position]
        words = counts.words[position] - counts.doubtful[position]
        return bool(words - (counts.marks[position] if numbers else 0) > numbers)

    def check(self, positions: list[int]) -> None:
        """Refuse columns that hold a word.

        Raises:
            MatrixError: If a column does; the message names the line and the column.
        """
        wrong = [position for position in positions if self._counts.words[position]]
        if wrong:
            found = self.text.first_words(wrong)
            # the first of them in the file, which a person finds first
            position = min(found, key=lambda one: (found[one][0], one))
            raise self.text.no_number(position, *found[position])

    def words(self, positions: list[int]) -> dict[int, str]:
        """For each of some columns a text that quotes its first cell that is no number."""
        found = self.text.first_words([one for one in positions if self._counts.words[one]])
        return {one: f"'{cell[:40]}' in line {line}" for one, (line, cell) in found.items()}

    def batches(self, positions: list[int]) -> Iterator[ArrowTable | Array]:
        """Yield columns of numbers in this order: Arrow batches, or arrays of a wide table."""
        plain = self._counts.plain
        types = {one: pa.float64() if plain[one] else pa.string() for one in positions}
        for piece in self.text.pieces(types):
            if isinstance(piece, Flat):
                yield flat_values(piece, self.text.decimal)[0][:, positions]
                continue
            columns = [
                column if plain[position] else numbers(column, self.text.decimal)[0]
                for position, column in zip(types, piece.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, names=piece.schema.names)

    def beside(self, positions: list[int]) -> Iterator[ArrowTable]:
        """Yield batches of columns as they are written in the file, under their own names."""
        names = [self.names[position] for position in positions]
        for batch in self.text.batches(dict.fromkeys(positions, pa.string()), as_written=True):
            yield pa.RecordBatch.from_arrays(batch.columns, names=names)


def read_numbers(path: Path, header: bool | None, known: tuple[str, ...] = ()) -> NumberText:
    """Read a text table once, to count its rows and find what its columns hold.

    `header` and `known` are those of `find_header`.

    Cost:
        One pass, and another if a column that begins with numbers holds a cell that Arrow does not
        read as a number by itself.
    """
    sample = read_sample(path)
    headed, notes = find_header(sample, header, known)
    text = TextRows(sample, header=headed)
    try:
        count, counts = _count(text, careful=False)
    except pa.ArrowInvalid:  # a column that begins with numbers holds something else further down
        count, counts = _count(text, careful=True)
    if count == 0:
        raise MatrixError(
            f"{path} has a header and no rows.",
            hint="Give at least one row, or `header=False`.",
            code="empty",
        )
    cut = [*sample.notes(), *notes]
    # the encoding and the decimal mark may turn out later in the file than the sample reaches
    if text.encoding != sample.encoding:
        cut.append(f"{path.name}: the text is read as {text.encoding.upper()}.")
    if text.decimal != sample.decimal:
        commas = f"{path.name}: commas are read as decimal commas."
        cut = [*cut, commas] if text.decimal == "," else [note for note in cut if note != commas]
    empty = _empty_outside(sample, counts)
    if empty:
        many = len(empty) > 1
        cut.append(
            f"{path.name}: {len(empty)} empty column{'s' * many} without a name before or behind "
            f"all others {'are' if many else 'is'} left out."
        )
    return NumberText(
        text=text,
        names=sample.names if headed else [str(position) for position in range(sample.width)],
        count=count,
        empty=empty,
        notes=tuple(cut),
        _counts=counts,
    )


def _count(text: TextRows, *, careful: bool) -> tuple[int, CellCounts]:
    """The number of rows, and the counts of what every column holds.

    If `careful`, every cell is read as text, otherwise a column that begins with numbers is read as
    numbers.
    """
    sample = text.sample
    seen = 1 if sample.width >= WIDE_COLUMNS else len(sample.records)
    counts = CellCounts([
        not careful
        and all(
            is_number(cell, text.decimal)
            for cell in sample.below(position, header=text.header)[:seen]
        )
        for position in range(sample.width)
    ])  # fmt: skip
    types = {
        position: pa.float64() if plain else pa.string()
        for position, plain in enumerate(counts.plain)
    }
    if careful:
        text.find_decimal(types)
    count = 0
    for piece in text.pieces(types):
        count += piece.shape[0] if isinstance(piece, Flat) else piece.num_rows
        counts.add(piece, text.decimal)
    # these columns Arrow reads by itself: it knows missing values without blanks
    counts.plain |= counts.numbers == counts.held
    return count, counts


def _empty_outside(sample: Sample, counts: CellCounts) -> frozenset[int]:
    """Positions of columns without name and cells before or behind all others.

    Lines that end in commas make such columns. There are none if all columns are empty.
    """
    blank = (counts.numbers + counts.words == 0).tolist()
    for row in sample.records:
        for position, cell in enumerate(row.cells):
            blank[position] = blank[position] and not cell.strip()
    held = [position for position, empty in enumerate(blank) if not empty]
    inside = range(held[0], held[-1] + 1) if held else range(sample.width)
    return frozenset(range(sample.width)) - frozenset(inside)


FEWEST_EVEN: Final = 3
"""At least so many numbers that rise in equal steps may be names: wavelengths, years."""
FEWEST_SORTED: Final = 8
"""At least so many numbers that rise or fall in any steps may be names."""
STANDS_OUT_RATIO: Final = 3.0
"""A number that is more than so many times as large as all numbers below it may be a name."""
MOST_DIGITS: Final = 20
"""Digits that are converted of a number from which columns may be counted."""
DIGITS: Final = re.compile(r"\d+")
FEWEST_RISING: Final = 3
"""At least so many rising numbers, in the first row and the first column, are no coincidence."""


def find_header(
    sample: Sample, header: bool | None, known: tuple[str, ...] = ()
) -> tuple[bool, list[str]]:
    """Whether the first row is a header, and notes on it.

    It is a header if it holds a word, unless its words are like those below them and numbers stand
    beside them. It is also one if it holds numbers after an empty cell, as pandas writes a table
    whose columns have numbers as names.

    A row that holds all names of `known`, and none twice, is a header in any case.
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
        form = DIGITS.sub("#", cell)
        alike = form != cell and {DIGITS.sub("#", one) for one in below} == {form}
        if cell not in below and not alike:
            return False
    return True


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
        len(cells) >= FEWEST_RISING and min(_steps(cells, sample.decimal), default=0.0) > 0
        for cells in (columns, rows)
    )


def _may_be_names(cells: list[str], decimal: str) -> bool:
    """Whether numbers may be names: they are counted, or they rise or fall from cell to cell."""
    if len(cells) < 2:
        return cells == ["0"]  # as pandas writes one column
    first = cells[0]
    # isdecimal alone accepts digits of any alphabet; int() refuses numbers of thousands of digits
    if first.isascii() and first.isdecimal() and _is_counted(cells, int(first[:MOST_DIGITS])):
        return first == "0" or len(cells) > 2
    steps = _steps(cells, decimal)
    if not steps:
        return False
    even = max(steps) - min(steps) <= 1e-6 * abs(steps[0])  # steps of decimals differ by rounding
    one_way = min(steps) > 0 or max(steps) < 0
    return one_way and (
        len(cells) >= FEWEST_SORTED or (even and steps[0] > 0 and len(cells) >= FEWEST_EVEN)
    )


def _stands_out(sample: Sample) -> bool:
    """Whether the first row is much larger than all other rows, in every column."""
    for place, cell in enumerate(sample.first):
        below = _known(sample.below(place, header=True), sample.decimal)
        own = _known([cell], sample.decimal)
        if not own or not below or abs(own[0]) <= STANDS_OUT_RATIO * max(map(abs, below)):
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
    values = _known(cells, decimal)
    steps = [high - low for low, high in pairwise(values)]
    return steps if len(values) == len(cells) else []


def _known(cells: list[str], decimal: str) -> list[float]:
    """The numbers of the cells that are not missing and hold one."""
    known = [cell for cell in cells if is_number(cell, decimal) and not is_missing(cell)]
    return [float(cell.strip().replace(decimal, ".")) for cell in known]
