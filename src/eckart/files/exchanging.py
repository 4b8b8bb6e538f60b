"""The folder beside an output in which it is made, and the step that puts it in its place."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

from eckart.errors import StorageError

PATIENCE: Final = 60.0
"""Seconds that a run waits for another that writes the same output."""

LOCK: Final = "lock"
NEW: Final = "new"
OLD: Final = "old"
TOGETHER: Final = "together"
"""Lists the names of outputs that belong together, from when all are made until all are placed."""

DRAFT: Final = "together.new"
NAME: Final = re.compile(r"(?!\.\.?$)[^/\0]+", re.DOTALL)
"""Of a file in the same folder."""

EXCHANGE: Final = 2
"""The flag of renameat2 that exchanges two paths."""

FROM_HERE: Final = -100
"""What stands for the current folder where a system call takes an open one."""


@contextmanager
def workplaces(targets: Sequence[Path]) -> Generator[tuple[Path, ...], None, None]:
    """Give a free path of the name of each output to make it at; one run at a time has them.

    Each is in a folder beside its output, which is taken away at the end. What a run that was
    killed left there is cleared by the next one of the same output; but what it had decided to put
    in place is put there first.

    Raises:
        StorageError: If another run keeps one of them for longer than a minute.
        OSError: If the system refuses.
    """
    while True:
        wanted = _bound(targets)
        with ExitStack() as locks:
            for target in sorted(wanted):  # in one order, so that no two runs wait for each other
                locks.enter_context(_locked(target))
            if not _bound(targets) <= wanted:
                continue  # a run that was killed meanwhile had decided on more
            try:
                for target in wanted:
                    _settle(target)
                    _clear(_folder(target))
                for target in targets:
                    (_folder(target) / NEW).mkdir()
                yield tuple(_folder(target) / NEW / target.name for target in targets)
            finally:
                for target in wanted:
                    _settle(target)  # of what was interrupted while it was put in place
            return


def is_half_replaced(target: Path) -> bool:
    """Whether a run is putting this output and others in their places, or was killed while it was.

    Cost:
        One look for a file that is not there, as a rule.
    """
    return bool(_decided(target))


def put_together(made: Sequence[Path], targets: Sequence[Path]) -> None:
    """Put what was made in workplaces in its place, the first last.

    A run that is killed in between has left word of all of them, so that the next one of any of
    them puts the rest in place. That needs them in one folder; links may lead to several.

    Raises:
        OSError: If the system refuses; of several outputs the next run tries again.
    """
    if len(targets) > 1 and len({target.parent for target in targets}) == 1:
        _decide(targets)
        _settle(targets[0])
        return
    for one, target in reversed(list(zip(made, targets, strict=True))):
        put(one, target)


def put(made: Path, target: Path) -> None:
    """Put what was made in a workplace in its place: at every moment the old or the new is there.

    Who may read the old may read the new, and nobody else.

    Raises:
        OSError: If the system refuses; the old is then where it was.
    """
    if target.exists():
        shutil.copymode(target, made)
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


@contextmanager
def _locked(target: Path) -> Generator[None, None, None]:
    """Have the folder of a workplace to oneself, and take it away at the end.

    It stays where outputs are still to be put in their places, for the next run to do it.
    """
    folder = _folder(target)
    lock = _lock(folder, target)
    try:
        yield
    finally:
        if not _decided(target):
            with suppress(OSError):
                _clear(folder)
                # once unlocked another run may be in here, so that nothing but the folder goes
                (folder / LOCK).unlink()
                folder.rmdir()
        os.close(lock)


def _lock(folder: Path, target: Path) -> int:
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


def _bound(targets: Sequence[Path]) -> set[Path]:
    """Some outputs, and those that a run had decided to put in place together with them."""
    return {one for target in targets for one in (target, *_decided(target))}


def _decide(targets: Sequence[Path]) -> None:
    """Leave word of outputs that belong together; what is said of the first decides."""
    text = json.dumps([target.name for target in targets])
    for target in reversed(targets):
        draft = _folder(target) / DRAFT
        draft.write_text(text, encoding="utf-8")
        draft.replace(_folder(target) / TOGETHER)


def _decided(target: Path) -> tuple[Path, ...]:
    """The outputs that a run had decided to put in place together with this one, and has not yet.

    Only names are taken from the file, so that nothing is ever put into another folder.
    """
    names = _names(target)
    if target.name in names and _names(target.with_name(names[0])) == names:
        return tuple(target.with_name(name) for name in names)
    return ()


def _names(target: Path) -> list[str]:
    path = _folder(target) / TOGETHER
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    except (OSError, ValueError):
        return []
    names = cast("list[Any]", found) if isinstance(found, list) else []
    return names if all(isinstance(name, str) and NAME.fullmatch(name) for name in names) else []


def _settle(target: Path) -> None:
    """Put in place what was decided, or put an output back that was moved aside."""
    together = _decided(target)
    for one in reversed(together):
        made = _folder(one) / NEW / one.name
        if _is_ours(made) and made.is_file():
            put(made, one)
    if together:
        (_folder(together[0]) / TOGETHER).unlink()
    old = _folder(target) / OLD / target.name
    if _is_ours(old) and old.exists() and not target.exists():
        old.rename(target)


def _is_ours(path: Path) -> bool:
    """Whether a path lies in a workplace: no link leads out of it to what is somebody else's."""
    return not path.is_symlink() and not path.parent.is_symlink()


def _clear(folder: Path) -> None:
    for name in (NEW, OLD):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for name in (DRAFT, TOGETHER):
        (folder / name).unlink(missing_ok=True)
