"""The format `.npy` of NumPy: one array, mapped or read by rows. Pickled arrays are refused."""

import math
import os
import random
import tokenize
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import PAGE, Array, own_pages, working_dtype
from eckart.errors import EckartError, FormatError
from eckart.files.reading import UNEXPECTED, damaged
from eckart.files.records import Contents, Part, PositionReader, Rows, Selection, Table, only_part
from eckart.matrices import Dense, Matrix, RowReader
from eckart.matrices.derived import check_shape

SELECTABLE: frozenset[str] = frozenset()
MAGIC = b"\x93NUMPY"
WRONG: Final = (*UNEXPECTED, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)
"""Errors that NumPy raises for a damaged header, which it parses as a literal of Python."""


def read(path: Path, selection: Selection) -> Contents:
    """Map the array; the file stays open as long as the array is used."""
    del selection
    return Contents(parts=(Part(name="", matrix=Dense(_mapped(path))),))


def _mapped(path: Path) -> Any:
    """The array, unless its header promises more than the file holds: that overflows in NumPy."""
    with header_reading(path):
        with path.open("rb") as file:
            # without the magic bytes NumPy's own error says what is wrong
            if file.read(len(MAGIC)) == MAGIC:
                file.seek(0)
                shape, dtype = header_of(file)
                left = path.stat().st_size - file.tell()
                # objects have no fixed size; they are refused as pickled
                if not dtype.hasobject and not fits(shape, dtype.itemsize, left):
                    raise damaged(path, "its header promises more numbers than it holds")
        return np.load(path, mmap_mode="r", allow_pickle=False)


@contextmanager
def header_reading(path: Path) -> Generator[None, None, None]:
    """Turn an error of NumPy about a header into one sentence, and suppress its warnings."""
    try:
        # NumPy warns of headers that Python 2 wrote, and reads them all the same
        with warnings.catch_warnings(action="ignore"):
            yield
    except EckartError:
        raise
    except WRONG as error:
        raise unreadable(path, error) from error


