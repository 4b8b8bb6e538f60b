"""The one rule for outputs of every command and function: what may be written where.

An output is never an input, nor above or inside one, even if overwriting is forced. A file may only
replace a file, and a folder only a folder in which eckart wrote everything.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from eckart.arguments import check_flag
from eckart.errors import ArgumentError

MARKER: Final = ".eckart.json"
"""The file in a folder that lists what eckart wrote to that folder."""
PAGE: Final = 4096
PAGES: Final = 256
"""Bytes of a page, and the pages that identify a file: of a larger file only so many are read."""
SIGNED: Final = {"written_by": "eckart"}
"""The entry of a document that tells a folder of eckart from one with the same names in it."""
UNFINISHED: Final = "settings.json"
"""The document of a resumable run, whose files are written one by one, so that it has no marker."""
WORK: Final = re.compile(r"settings\.json|\d{5}\.(json|\w+\.safetensors)|adapter(/[^/]+)?")
"""Names of all files of a resumable run."""
WORKPLACE: Final = re.compile(r"(.*/)?\.eckart-[0-9a-f]{16}(/.*)?")
"""Names of the workplaces that a killed run leaves behind, and of what is in them."""


def mark(folder: Path) -> None:
    """Write the marker of a folder: a list of all its files with their sizes and digests.

    Cost:
        Reads up to 1 MiB of each file.
    """
    files = sorted(path for path in _below(folder) if not (folder / path).is_dir())
    document = {**SIGNED, "files": {str(path): _identity(folder / path) for path in files}}
    (folder / MARKER).write_text(f"{json.dumps(document, indent=1)}\n", encoding="utf-8")


def strangers(folder: Path) -> list[str]:
    """Names of what lies in a folder and was not written by eckart, or was changed since.

    A file is recognised by its size and by up to 256 pages of its bytes at equal distances. This
    detects what another program wrote; it may miss a change of a few bytes of a large file.

    Cost:
        Reads up to 1 MiB of each file.
    """
    found = {str(path) for path in _below(folder)}
    listed = _listed(folder, found)
    folders = {str(above) for file in listed for above in Path(file).parents}
    return sorted(
        name
        for name in found
        # what a killed run left in a workplace is cleared by the next run, and is nobody's
        if not WORKPLACE.fullmatch(name) and not _is_own(folder / name, name, listed, folders)
    )


def _is_own(path: Path, name: str, listed: Mapping[str, str | None], folders: set[str]) -> bool:
    """Whether a file is listed and unchanged as far as is known, or a folder holds listed files."""
    if path.is_symlink():
        return False
    if path.is_dir():  # a killed run may have left an empty folder of a resumable run
        return name in folders or (name in listed and listed[name] is None)
    if not path.is_file() or name == MARKER or name not in listed:
        return name == MARKER and path.is_file()
    try:
        return listed[name] in (None, _identity(path))
    except OSError:  # a file without permission to read cannot be recognised
        return False


def _identity(path: Path) -> str | None:
    """The size of a file and the SHA-256 of its bytes or chosen pages; None if it is no file."""
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size <= PAGES * PAGE:
        return fingerprint(path, [(0, size)])
    # the first page begins at 0 and the last one ends with the file
    starts = [(size - PAGE) * number // (PAGES - 1) for number in range(PAGES)]
    return fingerprint(path, [(start, start + PAGE) for start in starts])


def fingerprint(path: Path, samples: Iterable[tuple[int, int]]) -> str:
    """The size of a file and the SHA-256 of chosen ranges of its bytes, as `SIZE:DIGEST`."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for start, stop in samples:
            file.seek(start)
            digest.update(file.read(stop - start))
    return f"{path.stat().st_size}:{digest.hexdigest()}"


def _listed(folder: Path, found: set[str]) -> Mapping[str, str | None]:
    """The files that eckart wrote to a folder, each with its identity.

    They are those of the marker. The folder of a resumable run has no marker, so its files are
    recognised by their names and have the identity None.
    """
    files: Any = _document(folder / MARKER).get("files")
    if isinstance(files, dict):
        return {name: str(identity) for name, identity in files.items()}
    if _document(folder / UNFINISHED).items() >= SIGNED.items():
        return dict.fromkeys(name for name in found if WORK.fullmatch(name))
    return {}


