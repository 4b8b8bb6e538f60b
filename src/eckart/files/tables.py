"""Tables with named columns: interactions, pairs, titles."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow_json
import pyarrow.parquet as pq

from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.files.columns import arrow_reading, write_blocks
from eckart.files.outputs import check_output, is_there
from eckart.files.parquet import ParquetColumns
from eckart.files.reading import check_regular, damaged, reading
from eckart.files.records import ArrowColumn, ArrowTable, ArrowType
from eckart.files.text.stream import Utf8
from eckart.files.text.table import Kind, TableHead, text_blocks, text_columns, text_head
from eckart.files.writing import whole_file

TEXT: Final = frozenset({".csv", ".tsv", ".dat", ".data", ".txt", ".base", ".test", ".item"})
"""Suffixes of text; `.dat` and those after it are the ones of MovieLens."""
LINES: Final = frozenset({".jsonl", ".ndjson", ".json"})
"""Suffixes of JSON lines; a `.json` may hold a list of objects instead."""
PARQUET: Final = frozenset({".parquet"})
BATCH_ROWS: Final = 2**18
"""Rows of a Parquet file that are read at once."""
BUFFER_BYTES: Final = 2**20
"""Bytes of each column of a Parquet file that are read at once, however large its row groups."""
JSON_BLOCK_BYTES: Final = 2**20
"""Bytes that Arrow reads at once, at least; a line has to fit into one block."""
LARGE: Final = re.compile(rb":\s*-?\d{16,}\s*[,}]")
"""An integer of so many digits that float64 may round it: Arrow reads one beyond 64 bits as float.
"""
MOST_LEVELS: Final = 100
"""Levels of nested lists and objects; Arrow's parser overflows the stack at some thousands."""
STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
"""A string of JSON, whose brackets do not count for the depth."""


