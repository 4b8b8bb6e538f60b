"""Outputs that are written whole or not at all, in a workplace beside them.

A workplace is a folder beside an output in which the output is made; one step then replaces the
old output.
"""

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
from typing import Final

from eckart.errors import EckartError, StorageError
from eckart.files.outputs import check_free, check_kind, located, mark
from eckart.files.reading import check_utf8, refused

PATIENCE_SECONDS: Final = 60.0
"""Seconds that a run waits for another run that writes the same output."""
LOCK: Final = "lock"
NEW: Final = "new"
OLD: Final = "old"
TOGETHER: Final = "together"
"""A file that lists outputs which belong together; it exists from when all are made until all are
in place.
"""
DRAFT: Final = "together.new"
"""The list while it is written; it is renamed when it is complete, so that no run reads half."""
NAME: Final = re.compile(r"(?!\.\.?$)[^/\0]+", re.DOTALL)
"""The name of a file in the same folder, and no path to another one."""
EXCHANGE: Final = 2
"""The flag RENAME_EXCHANGE of renameat2."""
FROM_HERE: Final = -100
"""The constant AT_FDCWD, which stands for the current folder in a system call."""


@contextmanager
def whole_file(path: Path, *, force: bool = True) -> Generator[Path, None, None]:
    """Give a free path to write a file or a folder to, and put the result in the place of `path`.

    Whatever goes wrong, `path` is either what it was before or the whole new content. Runs that
    write the same output take turns. A folder gets a marker that lists its files, by which a later
    run recognises that it may replace the folder. If `path` is a link, its target is updated. The
    errors are those of `whole_files`.
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
    if not _decided(target):
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


@contextmanager
def workplaces(targets: Sequence[Path]) -> Generator[tuple[Path, ...], None, None]:
    """Give for each output a free path of the same name to make it at, to one run at a time.

    Each path is in a folder beside its output, which is removed at the end. If a run was killed,
    the next run of the same output first puts in place what the killed run had decided to put
    there, and then clears the rest.
    """
    while True:
        wanted = _bound(targets)
        with ExitStack() as locks:
            for target in sorted(wanted):  # all runs lock in one order, so none form a deadlock
                locks.enter_context(_locked(target))
            if not _bound(targets) <= wanted:
                continue  # a run that was killed meanwhile had decided on more
            try:
                for target in wanted:
                    _finish(target)
                    _clear(_folder(target))
                for target in targets:
                    (_folder(target) / NEW).mkdir()
                yield tuple(_folder(target) / NEW / target.name for target in targets)
            finally:
                for target in wanted:
                    _finish(target)  # finishes a replacement that was interrupted
            return


def put_together(made: Sequence[Path], targets: Sequence[Path]) -> None:
    """Put what was made in workplaces in its place; the first output is put there last.

    The names of all outputs are written down first, so that if a run is killed in between, the
    next run of any of them puts the rest in place. This needs all outputs in one folder; outputs
    whose links lead to several folders are replaced one by one.
    """
    if len(targets) > 1 and len({target.parent for target in targets}) == 1:
        _decide(targets)
        _finish(targets[0])
        return
    for one, target in reversed(list(zip(made, targets, strict=True))):
        put(one, target)


def put(made: Path, target: Path) -> None:
    """Put what was made in a workplace in its place; at every moment the old or the new is there.

    The new output gets the permissions of the old one.
    """
    if target.exists():
        shutil.copymode(target, made)
    if not made.is_dir():  # a rename replaces a file in one step, but no folder that holds files
        made.replace(target)
    elif not target.exists():
        made.rename(target)
    elif not exchange(made, target):
        # without the call the target is missing between two renames; `_finish` repairs that
        old = _folder(target) / OLD / target.name
        old.parent.mkdir()
        target.rename(old)
        try:
            made.rename(target)
        except BaseException:
            old.rename(target)
            raise


def exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step, and return whether the system has a call for it."""
    # imported here, because only the replacement of a folder needs it
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    status: int = call(FROM_HERE, os.fsencode(one), FROM_HERE, os.fsencode(other), EXCHANGE)
    number = ctypes.get_errno()
    # the system or the file system lacks the call, and the caller renames instead
    if status and number not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(number, os.strerror(number))
    return not status