def _document(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if none can be read."""
    try:
        is_file = path.is_file()  # reading a pipe of this name would wait for ever
        found = json.loads(path.read_text(encoding="utf-8") if is_file else "")
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _below(folder: Path) -> Iterator[Path]:
    """Yield the paths of all that lies in a folder, relative to it; links are not followed."""
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
        force: Whether an existing output may be replaced.
        inputs: All paths that are read, and the other outputs of the same run.
        is_folder: Whether the output is a folder.
        updates: An input that the output may replace with its own later state.

    Raises:
        ArgumentError: If the output is, holds or lies in an input; if it exists and `force` is
            false; if what exists is no file, or no folder of eckart; or if the folder that it
            belongs in does not exist.
    """
    target = located(path)
    in_place = updates is not None and is_same(target, located(updates))
    check_free(path, force=force)
    check_apart(path, (*inputs, *(() if in_place else (updates,))))
    here = located(Path())
    around = any(is_same(above, target) for above in (here, *here.parents))
    if is_folder and not in_place and around:
        raise ArgumentError(
            f"{path} is or holds the folder that you are in.",
            hint="Give another `output`.",
            code="output-is-current-folder",
        )
    check_kind(path, is_folder=is_folder)


def check_free(path: Path, *, force: bool) -> None:
    """Apply the part of the rule that `force` decides."""
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
            hint="Use `force=True` to overwrite it, or another `output`.",
            code="output-exists",
        )


def check_apart(path: Path, inputs: Sequence[Path | None]) -> None:
    """Apply the part of the rule that holds even if `force` is true: outputs are no inputs.

    Raises:
        ArgumentError: If the path is, holds or lies in one of the inputs.
    """
    target = located(path)
    for source in inputs:
        for one in () if source is None else _sources(source):
            place, relation = located(one), ""
            if any(is_same(above, target) for above in (place, *place.parents)):
                relation = "is or holds"
            elif any(is_same(above, place) for above in target.parents):
                relation = "lies in"
            if relation:
                raise ArgumentError(
                    f"{path} {relation} {one}, which is read or written too.",
                    hint="Give another `output`.",
                    code="output-is-input",
                )


def check_kind(path: Path, *, is_folder: bool) -> None:
    """Apply the part of the rule that concerns what exists already at the path.

    Raises:
        ArgumentError: If it is of another kind, or a folder with files that eckart did not write.
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
            hint="Give another `output`.",
            code="output-of-another-kind",
        )
    # a rename cannot replace a mount point
    if target.is_mount():
        raise ArgumentError(
            f"{path} is where a disk is mounted, and an output is put in its place whole.",
            hint="Give a folder in it.",
            code="output-is-mount-point",
        )
    others = strangers(target) if target.is_dir() else []
    if others:
        named = f"{others[0]} and {len(others) - 1} more" if others[1:] else others[0]
        raise ArgumentError(
            f"{path} holds {named}, which eckart did not write or which was changed since.",
            hint="Give another `output`, or move it away.",
            code="output-holds-others",
        )


def located(path: Path) -> Path:
    """The place that a path leads to; links are followed, so that an output updates their target.

    Raises:
        ArgumentError: If the path leads nowhere: a circle of links, or a name too long.
    """
    try:
        target = path.resolve()
        # where resolve() stops within a circle of links, the result is still a link
        if target.is_symlink():
            raise RuntimeError("a circle of links")
        target.exists()  # says nothing of a missing file, and raises where there can be none
    except (OSError, RuntimeError, ValueError) as error:
        raise unusable(path, error) from error
    return target


def is_there(path: Path) -> bool:
    """Whether a path leads to something, which includes a stream such as /dev/stdin."""
    # the resolved name of a stream, such as pipe:[123], is no path that exists
    return located(path).exists() or path.exists()


def unusable(path: Path, error: Exception) -> ArgumentError:
    """The error for a path that the system does not accept as a name."""
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
    """A path with another last name in the same folder; works for `.`, `..` and `/` too.

    Example:
        >>> beside(Path("data/W.csv"), "W.factors.npz").as_posix()
        'data/W.factors.npz'
    """
    return named_path(path).parent / name


def named_path(path: Path) -> Path:
    """A path with a last name that leads to the same place: `.` and `..` have none.

    Example:
        >>> named_path(Path(".")) == Path.cwd()
        True
    """
    return path if path.name not in ("", "..") else located(path)


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file or folder.

    They may do so through links, hard links, a second mount, or upper and lower case on a disk that
    ignores it.
    """
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _sources(source: Path) -> Iterator[Path]:
    """Yield a path that is read, and the links and hard links at any depth of a folder."""
    yield source
    for place, folders, files in os.walk(source):
        yield from (Path(place, name) for name in folders if Path(place, name).is_symlink())
        for name in files:
            path = Path(place, name)
            with suppress(OSError):
                if path.is_symlink() or path.lstat().st_nlink > 1:
                    yield path
