"""Reading of files: errors of the system and damage as one sentence, and objects of JSON."""

import errno
import json
import os
import stat
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError, StorageError

T = TypeVar("T")
_SENTENCES: Final = {
    errno.ENOSPC: ("The disk is full", "Free some space or write elsewhere.", "disk-full"),
    errno.EDQUOT: ("The disk quota is used up", "Free some space or write elsewhere.", "disk-full"),
    errno.EACCES: ("There is no permission", "Check who owns it.", "no-permission"),
    errno.EPERM: ("There is no permission", "Check who owns it.", "no-permission"),
    errno.EROFS: ("The disk is read-only", "Write elsewhere.", "no-permission"),
    errno.EBUSY: (
        "It is mounted from elsewhere and cannot be replaced",
        "Give another place, such as a file in a folder that is mounted.",
        "cannot-write",
    ),
    errno.EXDEV: (
        "It belongs to the layer of an image and cannot be replaced",
        "Give another place.",
        "cannot-write",
    ),
}
ATTEMPTS: Final = 50
"""Attempts to read a folder that is replaced while it is read."""
LARGEST_DOCUMENT_BYTES: Final = 100_000_000
"""Bytes of the largest JSON object: the limit of the safetensors format for its header.

No index of a checkpoint comes near it.
"""
UNEXPECTED: Final = (ValueError, TypeError, LookupError, ArithmeticError, EOFError)
"""Errors that any library may raise for data that it did not expect."""
DEFLATE_RATIO: Final = 1032
"""The largest ratio of DEFLATE: a header that claims more than this of its file is false."""


@contextmanager
def reading(path: Path) -> Generator[None, None, None]:
    """Turn an error while `path` is read into one sentence, and refuse a file that changes.

    Raises:
        ArgumentError: If there is no such file, or it is a pipe or a device.
        FormatError: If the file was replaced or edited meanwhile; this goes before every other
            error, since what was found may be half old and half new.
        StorageError: If the system refuses to read the file.
        MatrixError: If the file does not fit into memory.
    """
    check = unchanged([path])
    try:
        with _errors_of_system(path):
            yield
    except Exception:
        check()
        raise
    check()


@contextmanager
def _errors_of_system(path: Path) -> Generator[None, None, None]:
    try:
        # a pipe would be waited for; a folder may be a set of files
        if path.exists() and not path.is_file() and not path.is_dir():
            raise _no_file(path)
        yield
    except EckartError:
        raise
    except UnicodeEncodeError as error:
        check_utf8(path, error)
        raise
    except FileNotFoundError as error:
        raise ArgumentError(
            f"There is no file {path}.", hint="Check the path.", code="no-such-file"
        ) from error
    except OSError as error:
        raise refused(error, path, "read") from error
    except MemoryError as error:
        raise MatrixError(
            f"{path} does not fit into memory.",
            hint="Save the matrix as .npy, which is mapped instead of read.",
            code="too-large",
        ) from error


