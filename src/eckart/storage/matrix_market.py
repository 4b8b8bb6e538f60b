"""Matrix Market `.mtx` and `.mtx.gz`."""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.matrices import Dense, Matrix, Sparse
from eckart.matrices.derived import dense
from eckart.storage.contents import Contents, Part, Selection
from eckart.storage.npy import only_part
from eckart.storage.npz import MOST_DEFLATION
from eckart.storage.whole import damaged

SELECTABLE: frozenset[str] = frozenset()
FEWEST_BYTES = {"array": 1, "coordinate": 3}  # "0" and "1 1": what one entry takes at least


def read(path: Path, selection: Selection) -> Contents:
    """A coordinate file as a sparse matrix, an array file as a dense one.

    The body is read by NumPy: SciPy's reader crashes the process where a line of a damaged file
    holds more numbers than it should.
    """
    del selection
    try:
        rows, columns, entries, kind, field, symmetry = scipy.io.mminfo(path)
        if field == "complex":
            raise MatrixError(
                f"{path} holds complex numbers, which eckart does not factor.",
                hint="Factor the real and imaginary parts as two matrices.",
                code="complex",
            )
        count = _stored(rows, columns, symmetry) if kind == "array" else entries
        _check_size(path, count, kind)
        numbers = _numbers(path)
        if kind == "array":
            matrix: Matrix = Dense(_array(path, numbers, (rows, columns), symmetry))
        else:
            matrix = Sparse(_coordinates(path, numbers, (rows, columns), entries, symmetry))
    except (OverflowError, EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise damaged(path, error) from error
    except ValueError as error:
        if isinstance(error, MatrixError):
            raise
        raise damaged(path, error) from error
    return Contents(parts=(Part(name="", matrix=matrix),))


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix as an array file, every digit kept."""
    with path.open("wb") as file:
        scipy.io.mmwrite(file, dense(only_part(parts, path)), precision=17)


def _numbers(path: Path) -> Array:
    """All lines after the sizes, one row each."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        lines = (line for line in file if line.strip() and not line.startswith("%"))
        next(lines, "")  # the sizes
        first = next(lines, "")
        if not first:
            return np.empty((0, 0))
        lines = (line for part in ([first], lines) for line in part)
        return np.loadtxt(lines, dtype=np.float64, ndmin=2, comments=None)


def _array(path: Path, numbers: Array, shape: tuple[int, int], symmetry: str) -> Array:
    """The numbers of an array file, which stand column by column."""
    rows, columns = shape
    if numbers.size != _stored(rows, columns, symmetry) or numbers.shape[1:] not in ((), (1,)):
        raise damaged(path, f"{numbers.size} numbers where its header promises another count")
    values = numbers.ravel()
    if symmetry == "general":
        return np.ascontiguousarray(values.reshape((columns, rows)).T)
    skew = symmetry == "skew-symmetric"
    across, down = np.triu_indices(rows, int(skew))  # the lower triangle, column by column
    stored = np.zeros((rows, rows))
    stored[across, down] = -values if skew else values
    stored[down, across] = values
    return stored


def _coordinates(
    path: Path, numbers: Array, shape: tuple[int, int], entries: int, symmetry: str
) -> Any:
    """The entries of a coordinate file; a pattern file has ones."""
    if len(numbers) != entries or (entries and numbers.shape[1] not in (2, 3)):
        raise damaged(path, f"{len(numbers)} entries where its header promises {entries}")
    if not entries:
        return scipy.sparse.coo_array(shape, dtype=np.float64)
    places = numbers[:, :2].astype(np.int64) - 1
    outside = ((places < 0) | (places >= shape)).any() or (places + 1 != numbers[:, :2]).any()
    if outside:
        raise damaged(path, f"an entry lies outside the {shape[0]} × {shape[1]} matrix")
    row, column = places.T
    values = numbers[:, 2] if numbers.shape[1] == 3 else np.ones(entries)
    if symmetry != "general":
        apart = row != column
        mirrored = -values[apart] if symmetry == "skew-symmetric" else values[apart]
        row, column = np.append(row, column[apart]), np.append(column, row[apart])
        values = np.append(values, mirrored)
    return scipy.sparse.coo_array((values, (row, column)), shape=shape)


def _stored(rows: int, columns: int, symmetry: str) -> int:
    """How many numbers an array file of this shape holds."""
    if symmetry == "general":
        return rows * columns
    return rows * (rows + 1) // 2 - (rows if symmetry == "skew-symmetric" else 0)


def _check_size(path: Path, count: int, kind: str) -> None:
    available = path.stat().st_size * (MOST_DEFLATION if path.suffix == ".gz" else 1)
    if count * FEWEST_BYTES[kind] > available + 4096:
        raise damaged(path, "its header promises more entries than the file holds")
