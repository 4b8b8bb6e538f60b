"""Rows of a dense or sparse matrix in a Zarr or HDF5 file, with all or some of its columns."""

import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from eckart.arrays import Array, DType, working_dtype
from eckart.errors import MissingExtra
from eckart.files.columns import select
from eckart.files.hierarchy import (
    Node,
    Packing,
    check_heaps,
    found_matrix,
    is_turned,
    names_of_columns,
    sparse_members,
)
from eckart.files.reading import DEFLATE_RATIO, UNEXPECTED, damaged, unpacking
from eckart.files.records import PositionReader, Rows, Selection, Table, check_sparse

Integers: TypeAlias = npt.NDArray[np.int64]
SELECTABLE = frozenset({"tensor"})
KEPT_BYTES: Final = {"h5py": 20 * 2**20, "zarr": 36 * 2**20}
"""Bytes that each package keeps of what it reads, whatever the array."""
BROKEN: Final = (*UNEXPECTED, OSError, RuntimeError, zlib.error)
"""Errors that h5py, Zarr and their codecs raise for a damaged file."""
PIECE_BYTES: Final = 2**20
"""Bytes of whole rows that are held at once to take some of their columns."""
UNCHECKED_BYTES: Final = 2**26
"""Bytes that a part of a sparse matrix may claim, however little of it is stored."""


