"""The folder beside an output in which it is made, and the one step that puts it in its place."""

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from eckart.errors import StorageError

PATIENCE: Final = 60.0
"""Seconds that a run waits for another that writes the same output."""

LOCK: Final = "lock"
NEW: Final = "new"
OLD: Final = "old"
EXCHANGE: Final = 2
"""The flag of renameat2 that exchanges two paths."""

FROM_HERE: Final = -100
"""What stands for the current folder where a system call takes an open one."""


@contextmanager
def workplace(target: Path) -> Generator[Path, None, None]:
    """Give a free path of the name of an output to make it at; one run at a time has it.

    It is in a folder beside the output, which is taken away at the end. What a run that was killed
    left there is cleared by the next one of the same output.

    Raises:
        StorageError: If another run keeps it for longer than a minute.
        OSError: If the system refuses.
    """
    folder = _folder(target)
    lock = _locked(folder, target)
    try:
        _restore(folder, target)
        _clear(folder)
        (folder / NEW).mkdir()
        yield folder / NEW / target.name
    finally:
        with suppress(OSError):
            _clear(folder)
            # once it is unlocked another run may be in here, so that nothing but the folder goes
            (folder / LOCK).unlink()
            folder.rmdir()
        os.close(lock)


def put(made: Path, target: Path) -> None:
    """Put what was made in a workplace in its place: at every moment the old or the new is there.

    Raises:
        OSError: If the system refuses; the old is then where it was.
    """
    if not made.is_dir():
        made.replace(target)
    elif not target.exists():
        made.rename(target)
    elif not exchanged(made, target):
        old = _folder(target) / OLD / target.name
        old.parent.mkdir()
        target.rename(old)
        try:
            made.rename(target)
        except BaseException:
            old.rename(target)
            raise


def exchanged(one: Path, other: Path) -> bool:
    """Exchange two paths in one step, and say whether the system has a call for it.

    Raises:
        OSError: If it has, and refuses.
    """
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    status: int = call(FROM_HERE, os.fsencode(one), FROM_HERE, os.fsencode(other), EXCHANGE)
    number = ctypes.get_errno()
    if status and number not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(number, os.strerror(number))
    return not status


def _folder(target: Path) -> Path:
    """Named by a digest: with more than the name in it, it could be too long."""
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()
    return target.parent / f".eckart-{digest[:16]}"


def _locked(folder: Path, target: Path) -> int:
    """Make the folder of a workplace and lock the file in it."""
    until = time.monotonic() + PATIENCE
    while True:
        folder.mkdir(exist_ok=True)
        if folder.is_symlink():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        # the run that had it may take it away at any moment
        with suppress(FileNotFoundError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            if _is_taken(lock) and os.fstat(lock).st_ino == (folder / LOCK).stat().st_ino:
                return lock
            os.close(lock)
        if time.monotonic() > until:
            raise StorageError(
                f"Another run is writing {target}.",
                hint="Wait until it has ended, or give another --output.",
                code="output-busy",
            )
        time.sleep(0.02)


def _is_taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
    return True


def _restore(folder: Path, target: Path) -> None:
    """Put an output back that a run which was killed had moved aside."""
    old = folder / OLD / target.name
    if old.exists() and not target.exists():
        old.rename(target)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path)
