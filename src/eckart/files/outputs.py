"""What may be written where: the one rule for every command and function that writes.

An output is never an input, nor above or inside one, whatever is forced. A file takes the place of
a file, and a folder that of a folder in which all was written by eckart.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from eckart.arguments import check_flag
from eckart.errors import ArgumentError

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


def check_output(
    path: Path,
    *,
    force: bool,
    inputs: Sequence[Path | None] = (),
    is_folder: bool = False,
    updates: Path | None = None,
) -> None:
    """Refuse an output that cannot or may not be written, before any work is done for it.

    Args:
        path: The output.
        force: Whether what is there may be replaced.
        inputs: All that is read, and the other outputs of the same run.
        is_folder: Whether the output is a folder.
        updates: An input whose later state the output may be, in its own place.

    Raises:
        ArgumentError: If it is, holds or lies in an input; if it exists and `force` is false; if
            what is there is no file, or no folder of eckart's; or if its folder does not exist.
    """
    target = located(path)
    in_place = updates is not None and is_same(target, located(updates))
    check_free(path, force=force)
    check_apart(path, (*inputs, *(() if in_place else (updates,))))
    if is_folder and not in_place and _is_around_us(target):
        raise ArgumentError(
            f"{path} is or holds the folder that you are in.",
            hint="Give another --output.",
            code="output-is-current-folder",
        )
    check_kind(path, is_folder=is_folder)


def check_free(path: Path, *, force: bool) -> None:
    """The part of the rule that `force` decides.

    Raises:
        ArgumentError: If the output exists and `force` is false, or its folder does not exist.
    """
    target, forced = located(path), check_flag("force", force)
    if not target.parent.is_dir():
        raise ArgumentError(
            f"The folder {target.parent} does not exist.",
            hint="Make it first.",
            code="no-such-folder",
        )
    if target.exists() and not forced:
        raise ArgumentError(
            f"{path} exists.",
            hint="Use --force to overwrite it, or another --output.",
            code="output-exists",
        )


def check_apart(path: Path, inputs: Sequence[Path | None]) -> None:
    """The part of the rule that holds whatever is forced.

    Raises:
        ArgumentError: If the path is, holds or lies in one of the inputs.
    """
    target = located(path)
    for source in inputs:
        for one in () if source is None else _sources(source):
            relation = _relation(target, located(one))
            if relation is not None:
                raise ArgumentError(
                    f"{path} {relation} {one}, which is read or written too.",
                    hint="Give another --output.",
                    code="output-is-input",
                )


def check_kind(path: Path, *, is_folder: bool) -> None:
    """The part of the rule that holds for what is there already.

    Raises:
        ArgumentError: If it is of another kind, or a folder with what eckart did not write.
    """
    target = located(path)
    if not target.exists():
        return
    if not target.is_file() and not target.is_dir():
        raise ArgumentError(
            f"{path} is a pipe or a device, and an output is put in its place whole.",
            hint="Name a file.",
            code="output-is-no-file",
        )
    if target.is_dir() != is_folder:
        kinds = ("folder", "file") if target.is_dir() else ("file", "folder")
        raise ArgumentError(
            f"{path} is a {kinds[0]}, and the output is a {kinds[1]}.",
            hint="Give another --output.",
            code="output-of-another-kind",
        )
    if target.is_mount():
        raise ArgumentError(
            f"{path} is where a disk is mounted, and an output is put in its place whole.",
            hint="Give a folder in it.",
            code="output-is-mount-point",
        )
    if target.is_dir():
        _check_own(path, target)


def located(path: Path) -> Path:
    """The place that a path leads to, its links followed: a link as output updates its target.

    Raises:
        ArgumentError: If the path leads nowhere: a circle of links, or a name too long.
    """
    try:
        target = path.resolve()
        if target.is_symlink():
            raise RuntimeError("a circle of links")
        target.exists()  # says nothing of a missing file, and raises where there can be none
    except (OSError, RuntimeError, ValueError) as error:
        raise unusable(path, error) from error
    return target


def is_there(path: Path) -> bool:
    """Whether a path leads to something, be it a stream such as /dev/stdin, which is at no place.

    Raises:
        ArgumentError: As `located`.
    """
    return located(path).exists() or path.exists()


def unusable(path: Path, error: Exception) -> ArgumentError:
    """The error for a path that the system takes for no name at all."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENAMETOOLONG:
        return ArgumentError(
            f"The name {path.name[:40]}… is too long for this disk.",
            hint="Give a shorter one.",
            code="name-too-long",
        )
    if number == errno.ELOOP or isinstance(error, RuntimeError):
        return ArgumentError(
            f"{path} is a link that leads in a circle.",
            hint="Check the path.",
            code="links-in-a-circle",
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return ArgumentError(
        f"{str(path)!r} is no path: {str(reason).lower()}.", hint="Check the path.", code="no-path"
    )


def beside(path: Path, name: str) -> Path:
    """A file of another name beside a path, also where that is `.`, `..` or `/`.

    Example:
        >>> beside(Path("data/W.csv"), "W.factors.npz").as_posix()
        'data/W.factors.npz'
    """
    return named_path(path).parent / name


def named_path(path: Path) -> Path:
    """The same path with a last name: `.` and `..` have none.

    Example:
        >>> named_path(Path(".")) == Path.cwd()
        True
    """
    return path if path.name not in ("", "..") else located(path)


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file or folder.

    By links, hard links, other letters where these are not told apart, or a second mount too.
    """
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _is_around_us(target: Path) -> bool:
    here = located(Path())
    return any(is_same(above, target) for above in (here, *here.parents))


def _check_own(path: Path, target: Path) -> None:
    others = strangers(target)
    if others:
        named = f"{others[0]} and {len(others) - 1} more" if others[1:] else others[0]
        raise ArgumentError(
            f"{path} holds {named}, which eckart did not write or which was changed since.",
            hint="Give another --output, or move it away.",
            code="output-holds-others",
        )


def _relation(target: Path, place: Path) -> str | None:
    """How an output lies to what is read, where the two are not apart."""
    if any(is_same(above, target) for above in (place, *place.parents)):
        return "is or holds"
    return "lies in" if any(is_same(above, place) for above in target.parents) else None


def _sources(source: Path) -> Iterator[Path]:
    """A path that is read, and what links at any depth of a folder lead to."""
    yield source
    for place, folders, files in os.walk(source):
        yield from (Path(place, name) for name in folders if Path(place, name).is_symlink())
        for name in files:
            path = Path(place, name)
            with suppress(OSError):
                if path.is_symlink() or path.lstat().st_nlink > 1:
                    yield path