@final
@dataclass(frozen=True, slots=True)
class _Pieces:
    """Rows that a function reads from one position up to another, as a `PositionReader` does."""

    rows: Callable[[int, int], Array]
    shape: tuple[int, int]
    dtype: DType
    height: int
    held: int

    def select(self, places: list[int]) -> "_Pieces":
        """Some columns of the same rows, in the order of their positions in `places`."""
        row = self.shape[1] * self.dtype.itemsize
        height = max(1, min(self.height, PIECE_BYTES // max(1, row)))
        return _Pieces(
            lambda start, stop: self.rows(start, stop)[:, places],
            (self.shape[0], len(places)),
            self.dtype,
            height,
            self.held + height * row,
        )


def open_rows(path: Path, selection: Selection) -> Table:
    """Open the rows of the named or only matrix; of an AnnData those of X, with names of genes."""
    package = _package("zarr" if path.suffix.lower() == ".zarr" else "h5py")
    with unpacking(path, *BROKEN):
        with warnings.catch_warnings(action="ignore"):  # Zarr warns of other files in its folder
            file: Node
            if package.__name__ == "zarr":
                file = package.open(str(path), mode="r")
            else:
                check_heaps(path)
                file = package.File(path, mode="r")
        place, node = found_matrix(file, selection.tensor, path)
        source = _source(node, place, path, KEPT_BYTES[package.__name__])
        names = names_of_columns(file, place, source.shape[1])
        (selection if names is None else replace(selection, columns=None)).check_unnamed(path)
        if names is not None and selection.names is not None:
            places = select(list(names), selection.names, path)
            source, names = source.select(places), tuple(names[one] for one in places)
    opened = partial(PositionReader, source.rows, source.height)
    rows = Rows(shape=source.shape, dtype=source.dtype, open=opened, held=source.held, at=opened)
    return Table(source=rows, names=names)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra(
            f"This file is read by {name}, which is not installed.",
            hint="pip install 'eckart[files]'",
            code="missing-extra",
        ) from error


def _source(node: Node, place: str, path: Path, kept: int) -> _Pieces:
    """The rows of a matrix, by the way in which it is stored."""
    members = sparse_members(node)
    if members is None:
        return _chunked_array(node, kept, path)
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
        return _compressed_rows(node["data"], node[indices], node[starts][:], shape, path)
    # compressed columns give no rows before all of them are read
    parts = node["data"][:], node[indices][:], node[starts][:]
    _check_places(parts[1], parts[2], shape[0], path)
    check_sparse(path, shape, len(parts[0]))
    stored: Any = scipy.sparse.csc_array(parts, shape=shape).tocsr()
    return _compressed_rows(stored.data, stored.indices, stored.indptr, shape, path)


def _is_by_rows(node: Node, shape: tuple[int, int]) -> bool:
    """Whether the rows are compressed, not the columns: by the attributes, or by the lengths.

    Files of 10x Genomics, which have barcodes, compress columns: the cells.
    """
    kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    if "csr" in kind or "csc" in kind or "barcodes" in node:
        return "csr" in kind
    return int(node["indptr"].shape[0]) == shape[0] + 1


def _shape(node: Node, count: int) -> tuple[int, int]:
    """The shape that a sparse matrix claims, in the ways of SciPy, 10x Genomics and MATLAB."""
    if "MATLAB_sparse" in node.attrs:
        # MATLAB stores the number of rows only; the columns follow from the pointers
        return int(node.attrs["MATLAB_sparse"]), count
    said = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    rows, columns = node["shape"][:] if said is None else said
    return int(rows), int(columns)


def _check_held(member: Node, place: str, path: Path) -> None:
    """Refuse a part of a sparse matrix that claims to be much larger than what is stored of it.

    HDF5 and Zarr give zeros for what was never written, and a sparse matrix stores no zeros.
    """
    if member.nbytes <= UNCHECKED_BYTES:
        return
    # h5py tells the stored size through its low-level id, Zarr by a method
    held = member.id.get_storage_size() if hasattr(member, "id") else member.nbytes_stored()
    if member.nbytes > DEFLATE_RATIO * held:
        raise damaged(path, f"a part of the sparse matrix {place} is larger than what is stored")


def _check_places(indices: Integers, starts: Integers, below: int, path: Path) -> None:
    """Refuse positions outside of a sparse matrix, to which SciPy would write."""
    ascending = len(starts) > 0 and (np.diff(starts) >= 0).all()
    outside = len(indices) > 0 and (int(indices.min()) < 0 or int(indices.max()) >= below)
    if not ascending or starts[-1] - starts[0] != len(indices) or outside:
        raise damaged(path, "a place of its sparse matrix lies outside of it")


def _chunked_array(stored: Node, kept: int, path: Path) -> _Pieces:
    """The rows of a dataset of two dimensions; packed numbers are decoded."""
    # MATLAB stores columns first
    turned, packing = is_turned(stored), Packing.of(stored, path)
    rows, columns = map(int, stored.shape[::-1] if turned else stored.shape)

    def decoded(start: int, stop: int) -> Array:
        with unpacking(path, *BROKEN):
            if turned:
                return packing.decoded(np.asarray(stored[:, start:stop])).T
            return packing.decoded(np.asarray(stored[start:stop]))

    row = max(1, columns * np.dtype(stored.dtype).itemsize)
    chunks = getattr(stored, "chunks", None)
    # rows of chunks are unpacked whole, so they are the unit of reading
    height = max(1, int(chunks[turned]) if chunks else PIECE_BYTES // row)
    held = kept + min(height, rows) * row
    return _Pieces(decoded, (rows, columns), packing.dtype, height, held)


def _compressed_rows(
    data: Node | Array,
    indices: Node | Integers,
    starts: Integers,
    shape: tuple[int, int],
    path: Path,
) -> _Pieces:
    """The rows of a sparse matrix, in a file or in memory, as dense rows."""
    dtype, ends = working_dtype(np.dtype(data.dtype)), np.asarray(starts).astype(np.int64)

    def expanded(start: int, stop: int) -> Array:
        own = ends[start : stop + 1]
        span = slice(int(own[0]), int(own[-1]))
        with unpacking(path, *BROKEN):
            values, places = np.asarray(data[span]), np.asarray(indices[span])
            _check_places(places, own, shape[1], path)
            # relative to the piece, of which SciPy sees nothing before
            parts = values.astype(dtype, copy=False), places, own - own[0]
            piece: Any = scipy.sparse.csr_array(parts, shape=(len(own) - 1, shape[1]))
        return piece.toarray()

    held = int(data.nbytes + indices.nbytes) if isinstance(data, np.ndarray) else 0
    return _Pieces(expanded, shape, dtype, max(1, shape[0]), held)
