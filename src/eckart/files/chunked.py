"""Rows of a dense or sparse matrix in a Zarr or HDF5 file, with all or some of its columns."""

import warnings
import zlib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import scipy.sparse

from eckart.arrays import Array, DType, own_pages, working_dtype
from eckart.errors import EckartError, MissingExtra
from eckart.files.columns import select
from eckart.files.hierarchy import (
    Packing,
    check_heaps,
    found_matrix,
    is_turned,
    names_of_columns,
    sparse_members,
)
from eckart.files.reading import DEFLATE_RATIO, damaged
from eckart.files.records import Selection, Table, check_sparse
from eckart.matrices import RowReader, RowSource

SELECTABLE = frozenset({"tensor"})
PIECE: Final = 2**20
"""Bytes of whole rows that are held at once, also of a dataset without chunks."""


@final
class ChosenColumns:
    """Some columns of a source as a `RowSource`.

    Args:
        source: Source of whole rows.
        places: Positions of the columns, in the order in which they are returned.
    """

    def __init__(self, source: RowSource, places: list[int]) -> None:
        rows, columns = source.shape
        self.source = source
        self.places = np.array(places, np.intp)
        self.shape = rows, len(places)
        self.dtype = source.dtype
        self.nbytes = rows * len(places) * self.dtype.itemsize
        row = columns * self.dtype.itemsize
        self.height = max(1, min(rows, PIECE // max(1, row)))
        self.held = source.held + self.height * row
        self.lead = 0

    def open(self) -> RowReader:
        """Open a reader at the first row."""
        return _Chosen(self)


@final
class _Chosen:
    def __init__(self, chosen: ChosenColumns) -> None:
        self._places, self._reader = chosen.places, chosen.source.open()
        shape = chosen.height, chosen.source.shape[1]
        self._rows: Any = own_pages(shape, chosen.dtype)

    def read(self, out: Array, /) -> int:
        """Fill `out` from one piece of whole rows after another."""
        done = 0
        while done < len(out):
            count = self._reader.read(self._rows[: len(out) - done])
            if not count:
                break
            out[done : done + count] = self._rows[:count, self._places]
            done += count
        return done

    def close(self) -> None:
        """Close the reader of whole rows."""
        self._reader.close()


KEPT: Final = {"h5py": 20 * 2**20, "zarr": 36 * 2**20}
"""Bytes that each package keeps of what it reads, whatever the array."""
BROKEN: Final = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
    ArithmeticError,
    EOFError,
    zlib.error,
)
"""Errors that h5py, Zarr and their codecs raise for a damaged file."""
UNCHECKED: Final = 2**26
"""Bytes that a part of a sparse matrix may claim, however little of it is stored."""
PACKAGES: Final = {".zarr": "zarr", ".h5": "h5py", ".hdf5": "h5py", ".h5ad": "h5py"}


def open_rows(path: Path, selection: Selection) -> Table:
    """Open the rows of the named or only matrix; of an AnnData those of X, with names of genes."""
    package = _package(PACKAGES[path.suffix.lower()])
    try:
        with warnings.catch_warnings(action="ignore"):  # Zarr warns of other files in its folder
            opened: Any = (
                package.open(str(path), mode="r")
                if package.__name__ == "zarr"
                else _hdf5(package, path)
            )
        place, node = found_matrix(opened, selection.tensor, path)
        source = _source(node, place, path, KEPT[package.__name__])
        names = names_of_columns(opened, place, source.shape[1])
        (selection if names is None else replace(selection, columns=None)).check_unnamed(path)
        if names is not None and selection.names is not None:
            places = select(list(names), selection.names, path)
            source, names = ChosenColumns(source, places), tuple(names[one] for one in places)
    except EckartError:
        raise
    except BROKEN as error:
        raise damaged(path, error) from error
    return Table(source=source, names=names)


def _hdf5(package: Any, path: Path) -> Any:
    """The open HDF5 file, if its heaps are sound."""
    check_heaps(path)
    return package.File(path, mode="r")


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra(
            f"This file is read by {name}, which is not installed.",
            hint="pip install 'eckart[files]'",
            code="missing-extra",
        ) from error


def _source(node: Any, place: str, path: Path, kept: int) -> RowSource:
    """The rows of a matrix, by the way in which it is stored."""
    members = sparse_members(node)
    if members is None:
        return ChunkedArray(node, kept, path)
    # MATLAB names the pointers jc and the row indices ir
    starts, indices = ("indptr", "indices") if "indptr" in members else ("jc", "ir")
    for name in ("data", starts, indices):
        _check_held(node[name], place, path)
    shape = _shape(node, int(node[starts].shape[0]) - 1)
    by_rows = starts == "indptr" and _is_by_rows(node, shape)
    # one more pointer than rows or columns: the last is the end
    if int(node[starts].shape[0]) != shape[0 if by_rows else 1] + 1:
        raise damaged(path, f"the sparse matrix {place} is not of the shape {shape} it promises")
    if by_rows:
        return CompressedRows(node["data"], node[indices], node[starts][:], shape, path)
    # compressed columns give no rows before all of them are read
    parts = node["data"][:], node[indices][:], node[starts][:]
    _check_places(parts[1], parts[2], shape[0], path)
    check_sparse(path, shape, len(parts[0]))
    stored: Any = scipy.sparse.csc_array(parts, shape=shape).tocsr()
    return CompressedRows(stored.data, stored.indices, stored.indptr, shape, path)


def _is_by_rows(node: Any, shape: tuple[int, int]) -> bool:
    """Whether the rows are compressed, not the columns: by the attributes, or by the lengths.

    Files of 10x Genomics, which have barcodes, compress columns: the cells.
    """
    kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    if "csr" in kind or "csc" in kind or "barcodes" in node:
        return "csr" in kind
    return int(node["indptr"].shape[0]) == shape[0] + 1


def _shape(node: Any, count: int) -> tuple[int, int]:
    """The shape that a sparse matrix claims, in the ways of SciPy, 10x Genomics and MATLAB."""
    if "MATLAB_sparse" in node.attrs:
        # MATLAB stores the number of rows only; the columns follow from the pointers
        return int(node.attrs["MATLAB_sparse"]), count
    said = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    rows, columns = node["shape"][:] if said is None else said
    return int(rows), int(columns)


def _check_held(member: Any, place: str, path: Path) -> None:
    """Refuse a part of a sparse matrix that claims to be much larger than what is stored of it.

    HDF5 and Zarr give zeros for what was never written, and a sparse matrix stores no zeros.
    """
    if member.nbytes <= UNCHECKED:
        return
    # h5py tells the stored size through its low-level id, Zarr by a method
    held = member.id.get_storage_size() if hasattr(member, "id") else member.nbytes_stored()
    if member.nbytes > DEFLATE_RATIO * held:
        raise damaged(path, f"a part of the sparse matrix {place} is larger than what is stored")


def _check_places(indices: Any, starts: Any, below: int, path: Path) -> None:
    """Refuse positions outside of a sparse matrix, to which SciPy would write."""
    ascending = len(starts) > 0 and (np.diff(starts) >= 0).all()
    outside = len(indices) > 0 and (int(indices.min()) < 0 or int(indices.max()) >= below)
    if not ascending or starts[-1] - starts[0] != len(indices) or outside:
        raise damaged(path, "a place of its sparse matrix lies outside of it")


@final
class ChunkedArray:
    """A dataset of two dimensions as a `RowSource`; packed numbers are decoded.

    Args:
        stored: The dataset; one of MATLAB, which stores columns first, is transposed.
        kept: Bytes that the package keeps besides one row of chunks.
        path: Path of the file, for messages.
    """

    def __init__(self, stored: Any, kept: int, path: Path) -> None:
        self.turned = is_turned(stored)
        rows, columns = stored.shape[::-1] if self.turned else stored.shape
        self.shape = int(rows), int(columns)
        self.packing = Packing.of(stored, path)
        self.dtype = self.packing.dtype
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize
        self.lead = 0
        self.stored = stored
        self.path = path
        row = max(1, self.shape[1] * np.dtype(stored.dtype).itemsize)
        chunks = getattr(stored, "chunks", None)
        # rows of chunks are unpacked whole, so they are the unit of reading
        self.height = max(1, int(chunks[self.turned]) if chunks else PIECE // row)
        self.held = kept + min(self.height, self.shape[0]) * row

    def open(self) -> RowReader:
        """Open a reader at the first row."""
        return _Slices(self)

    def decoded(self, start: int, stop: int) -> Any:
        """Read and decode the rows from `start` to `stop`.

        Raises:
            FormatError: If the rows cannot be read.
        """
        try:
            if self.turned:
                return self.packing.decoded(np.asarray(self.stored[:, start:stop])).T
            return self.packing.decoded(np.asarray(self.stored[start:stop]))
        except BROKEN as error:
            raise damaged(self.path, error) from error


@final
class _Slices:
    def __init__(self, source: ChunkedArray) -> None:
        self._source = source
        self._start = 0

    def read(self, out: Array, /) -> int:
        """Fill `out` from one row of chunks after another, so that little more is held."""
        source, done = self._source, 0
        while done < len(out):
            # up to the end of this row of chunks, so that each chunk is unpacked once
            left = source.height - self._start % source.height
            stop = self._start + min(left, len(out) - done)
            rows = source.decoded(self._start, stop)
            if not len(rows):
                break
            out[done : done + len(rows)] = rows
            done, self._start = done + len(rows), self._start + len(rows)
        return done

    def close(self) -> None:
        """Do nothing: the file stays open as long as its source."""


@final
class CompressedRows:
    """Compressed sparse rows, in a file or in memory, as a `RowSource` of dense rows."""

    def __init__(
        self, data: Any, indices: Any, starts: Any, shape: tuple[int, int], path: Path
    ) -> None:
        self.shape = shape
        self.dtype: DType = working_dtype(np.dtype(data.dtype))
        self.nbytes = shape[0] * shape[1] * self.dtype.itemsize
        in_memory = isinstance(data, np.ndarray)
        self.held = int(data.nbytes + indices.nbytes) if in_memory else 0
        self.lead = 0
        self.data, self.indices, self.path = data, indices, path
        self.starts = np.asarray(starts).astype(np.int64)

    def open(self) -> RowReader:
        """Open a reader at the first row."""
        return _Pieces(self)

    def rows(self, start: int, stop: int) -> Any:
        """Read the rows from `start` to `stop` as a dense array.

        Raises:
            FormatError: If the rows cannot be read.
        """
        starts = self.starts[start : stop + 1]
        span = slice(int(starts[0]), int(starts[-1]))
        try:
            data, indices = np.asarray(self.data[span]), np.asarray(self.indices[span])
            _check_places(indices, starts, self.shape[1], self.path)
            # relative to the piece, of which SciPy sees nothing before
            parts = data.astype(self.dtype, copy=False), indices, starts - starts[0]
            piece: Any = scipy.sparse.csr_array(parts, shape=(stop - start, self.shape[1]))
        except BROKEN as error:
            raise error if isinstance(error, EckartError) else damaged(self.path, error) from error
        return piece.toarray()


@final
class _Pieces:
    def __init__(self, source: CompressedRows) -> None:
        self._source = source
        self._start = 0

    def read(self, out: Array, /) -> int:
        """Fill `out` with the next rows as dense numbers."""
        stop = min(self._start + len(out), self._source.shape[0])
        count = stop - self._start
        out[:count] = self._source.rows(self._start, stop)
        self._start = stop
        return count

    def close(self) -> None:
        """Do nothing: the file stays open as long as its source."""
