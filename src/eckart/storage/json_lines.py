"""Tables as JSON: an object on each line, or a list of objects."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.json as arrow_json

from eckart.errors import FormatError
from eckart.storage.text.stream import Utf8
from eckart.storage.whole import damaged

BLOCK: Final = 2**20
"""Bytes that Arrow reads at once; a line is not longer than that."""
LARGE: Final = re.compile(rb":\s*-?\d{16,}\s*[,}]")
"""A whole number that a float may not hold, as which Arrow takes one beyond 64 bits."""


def read_json(path: Path) -> Any:
    """The table as it is, with the types that its values have; text stays text, also of a date.

    Raises:
        FormatError: If it is damaged, or the values of a column are of several types.
    """
    with Utf8(path) as source:
        text: bytes = source.read()
    if text[:4096].lstrip().startswith(b"["):
        return _of_list(path, text)
    longest = max(map(len, text.split(b"\n")))
    options = arrow_json.ReadOptions(block_size=min(max(BLOCK, longest + 2), 2**31 - 1))
    try:
        table = arrow_json.read_json(pa.BufferReader(text), read_options=options)
        if any(map(pa.types.is_floating, table.schema.types)) and LARGE.search(text):
            lines = text.decode().split("\n")
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


def _of_list(path: Path, text: bytes) -> Any:
    """The table of a list of objects."""
    try:
        rows: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not all(isinstance(row, dict) for row in rows):
        raise damaged(path, "an entry of its list is no object")
    return _of_rows(path, rows)


def _of_rows(path: Path, rows: list[dict[str, Any]]) -> Any:
    """The table of objects."""
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError) as error:
            kinds = sorted({type(one).__name__ for one in values if one is not None})
            if kinds == ["int"]:  # beyond 64 bits
                columns[name] = pa.array([None if one is None else str(one) for one in values])
                continue
            raise _mixed(path, name, " and ".join(kinds)) from error
    return pa.table(columns)


def _as_text(kind: Any) -> Any:
    """A type with text for moments, as which Arrow takes dates that are written."""
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
