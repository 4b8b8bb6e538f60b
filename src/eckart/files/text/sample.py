"""The dialect of a text file, found from its first lines: delimiter, decimal mark, comments."""

import csv
import io
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final

from eckart.errors import MatrixError
from eckart.files.reading import damaged
from eckart.files.text.cells import has_comma, has_point, is_number
from eckart.files.text.stream import SEPARATOR, joined, opened_text

DELIMITERS: Final = ("::", "\t", "|", ";", ",")
"""Delimiters to try; of several that fit equally well the first is taken."""
MOST_RECORDS: Final = 200
"""The most records from which the dialect is judged."""
FEWEST_LINES: Final = 8
"""The fewest lines that are read, however long they are."""
COMMENT: Final = ("#", "%", "sep=")
"""How lines before a table begin; `sep=` is the line that spreadsheets write."""
FIRST_CHARACTERS: Final = 2**16
"""Characters that are read first."""
MOST_CHARACTERS: Final = 2**28
"""Characters after which no more are read, even if they hold fewer than `FEWEST_LINES` lines."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a table: a line, or several lines if a cell in quotes holds a line break.

    Fields:
        cells: Texts of the cells, without quotes.
        line: Number of its last line, counted from 1.
        end: Bytes of UTF-8 from the beginning of the file to the end of the record.
    """

    cells: list[str]
    line: int
    end: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The first records of a table, and its dialect.

    Fields:
        path: The file.
        records: The first records that are not blank.
        delimiter: The characters between two cells.
        decimal: The decimal mark, a comma or a point.
        encoding: The encoding of the file, as far as it was read.
        longest: Bytes of the longest record.
        offset: Bytes of UTF-8 of the comment lines before the table.
        lines: Number of these comment lines.
    """

    path: Path
    records: list[Record]
    delimiter: str
    decimal: str
    encoding: str
    longest: int
    offset: int = 0
    lines: int = 0

    @property
    def names(self) -> list[str]:
        """The cells of the first line as names of columns, without the mark of a comment."""
        first, *others = [cell.strip() for cell in self.first]
        return [first.removeprefix("#").strip(), *others]

    @property
    def first(self) -> list[str]:
        """The cells of the first line."""
        return self.records[0].cells

    @property
    def width(self) -> int:
        """The number of cells in the first line."""
        return len(self.first)

    def below(self, position: int, *, header: bool) -> list[str]:
        """The cells of a column below the header; lines that are too short have none."""
        rows = self.records[int(header) :]
        return [row.cells[position] for row in rows if position < len(row.cells)]

    def start(self, *, header: bool) -> int:
        """Bytes of UTF-8 before the first row."""
        return self.records[0].end if header else self.offset

    def before(self, *, header: bool) -> int:
        """Number of lines before the first row."""
        return self.records[0].line if header else self.lines

    def notes(self) -> list[str]:
        """Sentences for the user about the dialect that was assumed."""
        said: list[str] = []
        if self.lines:
            what = "line that is a comment is" if self.lines == 1 else "lines of comment are"
            said.append(f"{self.path.name}: {self.lines} {what} passed over.")
        if self.encoding != "utf-8":
            said.append(f"{self.path.name}: the text is read as {self.encoding.upper()}.")
        if self.decimal == ",":
            said.append(f"{self.path.name}: commas are read as decimal commas.")
        return said


def read_sample(path: Path) -> Sample:
    """Read the first lines of a text file and find its dialect."""
    text, whole, encoding = _beginning(path)
    lines = io.StringIO(text, newline="").readlines()
    lines = lines if whole else lines[:-1] or lines  # the last line may be cut off
    count = next((place for place, line in enumerate(lines) if not line.startswith(COMMENT)), 0)
    delimiter, records = _cut(path, lines, count, whole=whole)
    if not records:
        raise MatrixError(f"{path} is empty.", hint="Give at least one row.", code="empty")
    if count:
        count, records = _with_names(path, lines, count, delimiter, records)
    records = _with_all_names(records, delimiter)
    offset = _bytes(lines[:count])
    ends = [offset, *(record.end for record in records)]
    return Sample(
        path=path,
        records=records,
        delimiter=delimiter,
        decimal=_decimal(records, delimiter),
        encoding=encoding,
        longest=max(end - start for start, end in pairwise(ends)),
        offset=offset,
        lines=count,
    )


def cut_records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[list[str], int]]:
    """Yield the cells of every record of some lines, and the number of its last line."""
    with _any_length():
        one, quoting = delimiter, csv.QUOTE_MINIMAL
        if delimiter == "::":
            # the csv module splits at a single character; quotes mean nothing in files with "::"
            one, quoting = SEPARATOR.decode(), csv.QUOTE_NONE
        if delimiter in ("::", " "):
            lines = (joined(line.encode(), delimiter).decode() for line in lines)
        reader: Any = csv.reader(lines, delimiter=one, quoting=quoting, skipinitialspace=True)
        for cells in reader:
            yield cells, reader.line_num


def _beginning(path: Path) -> tuple[str, bool, str]:
    """The first lines of a file, whether they are the whole file, and their encoding."""
    raw, file = opened_text(path)
    with file:
        text = file.read(FIRST_CHARACTERS)
        while len(text) < MOST_CHARACTERS and text.count("\n") + text.count("\r") < FEWEST_LINES:
            more = file.read(3 * len(text))  # fourfold growth, so that long lines take few reads
            if not more:
                break
            text += more
        return text, not file.read(1), raw.encoding


def _cut(path: Path, lines: list[str], count: int, *, whole: bool) -> tuple[str, list[Record]]:
    """The delimiter that fits best, and the records that it makes of the lines after `count`."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    # .tsv promises tabs, even if commas would split its cells as well
    tabs = suffixes[-1:] == [".tsv"] or suffixes == [".tsv", ".gz"]
    text = "".join(lines[count:])
    choices = [one for one in (*DELIMITERS, " ") if one in text]
    delimiter, records = max(
        (
            (delimiter, _records(path, lines, count, delimiter, whole=whole))
            for delimiter in (["\t"] if tabs else choices or [","])
        ),
        key=_merit,
    )
    if delimiter == "," and ";" not in text and all(len(row.cells) == 1 for row in records):
        # a semicolon splits nothing either, and leaves the commas to numbers in quotes
        delimiter = ";"
    return delimiter, records


