"""A text table of numbers: its header, its index, and which of its columns are numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa
from pyarrow import compute

from eckart.errors import MatrixError
from eckart.storage.text.cells import is_number, numbers, with_commas
from eckart.storage.text.reader import TextRows
from eckart.storage.text.sample import Sample, read_sample

pc: Final[Any] = compute  # its functions are made when it is imported, which no type checker sees


@final
@dataclass(slots=True)
class _Tally:
    """What the cells of a column are; `plain` where Arrow reads them as numbers by itself."""

    plain: bool
    numbers: int = 0
    words: int = 0
    doubtful: int = 0
    held: int = 0

    def add(self, column: Any, decimal: str) -> None:
        """Count the cells of a batch."""
        if self.plain:
            self.numbers += len(column) - column.null_count
            return
        found, words = numbers(column, decimal)
        self.held += len(column) - column.null_count
        self.numbers += len(found) - found.null_count
        self.words += int(pc.sum(words).as_py() or 0)
        self.doubtful += with_commas(column.filter(words)) if self.words else 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NumberText:
    """A text table that was read once.

    Fields:
        path: The file.
        text: Its rows.
        names: Of its columns, or their numbers.
        header: Whether the first row names them.
        count: How many rows there are.
        passes: How often it was read.
        empty: Positions of the columns behind the last comma of every line.
        notes: How it was read.
    """

    path: Path
    text: TextRows
    names: list[str]
    header: bool
    count: int
    passes: int
    empty: frozenset[int]
    notes: tuple[str, ...]
    _tallies: list[_Tally] = field(repr=False)

    @property
    def unnamed(self) -> bool:
        """Whether the first column has no name where the others have one, as pandas writes it."""
        return self.header and len(self.names) > 1 and not self.names[0]

    def is_text(self, position: int) -> bool:
        """Whether most cells of a column that are there are words.

        Numbers with a comma that is not the decimal one are no words: their column is refused.
        """
        tally = self._tallies[position]
        return tally.words - tally.doubtful > tally.numbers + tally.doubtful

    def check(self, positions: list[int]) -> None:
        """Refuse columns that hold a word.

        Raises:
            MatrixError: If one does; the line and the column are named.
        """
        wrong = [position for position in positions if self._tallies[position].words]
        if wrong:
            found = self.text.first_words(wrong)
            position = min(found, key=lambda one: (found[one][0], one))
            raise self.text.no_number(position, *found[position])

    def words(self, positions: list[int]) -> dict[int, str]:
        """What to say of columns that are no numbers: the first cell that is none."""
        found = self.text.first_words([one for one in positions if self._tallies[one].words])
        return {one: f"'{cell[:40]}' in line {line}" for one, (line, cell) in found.items()}

    def batches(self, positions: list[int]) -> Iterator[Any]:
        """Batches of columns of numbers, in this order."""
        plain = {position: self._tallies[position].plain for position in positions}
        types = {one: pa.float64() if plain[one] else pa.string() for one in positions}
        for batch in self.text.batches(types):
            columns = [
                column if plain[position] else numbers(column, self.text.decimal)[0]
                for position, column in zip(types, batch.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    def beside(self, positions: list[int]) -> Iterator[Any]:
        """Batches of columns as they are written, under their own names."""
        names = [self.names[position] for position in positions]
        for batch in self.text.batches(dict.fromkeys(positions, pa.string()), as_written=True):
            yield pa.RecordBatch.from_arrays(batch.columns, names=names)


def read_numbers(path: Path, header: bool | None) -> NumberText:
    """Read a text table once: how many rows it has, and what its columns hold.

    Args:
        path: The file.
        header: Whether its first row is a header; None finds out.

    Raises:
        FormatError: If the file is damaged, or a row has another number of cells.
        MatrixError: If it holds no rows.

    Cost:
        One pass, and another where a column that begins with numbers holds something else, or
        something that Arrow does not read as a number by itself.
    """
    sample = read_sample(path)
    headed, notes = _header(sample, header)
    text = TextRows(sample, header=headed)
    try:
        count, tallies = _tallied(text, careful=False)
    except pa.ArrowInvalid:
        count, tallies = _tallied(text, careful=True)
    if count == 0:
        raise MatrixError(
            f"{path} has a header and no rows.", hint="Give at least one row.", code="empty"
        )
    cut = [*sample.notes(), *notes]
    if text.encoding != sample.encoding:
        cut.append(f"{path.name}: the text is read as {text.encoding.upper()}.")
    if text.decimal != sample.decimal:
        cut.append(f"{path.name}: commas are read as decimal commas.")
    names = [cell.strip() for cell in sample.first]
    empty = _behind_last(sample, tallies, header=headed)
    if empty:
        cut.append(f"{path.name}: every line ends in a comma; the empty last column is left out.")
    return NumberText(
        path=path,
        text=text,
        names=names if headed else [str(position) for position in range(sample.width)],
        header=headed,
        count=count,
        passes=text.passes,
        empty=empty,
        notes=tuple(cut),
        _tallies=tallies,
    )


def _header(sample: Sample, header: bool | None) -> tuple[bool, list[str]]:
    """Whether the first row is a header, and what to say of it.

    It is one if it holds a word, or if it is the numbers 0, 1, 2 … of columns behind an empty cell,
    as pandas writes a table whose columns have no names.
    """
    if header is not None:
        return header, []
    name, first = sample.path.name, [cell.strip() for cell in sample.first]
    counted = [str(place) for place in range(len(first))]
    unnamed = not first[0] and len(first) > 1 and first[1:] == counted[:-1]
    if unnamed or not all(map(partial(is_number, decimal=sample.decimal), first)):
        shown = ", ".join(first[:4]) + (" …" if len(first) > 4 else "")
        return True, [f"{name}: the first row is taken as a header ({shown}; --no-header if not)."]
    if len(first) > 1 and first == counted and len(sample.records) > 1:
        return False, [f"{name}: the first row, 0, 1 …, is taken as numbers (--header if not)."]
    return False, []


def _tallied(text: TextRows, *, careful: bool) -> tuple[int, list[_Tally]]:
    """How many rows there are, and what every column holds.

    Args:
        text: The table.
        careful: Read every cell as text; else those as numbers whose column begins with numbers.
    """
    sample = text.sample
    tallies = [
        _Tally(
            plain=not careful
            and all(
                is_number(cell, text.decimal) for cell in sample.below(position, header=text.header)
            )
        )
        for position in range(sample.width)
    ]
    types = {
        position: pa.float64() if tally.plain else pa.string()
        for position, tally in enumerate(tallies)
    }
    if careful:
        text.find_decimal(types)
    count = 0
    for batch in text.batches(types):
        count += batch.num_rows
        for tally, column in zip(tallies, batch.columns, strict=True):
            tally.add(column, text.decimal)
    for tally in tallies:
        # of what is missing Arrow knows the words that stand alone and without quotes
        tally.plain = tally.plain or tally.numbers == tally.held
    return count, tallies


def _behind_last(sample: Sample, tallies: list[_Tally], *, header: bool) -> frozenset[int]:
    """The last column where every line ends in a comma."""
    last = sample.width - 1
    blank = last > 0 and not any(cell.strip() for cell in sample.below(last, header=False))
    held = tallies[last].numbers + tallies[last].words
    if blank and not held and len(sample.records) > int(header):
        return frozenset((last,))
    return frozenset()
