"""Files that are written whole or not at all, and errors of the system as one sentence."""

import errno
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError, StorageError
from eckart.files.exchanging import is_half_replaced, put_together, workplaces
from eckart.files.outputs import check_free, check_kind, located, mark

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


def check_regular(path: Path) -> None:
    """Refuse a path that is no file, or that can be read only once, such as a pipe.

    Raises:
        ArgumentError: If the path is a folder, a pipe or a device.
        OSError: If the path does not exist.
    """
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder.", hint="Give a file.", code="not-a-file")
    if not stat.S_ISREG(path.stat().st_mode):
        raise _no_file(path)


@contextmanager
def whole_file(path: Path, *, force: bool = True) -> Generator[Path, None, None]:
    """Give a free path to write a file or a folder to, and put the result in the place of `path`.

    Whatever goes wrong, `path` is either what it was before or the whole new content. Runs that
    write the same output take turns. A folder gets a marker that lists its files, by which a later
    run recognises that it may replace the folder.

    Args:
        path: The output; if it is a link, its target is updated.
        force: Whether an existing output may be replaced, as `check_output` allows.

    Raises:
        ArgumentError: In the cases of `check_output`, if something was created at `path` since.
        StorageError: If the system refuses, or another run keeps writing to `path`.
    """
    with whole_files((path,), force=force) as (temporary,):
        yield temporary


@contextmanager
def whole_files(
    paths: Sequence[Path], *, force: bool = True
) -> Generator[tuple[Path, ...], None, None]:
    """Give a free path for each of several files of one folder that belong together.

    When all are made, each is put in place as `whole_file` does it, the first one last. If a run is
    killed in between, the next run that writes or reads one of the files with eckart replaces the
    rest; until then other programs see old files beside new ones.

    Args:
        paths: The outputs; the first is the one that the others accompany.
        force: Whether existing outputs may be replaced, as `check_output` allows.

    Raises:
        ArgumentError: In the cases of `check_output`, if something was created at a path since.
        StorageError: If the system refuses, or another run keeps writing to one of them.
    """
    targets = [located(path) for path in paths]
    try:
        with workplaces(targets) as made:
            for path in paths:
                check_free(path, force=force)
            yield made
            for path, temporary in zip(paths, made, strict=True):
                if temporary.is_dir():
                    mark(temporary)
                # checked again: something may have appeared there while the output was made
                check_free(path, force=force)
                check_kind(path, is_folder=temporary.is_dir())
            put_together(made, targets)
    except UnicodeEncodeError as error:
        for path in paths:
            check_utf8(path, error)
        raise
    except OSError as error:
        if isinstance(error, EckartError):
            raise
        raise refused(error, paths[0], "write") from error


def settle(path: Path) -> None:
    """Put in place what a killed run had made together with this file.

    Raises:
        ArgumentError: If the path leads nowhere.
        StorageError: If the files cannot be put in place.

    Cost:
        One check for a file, which usually does not exist.
    """
    target = located(path)
    if not is_half_replaced(target):
        return
    try:
        with workplaces((target,)):  # entering one finishes the replacement
            pass
    except OSError as error:
        if isinstance(error, EckartError):
            raise
        raise StorageError(
            f"A run that was killed has replaced {path} or what belongs to it, but not both.",
            hint="Run it again, or read it where you may write: the rest is put in place then.",
            code="half-replaced",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8; lone surrogates, as names of files may hold, are written as escapes."""
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def read_steadily(folder: Path, read: Callable[[], T]) -> T:
    """Read a folder so that the result is all from before or all from after a replacement of it.

    Args:
        folder: The folder.
        read: Function that reads the folder; it is called again if the folder was replaced.

    Raises:
        StorageError: If the folder is replaced at every attempt.
        Exception: What `read` raises for a folder that was not replaced meanwhile.
    """
    for _ in range(ATTEMPTS):
        before = _identity(folder)
        try:
            found = read()
        except (EckartError, OSError):
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                # what was read may be half old and half new unless the folder is the same as before
                return found
    raise StorageError(
        f"{folder} is being replaced again and again.", hint="Try later.", code="always-replaced"
    )


@contextmanager
def reading(path: Path) -> Generator[None, None, None]:
    """Turn an error of the system while `path` is read into one sentence.

    Raises:
        ArgumentError: If there is no such file, or it is a pipe or a device, which may block or
            have no end.
        StorageError: If the system refuses to read the file.
        MatrixError: If the file does not fit into memory.
    """
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


def check_utf8(path: Path, error: UnicodeEncodeError) -> None:
    """Raise an error if it is the name of a file that cannot be encoded as UTF-8, as Arrow needs.

    Raises:
        StorageError: If the name of the file is the cause.
    """
    # names of files hold bytes that are no UTF-8 as lone surrogates, which "replace" changes
    if str(path.absolute()) == str(path.absolute()).encode("utf-8", "replace").decode("utf-8"):
        return
    raise StorageError(
        f"The name {str(path)!a} is no UTF-8, so that Arrow cannot open it.",
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