def _folder(target: Path) -> Path:
    """The folder of the workplace of an output."""
    # named by a digest, because a name that contains the name of the output could be too long
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()
    return target.parent / f".eckart-{digest[:16]}"


@contextmanager
def _locked(target: Path) -> Generator[None, None, None]:
    """Hold the folder of a workplace exclusively, and remove it at the end.

    The folder stays if outputs still have to be put in place, which the next run then does.
    """
    folder = _folder(target)
    lock = _lock(folder, target)
    try:
        yield
    finally:
        if not _decided(target):
            with suppress(OSError):
                _clear(folder)
                # without the lock file another run may enter, so only an empty folder is removed
                (folder / LOCK).unlink()
                folder.rmdir()
        os.close(lock)


def _lock(folder: Path, target: Path) -> int:
    """Make the folder of a workplace and lock the file in it."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        folder.mkdir(exist_ok=True)
        # a link of this name would lead the output to a place that somebody else chose
        if folder.is_symlink():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        # the run that holds the folder may remove it at any moment
        with suppress(FileNotFoundError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            # the inode tells whether the file that was locked is still the one at this path
            if _is_taken(lock) and os.fstat(lock).st_ino == (folder / LOCK).stat().st_ino:
                return lock
            os.close(lock)
        if time.monotonic() > until:
            raise StorageError(
                f"Another run is writing {target}.",
                hint="Wait until it has ended, or give another `output`.",
                code="output-busy",
            )
        time.sleep(0.02)


def _is_taken(lock: int) -> bool:
    """Take a lock, and return whether this run has it; a disk without locks counts as taken."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # disks without locks are written without turns
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
    return True


def _bound(targets: Sequence[Path]) -> set[Path]:
    """Some outputs, and those that an earlier run had decided to put in place with them."""
    return {one for target in targets for one in (target, *_decided(target))}


def _decide(targets: Sequence[Path]) -> None:
    """Write the names of outputs that belong together into each workplace, the first one last.

    The list in the workplace of the first output decides, since it is written when all others are.
    """
    text = json.dumps([target.name for target in targets])
    for target in reversed(targets):
        draft = _folder(target) / DRAFT
        draft.write_text(text, encoding="utf-8")
        draft.replace(_folder(target) / TOGETHER)


def _decided(target: Path) -> tuple[Path, ...]:
    """The outputs that a run has decided, but not finished, to put in place with this one.

    Only names are read from the file, so that nothing is ever put into another folder.
    """
    names = _names(target)
    # the list counts only if the workplace of its first output holds the same one
    if target.name in names and _names(target.with_name(names[0])) == names:
        return tuple(target.with_name(name) for name in names)
    return ()


def _names(target: Path) -> list[str]:
    """The names in the list of a workplace; empty if there is no list, or a damaged one."""
    path = _folder(target) / TOGETHER
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    except (OSError, ValueError):
        return []
    if not isinstance(found, list):
        return []
    names = [name for name in found if isinstance(name, str) and NAME.fullmatch(name)]
    return names if len(names) == len(found) else []


def _finish(target: Path) -> None:
    """Put in place what was decided, and restore an output that was moved aside."""
    together = _decided(target)
    for one in reversed(together):
        made = _folder(one) / NEW / one.name
        if _is_ours(made) and (made.is_file() or made.is_dir()):
            put(made, one)
    if together:
        # the list is removed last, so that a kill before that leaves the rest to the next run
        (_folder(together[0]) / TOGETHER).unlink()
    old = _folder(target) / OLD / target.name
    # the old output was moved aside by a run that was killed before it moved the new one
    if _is_ours(old) and old.exists() and not target.exists():
        old.rename(target)


def _is_ours(path: Path) -> bool:
    """Whether a path really lies in a workplace, and no link leads to files of somebody else."""
    return not path.is_symlink() and not path.parent.is_symlink()


def _clear(folder: Path) -> None:
    """Remove everything from a workplace but its lock."""
    # the lock stays: another run may hold it
    for name in (NEW, OLD):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for name in (DRAFT, TOGETHER):
        (folder / name).unlink(missing_ok=True)
