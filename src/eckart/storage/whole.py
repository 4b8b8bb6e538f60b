"""Files that are written whole or not at all, and what the system says when it refuses."""

import errno
import os
import shutil
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError, StorageError

_SENTENCES: Final = {
    errno.ENOSPC: ("The disk is full", "Free some space or write elsewhere.", "disk-full"),
    errno.EDQUOT: ("The disk quota is used up", "Free some space or write elsewhere.", "disk-full"),
    errno.EACCES: ("There is no permission", "Check who owns it.", "no-permission"),
    errno.EPERM: ("There is no permission", "Check who owns it.", "no-permission"),
    errno.EROFS: ("The disk is read-only", "Write elsewhere.", "no-permission"),
}


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output that cannot be written, before any work is done for it.

    Raises:
        ArgumentError: If `path` exists and `force` is false, or its folder does not exist.
    """
    if path.exists() and not force:
        raise ArgumentError(
            f"{path} exists.",
            hint="Use --force to overwrite it, or another --output.",
            code="output-exists",
        )
    if not path.resolve().parent.is_dir():
        raise ArgumentError(
            f"The folder {path.resolve().parent} does not exist.",
            hint="Make it first.",
            code="no-such-folder",
        )


def check_apart(target: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output that would take the place of an input, whatever is forced.

    Raises:
        ArgumentError: If it is one of them or a folder above one.
    """
    own = target.resolve()
    for path in inputs:
        if own == path.resolve() or own in path.resolve().parents:
            raise ArgumentError(
                f"{target} is or holds {path}, which is read.",
                hint="Give another --output.",
                code="output-is-input",
            )


def check_regular(path: Path) -> None:
    """Refuse what is no file, or can be read once only, such as a pipe.

    Raises:
        ArgumentError: If so.
        OSError: If it is not there.
    """
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder.", hint="Give a file.", code="not-a-file")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ArgumentError(
            f"{path} is a pipe or a device, and a table is read more than once.",
            hint="Save it to a file first.",
            code="not-a-file",
        )


@contextmanager
def whole_file(path: Path) -> Generator[Path, None, None]:
    """Give a temporary name beside `path` to write a file or a folder to; rename it at the end.

    Whatever goes wrong, `path` is either what it was before or the whole of the new content.

    Raises:
        StorageError: If the system refuses.
    """
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield temporary
        _replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        if isinstance(error, EckartError):
            raise
        raise refused(error, path, "write") from error
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def reading(path: Path) -> Generator[None, None, None]:
    """Turn what the system says while `path` is read into one sentence.

    Raises:
        ArgumentError: If there is no such file.
        StorageError: If the system refuses to read it.
        MatrixError: If it does not fit into memory.
    """
    try:
        yield
    except EckartError:
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


def damaged(path: Path, error: Exception | str) -> FormatError:
    """The error for a file whose content is not what its suffix promises."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return FormatError(
        f"{path} is damaged or not a {path.suffix or 'factors'} file: {reason[:300]}.",
        hint="Check that it was copied or downloaded whole.",
        code="damaged-file",
    )


def refused(error: OSError, path: Path, verb: str) -> StorageError:
    """The error for a system call that failed: disk full, no permission."""
    sentence, hint, code = _SENTENCES.get(
        error.errno or 0, (error.strerror or str(error), "Check the path.", f"cannot-{verb}")
    )
    return StorageError(f"Cannot {verb} {path}: {sentence.lower()}.", hint=hint, code=code)


def _replace(temporary: Path, path: Path) -> None:
    if temporary.is_dir() and path.exists():
        old = path.with_name(f".replaced-{os.getpid()}-{path.name}")
        path.rename(old)
        temporary.rename(path)
        _remove(old)
    else:
        temporary.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