def table_suffix(path: Path) -> str:
    """The suffix that decides the format, without `.gz`.

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
    """Refuse a path that does not exist or whose suffix is unknown.

    Raises:
        ArgumentError: If the path does not exist, is no file, or has an unknown suffix.
    """
    if not is_there(path):
        raise ArgumentError(
            f"There is no file {path}.", hint="Check the path.", code="no-such-file"
        )
    check_regular(path)
    table_suffix(path)


def table_head(path: Path, known: frozenset[str]) -> TableHead:
    """Read the names of the columns of a table, and find the dialect of a text file.

    A header would hold some of the `known` names, which are in lower case, without punctuation.

    Raises:
        EckartError: If the table cannot be read, or has no columns.
    """
    check_table(path)
    with reading(path), arrow_reading(path):
        suffix = table_suffix(path)
        if suffix in TEXT:
            return text_head(path, known)
        if suffix in PARQUET:
            with ParquetColumns(path) as file:
                names = tuple(file.names)
        else:
            names = tuple(read_json(path).schema.names)
        if not names:
            raise MatrixError(
                f"{path} has no columns.", hint="Give a table of named columns.", code="empty"
            )
        return TableHead(names=names, width=len(names))


def read_columns(path: Path, head: TableHead, wanted: Mapping[int, Kind]) -> ArrowTable:
    """Read some columns of a table, named by their positions.

    Ids of a text file are text in dictionaries, so that `007` and numbers of any length are kept;
    those of a Parquet or JSON file have the types of the file.

    Args:
        path: The table.
        head: Head of the table, from `table_head`.
        wanted: Positions of the columns and the kind of each.
    """
    with reading(path), arrow_reading(path):
        if head.text is not None:
            return text_columns(head.text, wanted)
        if table_suffix(path) in PARQUET:
            with ParquetColumns(path) as file:
                table = file.read(list(wanted))
        else:
            table = read_json(path).select(list(wanted))
        return table.rename_columns([str(position) for position in wanted])


def column_blocks(path: Path, head: TableHead, wanted: Mapping[int, Kind]) -> Iterator[ArrowTable]:
    """Read columns as `read_columns` does, but yield one block of rows at a time.

    A file of JSON is one block. In a text file the type of a column of times is that of its block.

    Cost:
        Memory for one block: 2¹⁸ rows of Parquet, or 8 MB of text.
    """
    with reading(path), arrow_reading(path):
        if head.text is not None:
            yield from text_blocks(head.text, wanted)
        elif table_suffix(path) in PARQUET:
            keys = [str(position) for position in wanted]
            # without a buffer Arrow reads ahead and keeps that to the end: the whole file in memory
            with ParquetColumns(path, BUFFER_BYTES) as file:
                for batch in file.batches(BATCH_ROWS, list(wanted)):
                    yield pa.Table.from_batches([batch]).rename_columns(keys)
        else:
            # the file of JSON is read whole in any case, so it is one block
            yield read_columns(path, head, wanted)


def write_table(path: Path, columns: Mapping[str, ArrowColumn], *, force: bool = False) -> None:
    """Write named columns to `.parquet`, `.csv`, `.tsv` or `.jsonl`, whole or not at all."""
    write_tables(path, [columns], force=force)


def write_tables(
    path: Path, blocks: Iterable[Mapping[str, ArrowColumn]], *, force: bool = False
) -> None:
    """Write blocks of rows with the same columns, one at a time, whole or not at all."""
    suffix = path.suffix.lower()
    tables = (pa.table(dict(block)) for block in blocks)
    with whole_file(path, force=force) as temporary:
        if suffix in (".jsonl", ".ndjson"):
            with temporary.open("w", encoding="utf-8") as file:
                for table in tables:
                    file.writelines(_json_line(row) for row in table.to_pylist())
            return
        write_blocks(temporary, tables, suffix)


def _json_line(row: dict[str, object]) -> str:
    """One row as JSON, which has no NaN and no infinity: both become null."""
    known = {
        name: None if isinstance(cell, float) and not math.isfinite(cell) else cell
        for name, cell in row.items()
    }
    # titles are written as they are, and not as escapes
    return json.dumps(known, ensure_ascii=False, allow_nan=False) + "\n"


def read_parquet(path: Path) -> ArrowTable:
    """Read a whole Parquet file that eckart wrote."""
    with reading(path), arrow_reading(path), pq.ParquetFile(path) as file:
        return file.read()


def parquet_columns(path: Path) -> Iterator[tuple[str, ArrowColumn]]:
    """Yield the name and the values of each column of a Parquet file that eckart wrote.

    A column is read when it is its turn.
    """
    with reading(path), arrow_reading(path), pq.ParquetFile(path) as file:
        for name in file.schema_arrow.names:
            yield name, file.read(columns=[name]).column(0)


def check_table_output(path: Path, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse a path to which no table can be written, by its suffix or by `check_output`."""
    if path.suffix.lower() not in (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson"):
        raise ArgumentError(
            f"eckart cannot write a table to {path.name}.",
            hint="Give .parquet, .csv, .tsv or .jsonl.",
            code="unknown-suffix",
        )
    check_output(path, force=force, inputs=inputs)


def read_json(path: Path) -> ArrowTable:
    """Read a table of JSON lines, or of a list of objects, with the types of its values.

    Text stays text, even if it is a date.
    """
    with Utf8(path) as source:
        text: bytes = source.read()
    lines = text.split(b"\n")
    # flat objects have one bracket per line, so most tables skip the check of the depth
    nested = text.count(b"{") + text.count(b"[") > len(lines) + MOST_LEVELS
    if nested and max(map(_depth, lines)) > MOST_LEVELS:
        raise damaged(path, f"more than {MOST_LEVELS} lists and objects are within one another")
    # a list of objects, which Arrow does not read
    if text[:4096].lstrip().startswith(b"["):
        return _of_list(path, text)
    odd = (place for place, line in enumerate(lines) if line[:1] != b"{")
    wrong = next((one for one in odd if lines[one].lstrip()[:1] not in (b"", b"{")), None)
    if wrong is not None:  # a null in the first line makes Arrow's parser end the process
        raise damaged(path, f"line {wrong + 1} is no object")
    longest = max(map(len, lines))
    # Arrow takes the size of a block as a signed integer of 32 bits
    options = arrow_json.ReadOptions(block_size=min(max(JSON_BLOCK_BYTES, longest + 2), 2**31 - 1))
    try:
        table = arrow_json.read_json(pa.BufferReader(text), read_options=options)
        table.validate()  # lists of nulls alone come out shorter than their length says
        if any(map(pa.types.is_floating, table.schema.types)) and LARGE.search(text):
            # Python's parser keeps integers of any length
            return _of_rows(path, [json.loads(line) for line in lines if line.strip()])
        written = [(field.name, _as_text(field.type)) for field in table.schema]
        dates = [field for field, was in zip(written, table.schema.types, strict=True)
                 if field[1] != was]  # fmt: skip
        if not dates:
            return table
        return arrow_json.read_json(
            pa.BufferReader(text),
            read_options=options,
            parse_options=arrow_json.ParseOptions(explicit_schema=pa.schema(dates)),
        )
    except pa.ArrowInvalid as error:
        mixed = re.search(r"Column\(/([^)]*)\) changed from (\w+) to (\w+)", str(error))
        if mixed and mixed[1]:
            raise _mixed(path, mixed[1], f"{mixed[2]} and {mixed[3]}") from error
        raise damaged(path, error) from error


def _depth(line: bytes) -> int:
    """The depth of nested lists and objects in a line; 0 if it has too few brackets to matter."""
    if line.count(b"{") + line.count(b"[") <= MOST_LEVELS:
        return 0
    # brackets within strings do not nest
    marks = np.frombuffer(STRING.sub(b"", line), np.uint8)
    opened, closed = (np.isin(marks, list(kind)) for kind in (b"{[", b"}]"))
    return int(np.max(np.cumsum(opened.astype(np.int64) - closed), initial=0))


def _of_list(path: Path, text: bytes) -> ArrowTable:
    """The table of a JSON list of objects."""
    try:
        rows: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not all(isinstance(row, dict) for row in rows):
        raise damaged(path, "an entry of its list is no object")
    return _of_rows(path, rows)


def _of_rows(path: Path, rows: list[dict[str, object]]) -> ArrowTable:
    """The table of some objects: one row per object, and one column per key."""
    columns: dict[str, ArrowColumn] = {}
    # columns in the order in which their names first occur
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            # JSON may escape one half of a surrogate pair, which UTF-8 cannot hold
            name.encode()
            columns[name] = pa.array(values)
        except UnicodeEncodeError as error:
            raise damaged(path, "a text in it holds half of a character") from error
        except (pa.ArrowException, OverflowError) as error:
            kinds = sorted({type(one).__name__ for one in values if one is not None})
            if kinds == ["int"]:  # integers beyond 64 bits, such as ids, are kept as text
                columns[name] = pa.array([None if one is None else str(one) for one in values])
                continue
            raise _mixed(path, name, " and ".join(kinds)) from error
    return pa.table(columns)


def _as_text(kind: ArrowType) -> ArrowType:
    """The type with text in the place of timestamps, which Arrow makes of text that is a date."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_as_text(kind.value_type))
    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        return pa.struct([(field.name, _as_text(field.type)) for field in fields])
    return kind


def _mixed(path: Path, name: str, kinds: str) -> FormatError:
    return FormatError(
        f"The column '{name}' of {path} holds values of several types: {kinds}.",
        hint="Give all of them as text, or all as numbers.",
        code="mixed-types",
    )