def _with_names(
    path: Path, lines: list[str], count: int, delimiter: str, records: list[Record]
) -> tuple[int, list[Record]]:
    """The number of comment lines and the records; the last comment may hold the column names."""
    # the records twice, so that a table of one line has two as well
    first, below = ([any(cell and is_number(cell, ",") for cell in record.cells)
                     for record in [*records, *records][:2]])  # fmt: skip
    if (below and not first) or lines[count - 1].startswith("sep="):
        return count, records  # the names are in the line below
    width, last = len(records[0].cells), lines[count - 1]
    own = _records(path, lines[:count], count - 1, delimiter, whole=True)
    if delimiter != " " and own and len(own[0].cells) == width:
        return count - 1, [*own, *records]
    bare = [*lines[: count - 1], last.lstrip("#").lstrip(" ")]
    named = _records(path, bare, count - 1, delimiter, whole=True)
    if last.startswith("#") and named and len(named[0].cells) == width:
        return count, [replace(named[0], end=_bytes(lines[:count])), *records]
    return count, records


def _with_all_names(records: list[Record], delimiter: str) -> list[Record]:
    """The records, with an empty name for the first column if the header lacks it, as from R.

    One name above two cells may also stand for one column with decimal commas, unless the first
    cells count the rows.
    """
    first, *rows = records
    width = len(first.cells) + 1
    shorter = bool(rows) and all(len(row.cells) == width for row in rows)
    if shorter and delimiter == "," and width == 2:
        counted = all(row.cells[0].strip() == str(place) for place, row in enumerate(rows, 1))
        shorter = counted or not all(is_number(row.cells[0]) for row in rows)
    # rows whose last cell is always empty end in a delimiter, and the header lacks no name
    if not shorter or any(map(is_number, first.cells)) or not any(row.cells[-1] for row in rows):
        return records
    return [replace(first, cells=["", *first.cells]), *rows]


def _records(
    path: Path, lines: list[str], count: int, delimiter: str, *, whole: bool
) -> list[Record]:
    """The records after `count` lines that are not blank.

    The last is left out where more of the file follows, since it may be incomplete.
    """
    found: list[Record] = []
    ended, used = _bytes(lines[:count]), count
    try:
        for cells, line in cut_records(lines[count:], delimiter):
            ended += _bytes(lines[used : count + line])
            used = count + line
            if any(cells):
                found.append(Record(cells=cells, line=used, end=ended))
            if len(found) == MOST_RECORDS:
                return found
    except csv.Error as error:
        raise damaged(path, error) from error
    return found if whole else found[:-1] or found


def _bytes(lines: list[str]) -> int:
    """Bytes of the lines in UTF-8."""
    return sum(len(line.encode()) for line in lines)


def _merit(cut: tuple[str, list[Record]]) -> tuple[bool, float, float, int]:
    """How well a delimiter fits: first lines of one width above 1, then cells that are numbers."""
    delimiter, records = cut
    width, count = Counter(len(record.cells) for record in records).most_common(1)[0] \
        if records else (0, 0)  # fmt: skip
    decimal = _decimal(records, delimiter)
    # the first record may be a header, which holds no numbers
    body = [record.cells for record in records[1:] or records if len(record.cells) == width]
    cells = [cell for row in body[:20] for cell in row[:1000]]  # enough to judge, in bounded time
    share = sum(is_number(cell, decimal) for cell in cells) / max(1, len(cells))
    agreed = count / max(1, len(records))
    if delimiter == " ":
        # blanks also separate the words of a text: a column or all cells have to be numbers
        fits = any(all(is_number(cell) for cell in column) for column in zip(*body, strict=True))
        sure = float(share == 1)
        fits = width > 1 and agreed == 1 and (fits or share == 1)
        return fits, sure * agreed, sure, -len(DELIMITERS)
    return width > 1, agreed, share, -DELIMITERS.index(delimiter)


def _decimal(records: list[Record], delimiter: str) -> str:
    """The decimal mark: a comma if some numbers have one and none has a point, else a point."""
    if delimiter == ",":  # then every comma separates cells
        return "."
    cells = [cell for record in records for cell in record.cells[:1000]]
    return "," if any(map(has_comma, cells)) and not any(map(has_point, cells)) else "."


@contextmanager
def _any_length() -> Generator[None, None, None]:
    """Let the csv module accept cells of any length."""
    # the limit is global state of the csv module
    limit = csv.field_size_limit(2**31 - 1)  # a C long has 32 bits on Windows
    try:
        yield
    finally:
        csv.field_size_limit(limit)