def header_of(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype that the header at the position of an open file claims for its array."""
    version = np.lib.format.read_magic(file)
    # version 3 differs from version 2 only by UTF-8 in the names of fields
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"unknown version {version}")
    shape, _, dtype = read(file)
    # True would be an int to isinstance
    if not all(type(length) is int for length in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, dtype


def unreadable(path: Path, error: Exception) -> FormatError:
    """The error for a file that NumPy does not read, because it is pickled or damaged."""
    said = str(error)
    if "pickle" not in said and "Python objects" not in said:
        return damaged(path, error)
    with path.open("rb") as file:  # NumPy takes every file without a known signature for a pickle
        start = file.read(6)
    # b"\x80" begins a pickle and b"PK" a zip archive
    known = start.startswith((b"\x80", b"PK", MAGIC))
    return pickled(path) if known else damaged(path, "it does not begin as such a file does")


def pickled(path: Path) -> FormatError:
    """The error for a file that could execute code when it is read."""
    return FormatError(
        f"{path} holds pickled Python objects, which eckart never unpickles.",
        hint="Save the numbers as a plain array: np.save(path, array.astype(float)).",
        code="pickled",
    )


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix, block by block."""
    W = only_part(parts, path)
    with path.open("wb") as file:
        write_header(file, W.shape, W.dtype)
        for block in W.row_blocks():
            # `data` is a view, so that a block is written without a copy
            file.write(np.ascontiguousarray(block).data)


def write_header(file: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Write the header of an array in C order, whose numbers follow."""
    header: dict[str, Any] = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)


def fits(shape: tuple[int, ...], itemsize: int, available: int) -> bool:
    """Whether an array of this shape fits into the available bytes: a header may claim any."""
    return all(length >= 0 for length in shape) and math.prod(shape) * itemsize <= available


PIECE_BYTES: Final = 2**23
"""Bytes that are read at once; larger reads are no faster."""
SAMPLED_PAGES: Final = 3
"""Pages of a piece of the file that are sampled to find out whether it is in the cache."""


@final
class UncachedFile:
    """Bytes of a file, from the page cache if they are there, else directly from the disk.

    The cache keeps nothing of a file larger than memory until the next pass, but it takes memory
    from other programs, and handling its pages takes as much processor time as a matrix product
    with them.

    Bytes are read directly if their place in the file and their place in memory have the same
    offset within a page. The bytes before the first whole page and after the last one go through
    the cache, and so do all bytes if the system or the disk refuses direct reads.

    Args:
        path: The file.
        cached: Whether the file is small enough to be left in the cache.
    """

    def __init__(self, path: Path, *, cached: bool) -> None:
        # unbuffered: blocks go straight to the memory of the caller
        self._file = path.open("rb", buffering=0)
        self._straight = None if cached else _opened_straight(path)
        self._advise()

    def fill(self, target: Array, place: int) -> int:
        """Fill contiguous memory from a place in the file on, and return the number of bytes."""
        bytes_of: Any = target
        view = memoryview(bytes_of).cast("B")
        # the bytes up to the next page boundary of the file
        first = -place % PAGE
        last = first + max(0, len(view) - first) // PAGE * PAGE
        congruent = (target.ctypes.data - place) % PAGE == 0
        # O_DIRECT needs aligned addresses, in the file and in memory
        direct = self._straight is not None and congruent and last > first
        if not direct or self._has(place + first, place + last):
            return _filled(self._file, view, place)
        done = _filled(self._file, view[:first], place)
        if done == first:
            done += self._read_straight(view[first:last], place + first)
        # short only at the end of the file or after a refusal; the rest is read through the cache
        return done + _filled(self._file, view[done:], place + done)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._straight is not None:
            self._straight.close()

    def _advise(self) -> None:
        """Let the system read ahead, unless that would put directly read pages into the cache."""
        if hasattr(os, "posix_fadvise"):
            random = self._straight is not None
            # random access switches the read-ahead of the system off
            advice = os.POSIX_FADV_RANDOM if random else os.POSIX_FADV_SEQUENTIAL
            os.posix_fadvise(self._file.fileno(), 0, 0, advice)

    def _has(self, start: int, stop: int) -> bool:
        """Whether the page cache holds this piece of the file.

        A few pages are sampled at random, because asking for a page makes the system fetch it: a
        fixed page would be in the cache the next time and answer for all others.
        """
        asked = random.sample(range(start, stop, PAGE), min(SAMPLED_PAGES, (stop - start) // PAGE))
        try:
            return all(
                # RWF_NOWAIT refuses to wait for the disk, and thereby tells what is in the cache
                os.preadv(self._file.fileno(), [bytearray(PAGE)], place, os.RWF_NOWAIT) > 0
                for place in asked
            )
        except BlockingIOError:  # the page would have to be read from the disk
            return False
        except OSError:  # the file system does not support the question, so the cache is used
            return True

    def _read_straight(self, view: memoryview, place: int) -> int:
        """Read directly; 0 bytes, and the cache from then on, if the disk refuses."""
        assert self._straight is not None
        try:
            return _filled(self._straight, view, place)
        except OSError:  # the disk has larger blocks, or none, and is then read as usual
            self._straight.close()
            self._straight = None
            self._advise()
            return 0


def _opened_straight(path: Path) -> FileIO | None:
    """The file opened for direct reads; None if the system or the disk does not offer them."""
    if not (hasattr(os, "O_DIRECT") and hasattr(os, "RWF_NOWAIT")):
        return None
    try:
        return FileIO(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return None


def _filled(file: FileIO, view: memoryview, place: int) -> int:
    """Fill memory from a place in the file on, up to its end, and return the number of bytes."""
    file.seek(place)
    done = 0
    # readinto may return less than it was asked for
    while done < len(view):
        count = file.readinto(view[done : done + PIECE_BYTES])
        if not count:
            break
        done += count
    return done


CACHED_BYTES: Final = 2**31
"""Bytes up to which a file is left in the page cache for the next program that reads it."""


def open_rows(path: Path, selection: Selection) -> Table:
    """Open the rows of the array, or of those of all files of a folder, in the order of names."""
    selection.check_unnamed(path)
    if path.is_dir():
        return _joined(path, selection)
    array = _mapped(path)
    check_shape(array.shape)
    if not fits(array.shape, array.dtype.itemsize, path.stat().st_size):
        raise damaged(path, "its header promises more numbers than it holds")
    size, place, dtype = int(array.nbytes), int(array.offset), working_dtype(array.dtype)
    opened: Callable[[int], RowReader] = partial(_mapped_rows, path)
    if array.flags.c_contiguous:
        row, cached = array.shape[1] * array.dtype.itemsize, size <= CACHED_BYTES
        opened = partial(_rows_at, path, array.dtype, place, row, cached)
    source = Rows(
        shape=array.shape,
        dtype=dtype,
        open=partial(opened, 0),
        stored=size,
        lead=place % PAGE,
        at=opened,
    )
    return Table(source=source, names=None)


def _joined(folder: Path, selection: Selection) -> Table:
    """The rows of all files of a folder."""
    tables = [open_rows(file, selection).source for file in npy_files(folder)]
    if len({one.shape[1] for one in tables}) > 1:
        raise FormatError(
            f"The files of {folder} have {' and '.join(sorted({str(t.shape[1]) for t in tables}))} "
            "columns.",
            hint="Give files with the same columns.",
            code="columns-differ",
        )
    dtype = np.result_type(*(one.dtype for one in tables))
    opened = partial(_JoinedRows, tables)
    source = Rows(
        shape=(sum(one.shape[0] for one in tables), tables[0].shape[1]),
        dtype=dtype,
        open=opened,
        stored=sum(one.nbytes for one in tables),
        at=opened,
    )
    return Table(source=source, names=None)


def npy_files(folder: Path) -> list[Path]:
    """The files of a folder that hold arrays, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".npy")


@final
class _JoinedRows:
    """Rows of several sources, one behind the other, from a place on."""

    def __init__(self, sources: list[Rows], first: int = 0) -> None:
        self._sources, self._place, self._reader = iter(sources), first, None
        self._next()

    def read(self, out: Array, /) -> int:
        """Fill `out` from its top."""
        done = 0
        while done < len(out) and self._reader is not None:
            count = self._reader.read(out[done:])
            done += count
            if not count:
                self._next()
        return done

    def close(self) -> None:
        """Close the source that is open."""
        if self._reader is not None:
            self._reader.close()

    def _next(self) -> None:
        self.close()
        self._reader: RowReader | None = None
        for source in self._sources:
            if self._place < source.shape[0]:
                assert source.at is not None  # every array is opened at any row
                self._reader, self._place = source.at(self._place), 0
                return
            self._place -= source.shape[0]


def _mapped_rows(path: Path, first: int = 0) -> PositionReader:
    """Rows of an array in Fortran order: columns are contiguous, so rows are taken from a map."""
    array = _mapped(path)
    return PositionReader(lambda start, stop: array[start:stop], max(1, len(array)), first)


def _rows_at(path: Path, stored: Any, place: int, row: int, cached: bool, first: int) -> RowReader:
    return _Rows(path, stored, place + first * row, cached=cached)


@final
class _Rows:
    """Rows of an array in C order, which are contiguous in the file from a place on."""

    def __init__(self, path: Path, stored: Any, place: int, *, cached: bool) -> None:
        self._file = UncachedFile(path, cached=cached)
        self._stored, self._place = stored, place

    def read(self, out: Array, /) -> int:
        """Fill `out`; if the stored dtype differs, through an array of that dtype."""
        own = self._stored == out.dtype
        # aligned like the next row in its page, which direct reads need
        target: Any = out if own else own_pages(out.shape, self._stored, self._place % PAGE)
        rows = self._file.fill(target, self._place) // (target.shape[1] * target.itemsize)
        self._place += rows * target.shape[1] * target.itemsize
        if not own:
            out[:rows] = target[:rows]
        return rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()
