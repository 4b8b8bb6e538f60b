"""Rows of a Zarr array, an HDF5 dataset, and the X of an AnnData file, dense or sparse."""

from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import scipy.sparse

from eckart.arrays import Array, DType, working_dtype
from eckart.errors import FormatError, MissingExtra
from eckart.matrices import RowReader
from eckart.storage.rows.table import Table, Wanted
from eckart.storage.rows.unnamed import check_unnamed
from eckart.storage.whole import damaged

KEPT: Final = {"h5py": 20 * 2**20, "zarr": 36 * 2**20}
"""Bytes that they keep of what they read, whatever the array."""
PIECE: Final = 2**20
"""Bytes of a dataset without chunks that are read at once."""
PACKAGES: Final = {".zarr": "zarr", ".h5": "h5py", ".hdf5": "h5py", ".h5ad": "h5py"}


def open_rows(path: Path, wanted: Wanted) -> Table:
    """The rows of the named or only matrix; of a `.h5ad` those of X, and its names."""
    check_unnamed(path, wanted)
    suffix = path.suffix.lower()
    package = _package(PACKAGES[suffix])
    try:
        opened: Any = (
            package.open(str(path), mode="r") if suffix == ".zarr" else _hdf5(package, path)
        )
    except (OSError, ValueError, KeyError) as error:
        raise damaged(path, error) from error
    if suffix == ".h5ad":
        return Table(source=_annotated(opened, path), names=_genes(opened))
    found = _chosen(opened, wanted.tensor or "", path)
    return Table(source=ChunkedArray(found, KEPT[package.__name__]), names=None)


def _hdf5(package: Any, path: Path) -> Any:
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


def _chosen(opened: Any, name: str, path: Path) -> Any:
    """The array of this name, or the only matrix at the top."""
    if hasattr(opened, "dtype"):
        return opened
    arrays = {key: opened[key] for key in opened if len(getattr(opened[key], "shape", ())) == 2}
    if name in arrays:
        return arrays[name]
    if name or len(arrays) != 1:
        raise FormatError(
            f"{path} holds {len(arrays)} matrices{f', none named {name}' * bool(name)}.",
            hint=f"Name one with --tensor: {', '.join(arrays) or 'there is none'}.",
            code="tensor-not-chosen",
        )
    return next(iter(arrays.values()))


def _annotated(opened: Any, path: Path) -> "ChunkedArray | CompressedRows":
    if "X" not in opened:
        raise damaged(path, "it has no X")
    X = opened["X"]
    if hasattr(X, "dtype"):
        return ChunkedArray(X, KEPT["h5py"])
    kind = X.attrs.get("encoding-type", X.attrs.get("h5sparse_format", ""))
    if "csr" not in str(kind):
        raise FormatError(
            f"The X of {path} is stored as {kind or 'an unknown kind'}.",
            hint="Store it dense or as compressed rows (csr).",
            code="unsupported-layout",
        )
    return CompressedRows(X)


def _genes(opened: Any) -> tuple[str, ...] | None:
    """Names of the columns, where the file keeps them as it should."""
    var = opened.get("var")
    key = None if var is None else var.attrs.get("_index", "_index")
    if var is None or key not in var:
        return None
    return tuple(one.decode() if isinstance(one, bytes) else str(one) for one in var[key][:])


@final
class ChunkedArray:
    """A dataset of two dimensions as a `RowSource`.

    Args:
        stored: The dataset.
        kept: Bytes that its package keeps beside one row of chunks.
    """

    def __init__(self, stored: Any, kept: int) -> None:
        rows, columns = stored.shape
        self.shape = int(rows), int(columns)
        self.dtype: DType = working_dtype(np.dtype(stored.dtype))
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize
        self.lead = 0
        self.stored = stored
        row = self.shape[1] * np.dtype(stored.dtype).itemsize
        chunks = getattr(stored, "chunks", None)
        self.height = int(chunks[0]) if chunks else max(1, PIECE // row)
        self.held = kept + min(self.height, self.shape[0]) * row

    def open(self) -> RowReader:
        """Begin at the first row."""
        return _Slices(self)


@final
class _Slices:
    def __init__(self, source: ChunkedArray) -> None:
        self._source = source
        self._start = 0

    def read(self, out: Array, /) -> int:
        """Fill `out` from one row of chunks after another, so that hardly more is held."""
        source, done = self._source, 0
        while done < len(out):
            left = source.height - self._start % source.height
            stop = self._start + min(left, len(out) - done)
            rows = source.stored[self._start : stop]
            if not len(rows):
                break
            out[done : done + len(rows)] = rows
            done, self._start = done + len(rows), self._start + len(rows)
        return done

    def close(self) -> None:
        """Nothing to give back: the file stays open as long as its source."""


@final
class CompressedRows:
    """A group of `data`, `indices` and `indptr` as a `RowSource` of dense rows."""

    def __init__(self, group: Any) -> None:
        rows, columns = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
        self.shape = int(rows), int(columns)
        self.dtype: DType = working_dtype(np.dtype(group["data"].dtype))
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize
        self.held = 0
        self.lead = 0
        self.group = group
        self.starts = np.asarray(group["indptr"][:])

    def open(self) -> RowReader:
        """Begin at the first row."""
        return _Pieces(self)


@final
class _Pieces:
    def __init__(self, source: CompressedRows) -> None:
        self._source = source
        self._start = 0

    def read(self, out: Array, /) -> int:
        """Fill `out` with rows made dense."""
        source = self._source
        stop = min(self._start + len(out), source.shape[0])
        starts = source.starts[self._start : stop + 1]
        span = slice(int(starts[0]), int(starts[-1]))
        parts = source.group["data"][span], source.group["indices"][span], starts - starts[0]
        count = stop - self._start
        piece: Any = scipy.sparse.csr_array(parts, shape=(count, source.shape[1]))
        out[:count] = piece.toarray()
        self._start = stop
        return count

    def close(self) -> None:
        """Nothing to give back: the file stays open as long as its source."""