@contextmanager
def unpacking(path: Path, *broken: type[Exception]) -> Generator[None, None, None]:
    """Turn the errors that a library raises while it unpacks a broken file into one sentence.

    Libraries raise OSError also for what they cannot unpack; only one of the system has a number.

    Raises:
        FormatError: If the file is damaged.
    """
    try:
        yield
    except EckartError:  # a StorageError is an OSError without a number too
        raise
    except broken as error:
        raise damaged(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise damaged(path, error) from error


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is replaced or edited: its inode, size and time of modification."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def unchanged(paths: Iterable[Path]) -> Callable[[], None]:
    """A function that raises an error if one of these files is another than now.

    A file that is read more than once would be half old and half new.

    Raises:
        FormatError: By the function, if a file was replaced, edited or removed.
    """
    stamps = {path: _stamp_at(path) for path in paths}

    def check() -> None:
        for path, before in stamps.items():
            if _stamp_at(path) != before:
                raise changed(path)

    return check


def changed(path: Path) -> FormatError:
    """The error for a file that was replaced or edited after it was opened."""
    return FormatError(
        f"{path} has changed since it was opened.",
        hint="Start again when it is written whole.",
        code="changed-file",
    )


def _stamp_at(path: Path) -> tuple[int, int, int] | None:
    """The stamp of a file; None for anything else, such as a folder, and where there is nothing."""
    with suppress(OSError, ValueError):
        status = path.stat()
        return stamp(status) if stat.S_ISREG(status.st_mode) else None
    return None


def check_regular(path: Path) -> None:
    """Refuse a path that is no file, or that can be read only once, such as a pipe."""
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder.", hint="Give a file.", code="not-a-file")
    if not stat.S_ISREG(path.stat().st_mode):
        raise _no_file(path)


def read_steadily(folder: Path, read: Callable[[], T]) -> T:
    """Read a folder so that the result is all from before or all from after a replacement of it.

    The function `read` is called again if the folder was replaced meanwhile.

    Raises:
        StorageError: If the folder is replaced at every attempt.
        Exception: What `read` raises for a folder that was not replaced meanwhile.
    """
    for _ in range(ATTEMPTS):
        before = _identity(folder)
        try:
            found = read()
        except Exception:  # a folder half old and half new may raise anything
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                # what was read may be half old and half new unless the folder is the same as before
                return found
    raise StorageError(
        f"{folder} is being replaced again and again.", hint="Try later.", code="always-replaced"
    )


def check_utf8(path: Path, error: UnicodeEncodeError | None = None) -> None:
    """Refuse a name of a file that is no UTF-8, which Arrow and safetensors need.

    Args:
        path: The file.
        error: The error of which the name may be the cause.
    """
    # names of files hold bytes that are no UTF-8 as lone surrogates, which "replace" changes
    if str(path.absolute()) == str(path.absolute()).encode("utf-8", "replace").decode("utf-8"):
        return
    raise StorageError(
        f"The name {str(path)!a} is no UTF-8, which Arrow and safetensors need.",
        hint="Rename it, or the folder that it is in.",
        code="name-not-utf8",
    ) from error


def damaged(path: Path, error: Exception | str) -> FormatError:
    """The error for a file whose content is not what its suffix promises."""
    # one line, whatever the library printed
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return FormatError(
        f"{path} is damaged or not a {path.suffix or 'factors'} file: {reason[:300]}.",
        hint="Check that it was copied or downloaded whole.",
        code="damaged-file",
    )


def refused(error: OSError, path: Path, verb: str) -> StorageError:
    """The error for a system call that failed, for example on a full disk."""
    sentence, hint, code = _SENTENCES.get(
        error.errno or 0, (error.strerror or str(error), "Check the path.", f"cannot-{verb}")
    )
    return StorageError(f"Cannot {verb} {path}: {sentence.lower()}.", hint=hint, code=code)


def _no_file(path: Path) -> ArgumentError:
    return ArgumentError(
        f"{path} is a pipe or a device, and what is read is read more than once.",
        hint="Save it to a file first.",
        code="not-a-file",
    )


def _identity(folder: Path) -> tuple[int, int] | None:
    """What distinguishes a folder from a later one in the same place; None if there is none.

    The inode number alone does not, since the system may use it again.
    """
    with suppress(OSError, ValueError):
        status = folder.stat()
        return status.st_ino, status.st_ctime_ns
    return None


def parse_object(text: bytes, path: Path) -> dict[str, Any]:
    """Parse a text in UTF-8 that is one JSON object, and comes from a file.

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
    """Read a file that is one JSON object, as `parse_object` parses it."""
    # one handle for the size and the text, so that both are of one file, whatever replaces it
    with _errors_of_system(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_DOCUMENT_BYTES:
            raise damaged(path, f"it has {size} bytes, more than {LARGEST_DOCUMENT_BYTES}")
        return parse_object(file.read(size), path)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary of the pairs; two parsers may disagree on which of two equal keys counts."""
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ValueError(f"it names {name[:100]!r} twice")
        document[name] = value
    return document


@contextmanager
def as_written(
    error: FormatError, *, but: tuple[type[Exception], ...] = ()
) -> Generator[None, None, None]:
    """Raise `error` for whatever an altered file makes the code raise, but for some classes."""
    try:
        yield
    except but:
        raise
    except (LookupError, AttributeError, TypeError, ValueError, ArithmeticError) as cause:
        raise error from cause
