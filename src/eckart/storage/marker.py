"""The list of what eckart wrote to a folder, kept in that folder, and what is not on it."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

MARKER: Final = ".eckart.json"
"""Lists the files that eckart wrote to a folder, in that folder."""

PAGE: Final = 4096
PAGES: Final = 256
"""A file counts with all of its bytes up to so many pages, and with so many pages beyond."""

SIGNED: Final = {"written_by": "eckart"}
"""What documents say that tell a folder of eckart's from one that has the same names in it."""

UNFINISHED: Final = "settings.json"
"""The document of unfinished work, whose files come one by one."""

WORK: Final = re.compile(r"settings\.json|\d{5}\.(json|\w+\.safetensors)|adapter(/[^/]+)?")
"""Names of all the files of unfinished work."""

WORKPLACE: Final = re.compile(r"(.*/)?\.eckart-[0-9a-f]{16}(/.*)?")
"""What a killed run leaves, in which an output was made."""


def mark(folder: Path) -> None:
    """List all that lies in a folder, with its sizes and digests, in its marker.

    Cost:
        Up to 1 MiB read of each file.
    """
    files = sorted(path for path in _below(folder) if not (folder / path).is_dir())
    document = {**SIGNED, "files": {str(path): _identity(folder / path) for path in files}}
    (folder / MARKER).write_text(f"{json.dumps(document, indent=1)}\n", encoding="utf-8")


def strangers(folder: Path) -> list[str]:
    """What lies in a folder and was not written by eckart, or was changed since, by name.

    A file is known by its size and up to 256 pages of its bytes, in equal distances: what another
    program wrote is told from it; a change of a few bytes of a large file may be missed.

    Cost:
        Up to 1 MiB read of each file.
    """
    found = {str(path) for path in _below(folder)}
    listed = _listed(folder, found)
    folders = {str(above) for file in listed for above in Path(file).parents}
    return sorted(
        name
        for name in found
        if not WORKPLACE.fullmatch(name) and not _is_own(folder / name, name, listed, folders)
    )


def _is_own(path: Path, name: str, listed: Mapping[str, str | None], folders: set[str]) -> bool:
    """Whether a file is on the list, as it was written where that is known, or a folder of such."""
    if path.is_symlink():
        return False
    if path.is_dir():  # one of unfinished work may have been emptied by a killed run
        return name in folders or (name in listed and listed[name] is None)
    if not path.is_file() or name == MARKER or name not in listed:
        return name == MARKER and path.is_file()
    try:
        return listed[name] in (None, _identity(path))
    except OSError:  # what may not be read is not known
        return False


def _identity(path: Path) -> str | None:
    """The size of a file and the SHA-256 of its bytes or of chosen pages; None of what is none."""
    if not path.is_file():
        return None
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        if size <= PAGES * PAGE:
            digest.update(file.read())
        else:
            for number in range(PAGES):
                file.seek((size - PAGE) * number // (PAGES - 1))
                digest.update(file.read(PAGE))
    return f"{size}:{digest.hexdigest()}"


def _listed(folder: Path, found: set[str]) -> Mapping[str, str | None]:
    """The files that eckart wrote to a folder, with what they are known by.

    By its marker. Unfinished work has none, and its files are known by their names.
    """
    files = _document(folder / MARKER).get("files")
    if isinstance(files, dict):
        known = cast("dict[str, Any]", files)
        return {name: str(identity) for name, identity in known.items()}
    if _document(folder / UNFINISHED).items() >= SIGNED.items():
        return dict.fromkeys(name for name in found if WORK.fullmatch(name))
    return {}


def _document(path: Path) -> dict[str, Any]:
    """An object of JSON; an empty one where there is none that can be read."""
    try:
        is_file = path.is_file()  # a pipe of this name would be waited for
        found = json.loads(path.read_text(encoding="utf-8") if is_file else "")
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder, relative to it; links are not followed."""
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name).relative_to(folder) for name in (*folders, *files))
