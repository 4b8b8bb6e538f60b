"""Tables as text: how they are cut into cells, and their columns a block of lines at a time."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

import pyarrow as pa
import pyarrow.csv as arrow_csv

from eckart.errors import FormatError, MatrixError
from eckart.storage.whole import damaged

Kind: TypeAlias = Literal["id", "number", "time", "text"]

DELIMITERS: Final = ("::", "\t", "|", ";", ",")
SEPARATOR: Final = "\x1f"
"""Stands for `::` while Arrow reads, which splits at one character only."""
MISSING: Final = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "none"]
BLOCK: Final = 2**23
"""Bytes of text that are read at a time."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TableHead:
    """What the beginning of a table says of it.

    Fields:
        names: Of the columns; None where a text file has no header.
        width: How many columns.
        delimiter: Of a text file, else empty.
        encoding: Of a text file.
    """

    names: tuple[str, ...] | None
    width: int
    delimiter: str = ""
    encoding: str = "utf-8"


def text_head(path: Path, known: frozenset[str]) -> TableHead:
    """Names of the columns of a text file, and how it is cut into them.

    Args:
        path: The file.
        known: Names that a header would hold, in lower case and without punctuation.

    Raises:
        MatrixError: If it is empty.
    """
    with pa.input_stream(str(path), compression="detect") as stream:
        raw: bytes = stream.read(1 << 16)
    try:
        text, encoding = raw.decode("utf-8-sig", errors="strict"), "utf-8"
    except UnicodeDecodeError as error:
        # a character may be cut at the end of the piece that was read
        cut = error.start > len(raw) - 4
        encoding = "utf-8" if cut else "latin-1"
        text = raw.decode(encoding, errors="ignore")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise MatrixError(f"{path} is empty.", hint="Give at least one row.", code="empty")
    delimiter = _delimiter(path, lines[0])
    first, second = (_cells(line, delimiter) for line in (lines[0], lines[min(1, len(lines) - 1)]))
    header = any(plain(cell) in known for cell in first) or (
        len(lines) > 1
        and any(_is_number(b) and not _is_number(a) for a, b in zip(first, second, strict=False))
    )
    names = tuple(cell.strip() for cell in first) if header else None
    return TableHead(names=names, width=len(first), delimiter=delimiter, encoding=encoding)


def plain(name: str) -> str:
    """A name in lower case, its letters and digits only.

    Example:
        >>> plain("User_ID")
        'userid'
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def text_columns(path: Path, head: TableHead, wanted: Mapping[int, Kind]) -> Any:
    """Some columns of a text file, named by their positions, as an Arrow table.

    Args:
        path: The file.
        head: What `text_head` found.
        wanted: Positions of the columns and what each holds.

    Raises:
        FormatError: If the file is damaged, or a row has another number of cells.
        MatrixError: If a cell of a column of numbers is none.
    """
    skipped = int(head.names is not None)
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            if head.delimiter == "::":
                return _parsed(_buffer(stream.read(), head), head, wanted, skipped)
            return _parsed(stream, head, wanted, skipped)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _located(path, head, wanted, error) from error


def text_blocks(path: Path, head: TableHead, wanted: Mapping[int, Kind]) -> Iterator[Any]:
    """The same, a block of lines at a time; the type of a time is that of its block.

    Raises:
        FormatError: As `text_columns`, at the block where it is.
        MatrixError: As `text_columns`.

    Cost:
        Memory of a block of 8 MB and of what is in it.
    """
    skipped = int(head.names is not None)
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            for lines in _blocks_of_lines(stream):
                yield _parsed(_buffer(lines, head), head, wanted, skipped)
                skipped = 0
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _located(path, head, wanted, error) from error


def _blocks_of_lines(stream: Any) -> Iterator[bytes]:
    """The first block, whatever is in it, and those behind it that are not blank."""
    left, first = b"", True
    while piece := stream.read(BLOCK):
        left += piece
        end = left.rfind(b"\n") + 1
        if end and (first or left[:end].strip()):
            yield left[:end]
            first = False
        left = left[end:]
    if first or left.strip():
        yield left


def _delimiter(path: Path, line: str) -> str:
    if path.with_suffix("").suffix.lower() == ".tsv" or path.suffix.lower() == ".tsv":
        return "\t"
    return next((one for one in DELIMITERS if one in line), ",")


def _cells(line: str, delimiter: str) -> list[str]:
    return (
        next(csv.reader([line.replace("::", SEPARATOR)], delimiter=SEPARATOR))
        if (delimiter == "::")
        else next(csv.reader([line], delimiter=delimiter))
    )


def _buffer(text: bytes, head: TableHead) -> Any:
    double = head.delimiter == "::"
    return pa.BufferReader(text.replace(b"::", SEPARATOR.encode()) if double else text)


def _parsed(source: Any, head: TableHead, wanted: Mapping[int, Kind], skipped: int) -> Any:
    types = {
        "id": pa.dictionary(pa.int32(), pa.string()),
        "number": pa.float64(),
        "text": pa.string(),
    }
    double = head.delimiter == "::"
    return arrow_csv.read_csv(
        source,
        read_options=arrow_csv.ReadOptions(
            column_names=[str(position) for position in range(head.width)],
            skip_rows=skipped,
            encoding=head.encoding,
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=SEPARATOR if double else head.delimiter,
            quote_char=False if double else '"',
        ),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=[str(position) for position in wanted],
            column_types={
                str(position): types[kind] for position, kind in wanted.items() if kind in types
            },
            null_values=MISSING,
            strings_can_be_null=True,
        ),
    )


def _located(
    path: Path, head: TableHead, wanted: Mapping[int, Kind], error: Exception
) -> FormatError | MatrixError:
    """The error with the row of the cell that caused it, counted from 1 without the header."""
    with pa.input_stream(str(path), compression="detect") as stream:
        text = stream.read().decode(head.encoding, errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    for row, line in enumerate(lines[int(head.names is not None) :], start=1):
        cells = _cells(line, head.delimiter)
        if len(cells) != head.width:
            return FormatError(
                f"{path}, row {row}: {len(cells)} cells where the first row has {head.width}.",
                hint="Give every row the same number of cells.",
                code="ragged",
            )
        for position, kind in wanted.items():
            cell = cells[position].strip()
            if kind == "number" and cell not in MISSING and not _is_number(cell):
                return MatrixError(
                    f"{path}, row {row}: '{cell[:40]}' is not a number.",
                    hint="Correct it, or name another column.",
                    code="not-numbers",
                )
    return damaged(path, error)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
