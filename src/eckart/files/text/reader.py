"""The rows of a text table, read by Arrow one block at a time."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as arrow_csv

from eckart.arrays import FLOAT64, Array
from eckart.errors import FormatError, MatrixError
from eckart.files.columns import numbers as as_floats
from eckart.files.columns import pc
from eckart.files.reading import damaged
from eckart.files.records import ArrowColumn, ArrowTable, ArrowType
from eckart.files.text.cells import (
    MISSING,
    commas_and_points,
    is_mark,
    is_number,
    is_odd,
    numbers,
    odd_and_marks,
    with_odd_blanks,
)
from eckart.files.text.sample import Sample, cut_records
from eckart.files.text.stream import SEPARATOR, Utf8, opened_text

BLOCK_BYTES: Final = 2**18
"""Bytes of a block, at least."""
LONGEST_LINES: Final = 8
"""A block holds at least so many times the longest line that was seen."""
WIDE_COLUMNS: Final = 500
"""Columns from which the time of Arrow depends on their number more than on that of the cells."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """The cells of some rows in one array, row by row.

    Fields:
        cells: Arrow array of numbers, or of text if a cell is no number.
        shape: Number of rows and of columns.
    """

    cells: ArrowColumn
    shape: tuple[int, int]


@final
class TextRows:
    """The rows of a text table.

    Args:
        sample: The first lines of the table.
        header: Whether the first line is a header.
        least: Bytes to read at once, at least.

    Fields:
        block: Bytes that are read at once.
        encoding: The encoding of the file, as far as it was read.
        decimal: The decimal mark, a comma or a point.
        passes: Number of passes over the rows that were begun.
    """

    def __init__(self, sample: Sample, *, header: bool, least: int = BLOCK_BYTES) -> None:
        self.sample = sample
        self.header = header
        self.block = max(least, LONGEST_LINES * sample.longest)
        self.encoding = sample.encoding
        self.decimal = sample.decimal
        self.passes = 0

    def batches(
        self, types: Mapping[int, ArrowType], *, as_written: bool = False
    ) -> Iterator[ArrowTable]:
        """Yield batches of some columns, named by their positions, from the first row on.

        Args:
            types: Arrow types by position of the column.
            as_written: Whether text is given as it stands; otherwise a missing value becomes null,
                unless a word such as NA is in quotes.
        """
        self.passes += 1
        options = self._options(types, as_written)
        for lines in self._blocks():
            yield from self._parsed(lines, options)

    def pieces(self, types: Mapping[int, ArrowType]) -> Iterator[ArrowTable | Flat]:
        """Yield batches of all columns; of a wide table `Flat` cells, which is faster."""
        self.passes += 1
        options = self._options(types, as_written=False)
        for lines in self._blocks():
            # quotes would hide delimiters, so only blocks without quotes are split here
            if self.sample.width >= WIDE_COLUMNS and b'"' not in lines:
                yield self._flat(lines)
            else:
                yield from self._parsed(lines, options)

    def _parsed(self, lines: bytes, options: dict[str, Any]) -> list[ArrowTable]:
        """The batches that Arrow makes of a block; an error of the width names its line."""
        keys = [str(position) for position in range(self.sample.width)]
        # one block for Arrow, since the lines end where a row ends
        read: Any = arrow_csv.ReadOptions(column_names=keys, block_size=len(lines) + 1)
        try:
            table = arrow_csv.read_csv(pa.BufferReader(lines), read_options=read, **options)
        except pa.ArrowInvalid as error:
            # Arrow says "Expected N columns" for a row of another width, and nothing better
            if "Expected" in str(error):
                raise self.located(error) from error
            # a block may hold nothing but blank lines
            if "Empty CSV" in str(error):
                return []
            raise
        return table.to_batches()

    def _flat(self, lines: bytes) -> Flat:
        """The cells of lines without quotes, read by Arrow as a single column."""
        delimiter = self.sample.delimiter.encode()
        rows = [row for row in lines.splitlines() if row]
        width = self.sample.width
        if any(row.count(delimiter) != width - 1 for row in rows):
            raise self.located("its lines have different lengths")
        cells: ArrowColumn = pa.array([], pa.float64())
        lines = b"\n".join(rows).replace(delimiter, b"\n")
        for kind in (pa.float64(), pa.string()) if rows else ():
            with suppress(pa.ArrowInvalid):
                cells = one_column(lines, kind, self.decimal).combine_chunks()
                break
        return Flat(cells=cells, shape=(len(rows), width))

    def located(self, error: Exception | str, numbers: Collection[int] = ()) -> Exception:
        """The error with the number of the line that causes it: another width, or a word."""
        try:
            for cells, line in self._rows():
                if len(cells) != self.sample.width:
                    return FormatError(
                        f"{self.sample.path}, line {line}: {len(cells)} cells where the first row "
                        f"has {self.sample.width}.",
                        hint="Give every row the same number of cells.",
                        code="ragged",
                    )
                for position in numbers:
                    if not is_number(cells[position], self.decimal):
                        return self.no_number(position, line, cells[position])
        except csv.Error as unreadable:
            return damaged(self.sample.path, unreadable)
        return damaged(self.sample.path, error)

    def no_number(self, position: int, line: int, cell: str) -> MatrixError:
        """The error for a cell in a column of numbers that is no number."""
        name = f" ('{self.sample.names[position]}')" if self.header else ""
        hint = "Correct it, or leave its column out."
        if is_odd(cell):
            hint = "Write it with the digits 0 to 9 and one point, such as -1234.5."
        elif is_mark(cell):
            hint = "Leave the cell empty if it is missing."
        return MatrixError(
            f"{self.sample.path}, line {line}, column {position + 1}{name}: '{cell[:40]}' is not a "
            "number.",
            hint=hint,
            code="not-numbers",
        )

    def find_decimal(self, positions: Collection[int]) -> None:
        """Use the decimal comma if numbers of these columns have a comma and none has a point.

        Cost:
            At most one pass.
        """
        if self.sample.delimiter == ",":  # then every comma separates cells
            return
        marks = np.zeros(2, np.int64)
        for batch in self.batches(dict.fromkeys(positions, pa.string())):
            for column in batch.columns:
                marks += commas_and_points(column)
        self.decimal = "," if marks[0] and not marks[1] else "."

    def first_words(self, positions: Collection[int]) -> dict[int, tuple[int, str]]:
        """The line and the text of the first cell that is no number, for each of some columns."""
        found: dict[int, tuple[int, str]] = {}
        for cells, line in self._rows():
            for position in positions:
                if position not in found and not is_number(cells[position], self.decimal):
                    found[position] = line, cells[position]
            if len(found) == len(positions):
                break
        return found

    def _rows(self) -> Iterator[tuple[list[str], int]]:
        """Yield the rows that are not blank with their lines.

        They are read by the csv module, since Arrow does not tell the number of a line.
        """
        _, file = opened_text(self.sample.path)
        skipped = self.sample.before(header=self.header)
        with file:
            for cells, line in cut_records(file, self.sample.delimiter):
                if cells and line > skipped:
                    yield cells, line

    def _options(self, types: Mapping[int, ArrowType], as_written: bool) -> dict[str, Any]:
        """The options with which Arrow reads these columns."""
        double = self.sample.delimiter == "::"
        return {
            "parse_options": arrow_csv.ParseOptions(
                delimiter=SEPARATOR.decode() if double else self.sample.delimiter,
                quote_char=False if double else '"',
                newlines_in_values=not double,
            ),
            "convert_options": arrow_csv.ConvertOptions(
                include_columns=[str(position) for position in types],
                column_types={str(position): kind for position, kind in types.items()},
                null_values=sorted(MISSING),
                strings_can_be_null=not as_written,
                # a word such as "NA" in quotes is a text
                quoted_strings_can_be_null=False,
                decimal_point=self.decimal,
            ),
        }

    def _blocks(self) -> Iterator[bytes]:
        """Yield blocks of the text that end at the end of a row."""
        double = self.sample.delimiter == "::"
        delimiter = re.escape(self.sample.delimiter.encode())
        quoted = re.compile(rb'(?<![^\r\n%b]) *"[^"]*(?:""[^"]*)*("|\Z)' % delimiter)
        late = re.compile(rb'(?:\A|[\r\n%b]) +"' % delimiter)
        left, line = b"", self.sample.before(header=self.header)
        source = Utf8(
            self.sample.path, self.sample.start(header=self.header), self.sample.delimiter
        )
        with io.BufferedReader(source) as file:
            while True:
                # a row that is longer than the block doubles what is read, until its end is found
                piece = file.read(max(self.block, len(left)))
                left += piece
                end, open_at = len(left), -1
                if piece:
                    # the last byte does not count if it is \r, which may be the first half of \r\n
                    end = max(left.rfind(b"\n"), left.rfind(b"\r", 0, -1)) + 1
                if not double and b'"' in left:
                    end, open_at = _outside(quoted, left, end)
                if open_at >= 0 and not piece:
                    wrong = line + left.count(b"\n", 0, open_at) + 1
                    raise FormatError(
                        f"{self.sample.path}, line {wrong}: a quote is not closed.",
                        hint="Close it, or write it twice within a cell in quotes.",
                        code="damaged-file",
                    )
                if end:
                    lines = left[:end]
                    if not double and late.search(lines):
                        # Arrow alone takes a quote after blanks for a part of the cell
                        lines = quoted.sub(lambda cell: cell[0].lstrip(b" "), lines)
                    yield lines
                    line += left.count(b"\n", 0, end)
                    left = left[end:]
                if not piece:
                    break
        self.encoding = source.encoding


def one_column(lines: bytes, kind: ArrowType = None, decimal: str = ".") -> ArrowColumn:
    """Lines, the last without its end, as one Arrow array of a type; None infers the type."""
    return arrow_csv.read_csv(
        pa.BufferReader(lines + b"\n"),
        read_options=arrow_csv.ReadOptions(column_names=["0"], block_size=len(lines) + 2),
        parse_options=arrow_csv.ParseOptions(
            delimiter=SEPARATOR.decode(), quote_char=False, ignore_empty_lines=False
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={} if kind is None else {"0": kind},
            null_values=sorted(MISSING),
            strings_can_be_null=True,
            decimal_point=decimal,
        ),
    ).column(0)


def _outside(quoted: re.Pattern[bytes], text: bytes, end: int) -> tuple[int, int]:
    """The last end of a row up to `end` outside of quotes, and the start of an open quote or -1."""
    found = [match for match in quoted.finditer(text) if match.start() < end]
    # only the last cell in quotes can be open
    open_at = found[-1].start() if found and not found[-1][1] else -1
    for match in reversed(found):
        if match.start() < end <= match.end():
            before = text.rfind(b"\n", 0, match.start()), text.rfind(b"\r", 0, match.start())
            end = max(before) + 1
    return end, open_at


@final
class CellCounts:
    """Counts of the kinds of cells in each column.

    Fields:
        plain: Whether Arrow reads the column as numbers by itself.
        numbers: Number of cells that are numbers.
        words: Number of cells that are neither numbers nor missing.
        doubtful: Number of words that are surely meant as numbers.
        marks: Number of words that have neither letters nor digits.
        held: Number of cells that Arrow does not read as missing.
    """

    def __init__(self, plain: list[bool]) -> None:
        self.plain = np.array(plain, np.bool_)
        self.numbers, self.words, self.doubtful, self.marks, self.held = np.zeros(
            (5, len(plain)), np.int64
        )

    def add(self, piece: ArrowTable | Flat, decimal: str) -> None:
        """Count the cells of a batch, or of a `Flat` piece of a wide table."""
        if isinstance(piece, Flat):
            values, words = flat_values(piece, decimal)
            known = ~np.isnan(values)
            self.numbers += known.sum(axis=0)
            self.words += words.sum(axis=0)
            self.held += (known | words).sum(axis=0)
            if words.any():
                kinds = np.zeros((2, *piece.shape), np.bool_)
                kinds[:, words] = odd_and_marks(piece.cells.filter(pa.array(words.ravel())))
                self.doubtful += kinds[0].sum(axis=0)
                self.marks += kinds[1].sum(axis=0)
            return
        for place, column in enumerate(piece.columns):
            held = len(column) - column.null_count
            self.held[place] += held
            # a batch whose column is plain was read as numbers, so what is not null is a number
            if self.plain[place]:
                self.numbers[place] += held
                continue
            found, words = numbers(column, decimal)
            self.numbers[place] += len(found) - found.null_count
            self.words[place] += pc.sum(words).as_py() or 0
            odd, marks = odd_and_marks(column.filter(words))
            self.doubtful[place] += odd.sum()
            self.marks[place] += marks.sum()
            self.held[place] += with_odd_blanks(column)


def flat_values(piece: Flat, decimal: str) -> tuple[Array, npt.NDArray[np.bool_]]:
    """The numbers of a piece, and a mask of its words."""
    if pa.types.is_string(piece.cells.type):
        found, words = numbers(piece.cells, decimal)
        mask = np.asarray(words.to_numpy(zero_copy_only=False), np.bool_)
    else:
        found, mask = piece.cells, np.zeros(piece.shape, np.bool_)
    return as_floats(found, FLOAT64).reshape(piece.shape), mask.reshape(piece.shape)
