"""Rows of a `.npy` file, read into buffers that are used again."""

from pathlib import Path
from typing import Any, Final, final

from eckart.arrays import PAGE, Array, DType, own_pages, working_dtype
from eckart.matrices import RowReader
from eckart.matrices.derived import check_shape
from eckart.storage.npy import fits, load
from eckart.storage.rows.table import Table, Wanted
from eckart.storage.rows.uncached import UncachedFile
from eckart.storage.rows.unnamed import check_unnamed
from eckart.storage.whole import damaged

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
