"""Tables of columns that have names: interactions, pairs, titles."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.json as arrow_json
import pyarrow.parquet as pq

from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.whole import damaged, reading, whole_file

Kind: TypeAlias = Literal["id", "number", "time", "text"]

TEXT: Final = frozenset({".csv", ".tsv", ".dat", ".data", ".txt", ".base", ".test", ".item"})
"""The last four and `.dat` are those of MovieLens."""
LINES: Final = frozenset({".jsonl", ".ndjson", ".json"})
PARQUET: Final = frozenset({".parquet"})
DELIMITERS: Final = ("::", "\t", "|", ";", ",")
SEPARATOR: Final = "\x1f"
"""Stands for `::` while Arrow reads, which splits at one character only."""
MISSING: Final = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "none"]


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


def table_suffix(path: Path) -> str:
    """The suffix that decides the format, without `.gz`.

    Raises:
        ArgumentError: If it is none that is read.

    Example:
        >>> table_suffix(Path("ratings.csv.gz"))
        '.csv'
    """
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    suffix = plain.suffix.lower()
    if suffix not in TEXT | LINES | PARQUET:
        raise ArgumentError(
            f"eckart cannot read a table from a {suffix or 'nameless'} file.",
            hint="Give .csv, .tsv, .dat, .data, .txt, .parquet or .jsonl, the text also as .gz.",
            code="unknown-suffix",
        )
    return suffix


def check_table(path: Path) -> None:
    """Refuse a path that is not there or whose suffix is unknown.

    Raises:
        ArgumentError: If so.
    """
    if not path.is_file():
        raise ArgumentError(
            f"There is no file {path}.", hint="Check the path.", code="no-such-file"
        )
    table_suffix(path)


def table_head(path: Path, known: frozenset[str]) -> TableHead:
    """Names of the columns, and how a text file is cut into them.

    Args:
        path: The table.
        known: Names that a header would hold, in lower case and without punctuation.

    Raises:
        ArgumentError: If the path is not there or its suffix is unknown.
        FormatError: If the file is damaged.
        MatrixError: If it is empty.
        StorageError: If the system refuses to read it.
    """
    check_table(path)
    with reading(path), arrow_reading(path):
        if table_suffix(path) in TEXT:
            return _text_head(path, known)
        names = tuple(_typed(path, None).schema.names)
        return TableHead(names=names, width=len(names))


def read_columns(path: Path, head: TableHead, wanted: Mapping[int, Kind]) -> Any:
    """Some columns of a table, named by their positions.

    Ids of a text file are text in dictionaries, so that `007` and numbers of any length are kept;
    those of a Parquet or JSON file have their own types.

    Args:
        path: The table.
        head: What `table_head` found.
        wanted: Positions of the columns and what each holds.

    Returns:
        An Arrow table.

    Raises:
        FormatError: If the file is damaged, or a row has another number of cells.
        MatrixError: If a cell of a column of numbers is none.
        StorageError: If the system refuses to read it.
    """
    with reading(path), arrow_reading(path):
        if table_suffix(path) in TEXT:
            return _text(path, head, wanted)
        names = head.names or ()
        chosen = [names[position] for position in wanted]
        table = _typed(path, chosen).select(chosen)
        return table.rename_columns([str(position) for position in wanted])


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write named columns to `.parquet`, `.csv`, `.tsv` or `.jsonl`, whole or not at all.

    Raises:
        StorageError: If the system refuses.
    """
    write_tables(path, [columns])


def write_tables(path: Path, blocks: Iterable[Mapping[str, Any]]) -> None:
    """Write blocks of rows with the same columns, one at a time, whole or not at all.

    Raises:
        StorageError: If the system refuses.
    """
    suffix = path.suffix.lower()
    tables = (pa.table(dict(block)) for block in blocks)
    with whole_file(path) as temporary:
        if suffix in (".jsonl", ".ndjson"):
            with temporary.open("w", encoding="utf-8") as file:
                for table in tables:
                    file.writelines(
                        json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()
                    )
            return
        first = next(tables)
        options = arrow_csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
        with (
            pq.ParquetWriter(temporary, first.schema)
            if suffix == ".parquet"
            else arrow_csv.CSVWriter(temporary, first.schema, write_options=options)
        ) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table.cast(first.schema))


def read_parquet(path: Path) -> Any:
    """The whole of a Parquet file that eckart wrote.

    Raises:
        FormatError: If it is damaged.
        StorageError: If the system refuses to read it.
    """
    with reading(path), arrow_reading(path), pq.ParquetFile(path) as file:
        return file.read()


def check_table_output(path: Path) -> None:
    """Refuse a path to which no table can be written.

    Raises:
        ArgumentError: If the suffix is unknown.
    """
    if path.suffix.lower() not in (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson"):
        raise ArgumentError(
            f"eckart cannot write a table to {path.name}.",
            hint="Give .parquet, .csv, .tsv or .jsonl.",
            code="unknown-suffix",
        )


def _typed(path: Path, columns: Sequence[str] | None) -> Any:
    """A Parquet or JSON lines file; of Parquet without columns only the schema."""
    if table_suffix(path) in PARQUET:
        with pq.ParquetFile(path) as file:
            if columns is None:
                return file.schema_arrow.empty_table()
            return file.read(columns=list(columns))
    with pa.input_stream(str(path), compression="detect") as stream:
        return arrow_json.read_json(stream)


def _text_head(path: Path, known: frozenset[str]) -> TableHead:
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


def _text(path: Path, head: TableHead, wanted: Mapping[int, Kind]) -> Any:
    keys = [str(position) for position in range(head.width)]
    types = {
        "id": pa.dictionary(pa.int32(), pa.string()),
        "number": pa.float64(),
        "text": pa.string(),
    }
    double = head.delimiter == "::"
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            source = (
                pa.BufferReader(stream.read().replace(b"::", SEPARATOR.encode()))
                if (double)
                else stream
            )
            return arrow_csv.read_csv(
                source,
                read_options=arrow_csv.ReadOptions(
                    column_names=keys,
                    skip_rows=int(head.names is not None),
                    encoding=head.encoding,
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=SEPARATOR if double else head.delimiter,
                    quote_char=False if double else '"',
                ),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=[str(position) for position in wanted],
                    column_types={
                        str(position): types[kind]
                        for position, kind in wanted.items()
                        if kind in types
                    },
                    null_values=MISSING,
                    strings_can_be_null=True,
                ),
            )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _located(path, head, wanted, error) from error


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
