"""How a text file is cut into cells, told from its first lines."""

import csv
import io
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final

from eckart.errors import MatrixError
from eckart.storage.text.cells import has_comma, has_point, is_number
from eckart.storage.text.stream import SEPARATOR, opened_text
from eckart.storage.whole import check_regular, damaged

DELIMITERS: Final = ("::", "\t", "|", ";", ",")
RECORDS: Final = 200
"""Lines from which a table is judged, at most."""
FEWEST: Final = 8
"""Lines that are read at least, however long they are."""
CHARACTERS: Final = 2**16
LONGEST: Final = 2**28
"""Characters in which a table has to show how it is cut."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a table, or several where a cell in quotes is broken.

    Fields:
        cells: As they stand there, without quotes.
        line: Its last line, counted from 1.
        end: Bytes of UTF-8 to its end, from the beginning of the file.
    """

    cells: list[str]
    line: int
    end: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The first lines of a table, and how they are cut.

    Fields:
        path: The file.
        records: That are not blank.
        delimiter: Between the cells.
        decimal: A comma or a point.
        encoding: In which it is written, as far as it was read.
        longest: Bytes of the longest record.
    """

    path: Path
    records: list[Record]
    delimiter: str
    decimal: str
    encoding: str
    longest: int

    @property
    def first(self) -> list[str]:
        """The cells of the first line."""
        return self.records[0].cells

    @property
    def width(self) -> int:
        """How many cells the first line has."""
        return len(self.first)

    def below(self, position: int, *, header: bool) -> list[str]:
        """The cells of a column, without those of short lines."""
        rows = self.records[int(header) :]
        return [row.cells[position] for row in rows if position < len(row.cells)]

    def start(self, *, header: bool) -> int:
        """Bytes of UTF-8 before the first row."""
        return self.records[0].end if header else 0

    def notes(self) -> list[str]:
        """What a person should know of how it was cut."""
        said: list[str] = []
        if self.encoding != "utf-8":
            said.append(f"{self.path.name}: the text is read as {self.encoding.upper()}.")
        if self.decimal == ",":
            said.append(f"{self.path.name}: commas are read as decimal commas.")
        return said


def read_sample(path: Path) -> Sample:
    """The first lines of a text file.

    Raises:
        ArgumentError: If it can be read once only.
        FormatError: If it is no text.
        MatrixError: If it is empty.
    """
    check_regular(path)
    text, whole, encoding = _beginning(path)
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    tabs = suffixes[-1:] == [".tsv"] or suffixes == [".tsv", ".gz"]
    choices = ("\t",) if tabs else (*DELIMITERS, " ")
    cut = [
        (delimiter, _records(path, text, delimiter, whole=whole))
        for delimiter in choices
        if tabs or delimiter in text
    ]
    delimiter, records = max(cut or [(",", _records(path, text, ",", whole=whole))], key=_merit)
    if not records:
        raise MatrixError(f"{path} is empty.", hint="Give at least one row.", code="empty")
    ends = [0, *(record.end for record in records)]
    return Sample(
        path=path,
        records=records,
        delimiter=delimiter,
        decimal=_decimal(records, delimiter),
        encoding=encoding,
        longest=max(end - start for start, end in pairwise(ends)),
    )


def cut_records(
    lines: Iterable[str], delimiter: str, *, strict: bool = False
) -> Iterator[tuple[list[str], int]]:
    """The cells of every record of some lines, and the number of its last line.

    Raises:
        csv.Error: If a line cannot be cut; where it is strict, also if a quote is not closed.
    """
    with _any_length():
        if delimiter == "::":
            one = SEPARATOR.decode()
            replaced = (line.replace("::", one) for line in lines)
            reader: Any = csv.reader(replaced, delimiter=one, quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(lines, delimiter=delimiter, strict=strict)
        for cells in reader:
            yield cells, reader.line_num


def _beginning(path: Path) -> tuple[str, bool, str]:
    """The first lines of a file, whether they are all of it, and how they were encoded."""
    raw, file = opened_text(path)
    with file:
        text = file.read(CHARACTERS)
        while len(text) < LONGEST and text.count("\n") + text.count("\r") < FEWEST:
            more = file.read(3 * len(text))
            if not more:
                break
            text += more
        return text, not file.read(1), raw.encoding


def _records(path: Path, text: str, delimiter: str, *, whole: bool) -> list[Record]:
    """The records of a text that are not blank, without the last where more text follows."""
    lines = io.StringIO(text, newline="").readlines()
    if not whole:
        lines = lines[:-1] or lines
    found: list[Record] = []
    ended, used = 0, 0
    try:
        for cells, line in cut_records(lines, delimiter):
            ended += sum(len(one.encode()) for one in lines[used:line])
            used = line
            if any(cells):
                found.append(Record(cells=cells, line=line, end=ended))
            if len(found) == RECORDS:
                return found
    except csv.Error as error:
        raise damaged(path, error) from error
    return found if whole else found[:-1] or found


def _merit(cut: tuple[str, list[Record]]) -> tuple[bool, float, float, int]:
    """How well a delimiter fits: lines of one width above 1, then cells that are numbers."""
    delimiter, records = cut
    width, count = Counter(len(record.cells) for record in records).most_common(1)[0] \
        if records else (0, 0)  # fmt: skip
    decimal = _decimal(records, delimiter)
    body = [record.cells for record in records[1:] or records if len(record.cells) == width]
    cells = [cell for row in body[:20] for cell in row[:1000]]
    share = sum(is_number(cell, decimal) for cell in cells) / max(1, len(cells))
    agreed = count / max(1, len(records))
    if delimiter == " ":
        # words of a text are no cells
        fits = any(all(is_number(cell) for cell in column) for column in zip(*body, strict=True))
        return width > 1 and agreed == 1 and fits, 0.0, 0.0, -len(DELIMITERS)
    return width > 1, agreed, share, -DELIMITERS.index(delimiter)


def _decimal(records: list[Record], delimiter: str) -> str:
    """A comma where numbers have one and none has a point."""
    if delimiter == ",":
        return "."
    cells = [cell for record in records for cell in record.cells[:1000]]
    return "," if any(map(has_comma, cells)) and not any(map(has_point, cells)) else "."


@contextmanager
def _any_length() -> Generator[None, None, None]:
    """Let the reader of the standard library take cells of any length."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
