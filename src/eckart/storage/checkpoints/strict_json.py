"""JSON documents that someone else wrote: of bounded size, and never read two ways."""

import json
import os
from pathlib import Path
from typing import Any, Final

from eckart.storage.whole import damaged, reading

LARGEST: Final = 100_000_000
"""Bytes of the largest header that the safetensors format allows; no index is near it."""


def parse_object(text: bytes, path: Path) -> dict[str, Any]:
    """The JSON object that a text is.

    Args:
        text: UTF-8.
        path: The file it is from, for the message.

    Raises:
        FormatError: If it is anything else, or names a key twice.

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
    """The JSON object that a file is.

    Raises:
        FormatError: If it is anything else, or names a key twice.
        StorageError: If the system refuses to read it.
    """
    with reading(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise damaged(path, f"it has {size} bytes, more than {LARGEST}")
        return parse_object(file.read(size), path)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ValueError(f"it names {name[:100]!r} twice")
        document[name] = value
    return document
