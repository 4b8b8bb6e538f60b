"""JSON from unknown sources: documents of bounded size that name no key twice, and tables."""

import json
import os
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow_json

from eckart.errors import FormatError
from eckart.files.text.stream import Utf8
from eckart.files.whole import damaged, reading

LARGEST: Final = 100_000_000
"""Bytes of the largest document: the limit of the safetensors format for its header.

No index of a checkpoint comes near it.
"""


def parse_object(text: bytes, path: Path) -> dict[str, Any]:
    """Parse a text that is one JSON object.

    Args:
        text: The text in UTF-8.
        path: The file that the text comes from, for the message.

    Raises:
        FormatError: If the text is anything else, or names a key twice.

    Example:
        >>> parse_object(b'{"a": 1}', Path("x.json"))
        {'a': 1}
    """
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(document, dict):
        raise damaged(path, "it holds JSON, but no object")
    return document


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that is one JSON object.

    Raises:
        FormatError: If the file holds anything else, or names a key twice.
        StorageError: If the system refuses to read the file.
    """
    with reading(path), path.open("rb") as file:
        # one handle for the size and the text, so that both are of the same file
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise damaged(path, f"it has {size} bytes, more than {LARGEST}")
        return parse_object(file.read(size), path)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary of the pairs; two parsers may disagree on which of two equal keys counts."""
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ValueError(f"it names {name[:100]!r} twice")
        document[name] = value
    return document


BLOCK: Final = 2**20
"""Bytes that Arrow reads at once, at least; a line has to fit into one block."""
LARGE: Final = re.compile(rb":\s*-?\d{16,}\s*[,}]")
"""An integer of so many digits that float64 may round it: Arrow reads one beyond 64 bits as float.
"""
DEEPEST: Final = 100
"""Levels of nested lists and objects; Arrow's parser overflows the stack at some thousands."""
STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
"""A string of JSON, whose brackets do not count for the depth."""


def read_json(path: Path) -> Any:
    """Read a table of JSON lines, or of a list of objects, with the types of its values.

    Text stays text, even if it is a date.

    Raises:
        FormatError: If the file is damaged, or the values of a column have several types.
    """
    with Utf8(path) as source:
        text: bytes = source.read()
    lines = text.split(b"\n")
    # flat objects have one bracket per line, so most tables skip the check of the depth
    nested = text.count(b"{") + text.count(b"[") > len(lines) + DEEPEST
    if nested and max(map(_depth, lines)) > DEEPEST:
        raise damaged(path, f"more than {DEEPEST} lists and objects are within one another")
    # a list of objects, which Arrow does not read
    if text[:4096].lstrip().startswith(b"["):
        return _of_list(path, text)
    odd = (place for place, line in enumerate(lines) if line[:1] != b"{")
    wrong = next((one for one in odd if lines[one].lstrip()[:1] not in (b"", b"{")), None)
    if wrong is not None:  # a null in the first line makes Arrow's parser end the process
        raise damaged(path, f"line {wrong + 1} is no object")
    longest = max(map(len, lines))
    # Arrow takes the size of a block as a signed integer of 32 bits
    options = arrow_json.ReadOptions(block_size=min(max(BLOCK, longest + 2), 2**31 - 1))
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
    if line.count(b"{") + line.count(b"[") <= DEEPEST:
        return 0
    # brackets within strings do not nest
    marks = np.frombuffer(STRING.sub(b"", line), np.uint8)
    opened, closed = (np.isin(marks, list(kind)) for kind in (b"{[", b"}]"))
    return int(np.max(np.cumsum(opened.astype(np.int64) - closed), initial=0))


def _of_list(path: Path, text: bytes) -> Any:
    """The table of a JSON list of objects."""
    try:
        rows: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not all(isinstance(row, dict) for row in rows):
        raise damaged(path, "an entry of its list is no object")
    return _of_rows(path, rows)


def _of_rows(path: Path, rows: list[dict[str, Any]]) -> Any:
    """The table of some objects: one row per object, and one column per key."""
    columns: dict[str, Any] = {}
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


def _as_text(kind: Any) -> Any:
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
