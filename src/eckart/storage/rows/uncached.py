"""A file read past the system's cache, straight into pages of ours."""

import os
import random
from io import FileIO
from pathlib import Path
from typing import Any, Final, final

from eckart.arrays import PAGE, Array

PIECE: Final = 2**23
"""Bytes that are read at once; more is no faster."""
ASKED: Final = 3


@final
class UncachedFile:
    """Bytes of a file, from its cache where the system has them in it, else from the disk itself.

    Of a file larger than memory the cache keeps nothing until the next pass, but takes the memory
    of others, and as much time of the cores for its pages as a matrix product with them does.

    A place in the file is read straight into memory where both begin at the same byte of a page;
    what is before the first whole page and after the last goes through the cache, and so does all
    where the system or the disk refuses.

    Args:
        path: Of the file.
        cached: Whether the file is small enough to be left in the cache.
    """

    def __init__(self, path: Path, *, cached: bool) -> None:
        self._file = path.open("rb", buffering=0)
        self._straight = None if cached else _opened_straight(path)
        self._advise()

    def fill(self, target: Array, place: int) -> int:
        """Fill contiguous memory with what the file holds from a place on; how many bytes."""
        bytes_of: Any = target
        view = memoryview(bytes_of).cast("B")
        first = -place % PAGE
        last = first + max(0, len(view) - first) // PAGE * PAGE
        congruent = (target.ctypes.data - place) % PAGE == 0
        if self._straight is None or not congruent or last == first:
            return _filled(self._file, view, place)
        if self._has(place + first, place + last):
            return _filled(self._file, view, place)
        done = _filled(self._file, view[:first], place)
        if done == first:
            done += self._read_straight(view[first:last], place + first)
        return done + _filled(self._file, view[done:], place + done)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
        if self._straight is not None:
            self._straight.close()

    def _advise(self) -> None:
        """Have the system read ahead, unless it would then hold what is read straight."""
        if hasattr(os, "posix_fadvise"):
            random = self._straight is not None
            advice = os.POSIX_FADV_RANDOM if random else os.POSIX_FADV_SEQUENTIAL
            os.posix_fadvise(self._file.fileno(), 0, 0, advice)

    def _has(self, start: int, stop: int) -> bool:
        """Whether the system has these pages of the file in memory.

        It is asked for a few at random: each that it does not have it fetches for being asked, and
        that one is not to answer for all the next time.
        """
        asked = random.sample(range(start, stop, PAGE), min(ASKED, (stop - start) // PAGE))
        try:
            return all(
                os.preadv(self._file.fileno(), [bytearray(PAGE)], place, os.RWF_NOWAIT) > 0
                for place in asked
            )
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _read_straight(self, view: memoryview, place: int) -> int:
        assert self._straight is not None
        try:
            return _filled(self._straight, view, place)
        except OSError:  # this disk has larger blocks, or none: as every other program reads it
            self._straight.close()
            self._straight = None
            self._advise()
            return 0


def _opened_straight(path: Path) -> FileIO | None:
    """A way to the file past the cache; None where the system has none."""
    if not (hasattr(os, "O_DIRECT") and hasattr(os, "RWF_NOWAIT")):
        return None
    try:
        return FileIO(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return None


def _filled(file: FileIO, view: memoryview, place: int) -> int:
    """Fill memory from a place on, or up to the end of the file; how many bytes."""
    file.seek(place)
    done = 0
    while done < len(view):
        count = file.readinto(view[done : done + PIECE])
        if not count:
            break
        done += count
    return done
