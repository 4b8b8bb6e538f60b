"""NumPy's `.npy`: one array, mapped into memory or read by rows. Pickled arrays are refused."""

import math
import os
import random
import tokenize
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import PAGE, Array, DType, own_pages, working_dtype
from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError
from eckart.files.contents import Contents, Part, Selection
from eckart.files.rows import Table, Wanted
from eckart.files.whole import damaged
from eckart.matrices import Dense, Matrix, RowReader
from eckart.matrices.derived import check_shape

SELECTABLE: frozenset[str] = frozenset()
MAGIC = b"\x93NUMPY"
WRONG: Final = (
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    SyntaxError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
"""What NumPy raises for a header that is none: it is read as Python's own literals are."""


def read(path: Path, selection: Selection) -> Contents:
    """The array, mapped; the file stays open as long as it is used."""
    del selection
    return Contents(parts=(Part(name="", matrix=Dense(load(path, path))),))


def load(file: Any, path: Path) -> Any:
    """The array of a `.npy` file, mapped; or of an open one, read.

    Raises:
        FormatError: If it is pickled or damaged.
    """
    with header_reading(path):
        if file is path:
            _check_fits(path)
        return np.load(file, mmap_mode="r" if file is path else None, allow_pickle=False)


@contextmanager
def header_reading(path: Path) -> Generator[None, None, None]:
    """Turn what NumPy says of a header into one sentence, and leave out what it warns of.

    Raises:
        FormatError: If it says that the file is pickled or damaged.
    """
    try:
        # of headers that Python 2 wrote, which are read all the same
        with warnings.catch_warnings(action="ignore"):
            yield
    except EckartError:
        raise
    except WRONG as error:
        raise unreadable(path, error) from error


def header_of(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array that begins here in an open file, as it claims them.

    Raises:
        ValueError: If it is of a version that NumPy does not know.
        Exception: Any of `WRONG`, if it is damaged.
    """
    version = np.lib.format.read_magic(file)
    # the third, which has UTF-8 in the names of fields, is read like the second
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"unknown version {version}")
    shape, _, dtype = read(file)
    if not all(type(length) is int for length in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, dtype


def _check_fits(path: Path) -> None:
    """Refuse a header that promises more than the file holds; NumPy would count beyond 64 bits."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return  # what else it is, NumPy says
        file.seek(0)
        shape, dtype = header_of(file)
        left = path.stat().st_size - file.tell()
    if not dtype.hasobject and not fits(shape, dtype.itemsize, left):
        raise damaged(path, "its header promises more numbers than it holds")


def unreadable(path: Path, error: Exception) -> FormatError:
    """The error for a file that NumPy does not read: pickled, damaged, or something else."""
    said = str(error)
    if "pickle" not in said and "Python objects" not in said:
        return damaged(path, error)
    with path.open("rb") as file:  # what has no mark of its own is taken for a pickle by NumPy
        start = file.read(6)
    known = start.startswith((b"\x80", b"PK", MAGIC))
    return pickled(path) if known else damaged(path, "it does not begin as such a file does")


def pickled(path: Path) -> FormatError:
    """The error for a file that could run code when it is read."""
    return FormatError(
        f"{path} holds pickled Python objects, which eckart never unpickles.",
        hint="Save the numbers as a plain array: np.save(path, array.astype(float)).",
        code="pickled",
    )


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix, block by block."""
    W = only_part(parts, path)
    with path.open("wb") as file:
        header: dict[str, Any] = {
            "descr": np.lib.format.dtype_to_descr(W.dtype),
            "fortran_order": False,
            "shape": W.shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        for block in W.row_blocks():
            file.write(np.ascontiguousarray(block).data)


def only_part(parts: Mapping[str, Matrix], path: Path) -> Matrix:
    """The only matrix, for a format that holds no more.

    Raises:
        MatrixError: If there are several.
    """
    if len(parts) > 1:
        raise MatrixError(
            f"A {path.suffix} file holds one matrix, here are {len(parts)}: {', '.join(parts)}.",
            hint="Choose one with --part, or write .npz or .safetensors.",
            code="too-many-parts",
        )
    return next(iter(parts.values()))


def fits(shape: tuple[int, ...], itemsize: int, available: int) -> bool:
    """Whether an array of this shape can be in so many bytes; its header may say anything."""
    return all(length >= 0 for length in shape) and math.prod(shape) * itemsize <= available


def check_unnamed(path: Path, wanted: Wanted) -> None:
    """Refuse names of columns for a file that has none.

    Raises:
        ArgumentError: If some were given.
    """
    named = wanted.columns or wanted.beside
    if named:
        raise ArgumentError(
            f"{path.name} is an array, whose columns have no names such as '{named[0]}'.",
            hint="Leave --columns, --id and --color out, or give a table.",
            code="option-does-not-apply",
        )


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


CACHED: Final = 2**31
"""A file of up to so many bytes is left in the system's cache for whoever reads it next."""


def open_rows(path: Path, wanted: Wanted) -> Table:
    """The rows of the array."""
    check_unnamed(path, wanted)
    return Table(source=ArrayFile(path), names=None)


@final
class ArrayFile:
    """A two-dimensional `.npy` file as a `RowSource`.

    Raises:
        FormatError: If it is damaged or pickled.
        MatrixError: If it is no matrix.
    """

    def __init__(self, path: Path) -> None:
        array = load(path, path)
        check_shape(array.shape)
        if not fits(array.shape, array.dtype.itemsize, path.stat().st_size):
            raise damaged(path, "its header promises more numbers than it holds")
        self.path = path
        self.shape: tuple[int, int] = array.shape
        self.stored: Any = array.dtype
        self.dtype: DType = working_dtype(array.dtype)
        self.nbytes = int(array.nbytes)
        self.held = 0
        self.by_rows = bool(array.flags.c_contiguous)
        self.offset = int(array.offset)
        self.lead = self.offset % PAGE

    def open(self) -> RowReader:
        """Begin at the first row."""
        return _Rows(self) if self.by_rows else _Columns(self)


@final
class _Rows:
    """Rows that lie one behind another."""

    def __init__(self, source: ArrayFile) -> None:
        self._source = source
        self._file = UncachedFile(source.path, cached=source.nbytes <= CACHED)
        self._place = source.offset

    def read(self, out: Array, /) -> int:
        """Fill `out`, by way of an array of the stored dtype where that is another."""
        own = self._source.stored == out.dtype
        # that begins where the next row does in its page, so that it is read straight
        target: Any = out if own else own_pages(out.shape, self._source.stored, self._place % PAGE)
        rows = self._file.fill(target, self._place) // (target.shape[1] * target.itemsize)
        self._place += rows * target.shape[1] * target.itemsize
        if not own:
            out[:rows] = target[:rows]
        return rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@final
class _Columns:
    """Rows of an array whose columns lie one behind another, by way of a map."""

    def __init__(self, source: ArrayFile) -> None:
        self._array = load(source.path, source.path)
        self._start = 0

    def read(self, out: Array, /) -> int:
        """Fill `out`."""
        rows = self._array[self._start : self._start + len(out)]
        out[: len(rows)] = rows
        self._start += len(rows)
        return len(rows)

    def close(self) -> None:
        """Let the map go."""
        del self._array
