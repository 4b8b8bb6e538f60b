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


def read_json(path: Path) -> Any:
    """The table as it is, with the types that its values have.

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
        return arrow_json.read_json(pa.BufferReader(text), read_options=options)
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
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError) as error:
            kinds = sorted({type(one).__name__ for one in values if one is not None})
            raise _mixed(path, name, " and ".join(kinds)) from error
    return pa.table(columns)


def _mixed(path: Path, name: str, kinds: str) -> FormatError:
    return FormatError(
        f"The column '{name}' of {path} holds values of several types: {kinds}.",
        hint="Give all of them as text, or all as numbers.",
        code="mixed-types",
    )
