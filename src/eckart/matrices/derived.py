"""Functions that need `row_blocks` only, written once for every kind of matrix."""

from typing import Any, Final, TypeAlias

import numpy as np

from eckart.arrays import FLOAT64, Array
from eckart.backends import HOST
from eckart.errors import MatrixError
from eckart.matrices.protocol import Matrix, summed

MOST_DENSE_BYTES: Final = 8 * 2**30
"""Largest dense copy in bytes; a larger one is refused before it exhausts the memory."""


def dense(W: Matrix) -> Array:
    """Return W as one array in its namespace. One pass; memory rows·columns.

    Raises:
        MatrixError: If the array would take more than 8 GiB.
    """
    rows, columns = W.shape
    needed = rows * columns * W.dtype.itemsize
    if needed > MOST_DENSE_BYTES:
        raise MatrixError(
            f"A dense copy of this {rows} × {columns} matrix would take {needed / 2**30:.0f} GiB.",
            hint="Choose a solver that needs products only: `solver=krylov`.",
            code="too-large",
        )
    if W.namespace is not HOST:
        return W.namespace.concatenate(list(W.row_blocks()))
    whole = np.empty(W.shape, W.dtype)
    start = 0
    for block in W.row_blocks():  # a streamed block is overwritten by a later one
        whole[start : start + len(block)] = block
        start += len(block)
    return whole


def check_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of a matrix as (rows, columns).

    Raises:
        MatrixError: If the shape does not have two dimensions, or one of them is 0.
    """
    if len(shape) != 2:
        raise MatrixError(
            f"A matrix has two dimensions, this has {len(shape)} (shape {tuple(shape)}).",
            hint="Reshape it to rows × columns.",
            code="not-a-matrix",
        )
    rows, columns = shape
    if 0 in shape:
        raise MatrixError(
            f"The matrix is empty ({rows} × {columns}).",
            hint="Give at least one row and one column.",
            code="empty",
        )
    return rows, columns


def check_entries(W: Matrix) -> None:
    """Refuse a matrix whose entries no solver can use. One pass; a second finds the entry.

    Raises:
        MatrixError: If an entry (which is named) is NaN or infinite, or squares over- or underflow.
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squared_norm = W.squared_norm()
    if np.isfinite(squared_norm) and squared_norm > np.finfo(FLOAT64).tiny:
        return
    bad, largest = summed(W, _entries_found, add=_first_found)
    if bad is not None:
        row, column, value = bad
        raise MatrixError(
            f"The entry at row {row}, column {column} (counted from 0) "
            f"is {'NaN (a missing value)' if np.isnan(value) else 'infinite'}.",
            hint="Fill or remove the entries that are not finite numbers.",
            code="not-finite",
        )
    if largest > 0:
        raise out_of_range(largest)


_Found: TypeAlias = tuple[tuple[int, int, float] | None, float]
"""Row, column and value of the first entry that is no finite number, and the largest before it."""


def _entries_found(W: Matrix) -> _Found:
    start, largest = getattr(W, "first_row", 0), 0.0
    # a sparse matrix is read as stored: dense rows with many columns would take far too long
    for native in getattr(W, "stored_blocks", W.row_blocks)():
        block = native if hasattr(native, "indptr") else W.namespace.get(native)
        values: Any = getattr(block, "data", None) if hasattr(block, "indptr") else block
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            row, column = _place(block, int(bad[0]))
            return (start + row, column, float(values.flat[bad[0]])), largest
        largest = max(largest, float(np.abs(values).max(initial=0.0)))
        start += block.shape[0]
    return None, largest


def _first_found(one: _Found, later: _Found) -> _Found:
    return one if one[0] is not None else (later[0], max(one[1], later[1]))


def _place(block: Any, number: int) -> tuple[int, int]:
    """Row and column of an entry, counted in a dense block or in the data of a sparse block."""
    if hasattr(block, "indptr"):
        # the last row that starts at or before the entry; rows without entries are skipped
        row = np.searchsorted(block.indptr, number, side="right") - 1
        return int(row), int(block.indices[number])
    row, column = np.unravel_index(number, block.shape)
    return int(row), int(column)


def out_of_range(largest: float) -> MatrixError:
    """Return the error for a matrix whose squares cannot be summed."""
    return MatrixError(
        f"The largest entry is {largest:.1e}, so sums or squares leave the range of its type.",
        hint="Multiply the matrix by a power of ten that brings it near 1.",
        code="out-of-range",
    )


def thumbnail(W: Matrix, most: int = 256) -> Array:
    """Average W to at most `most` × `most` cells, each the mean of the entries it covers.

    One pass; memory most·columns.

    Example:
        >>> from eckart.matrices.dense import Dense
        >>> thumbnail(Dense(np.arange(8.0).reshape(2, 4)), most=2)
        array([[0.5, 2.5],
               [4.5, 6.5]])
    """
    rows, columns = W.shape
    row_edges = np.linspace(0, rows, min(rows, most) + 1).astype(int)
    column_edges = np.linspace(0, columns, min(columns, most) + 1).astype(int)
    sums = np.zeros((len(row_edges) - 1, len(column_edges) - 1))
    start = 0
    for native in W.row_blocks():
        block = W.namespace.get(native)
        cells = np.searchsorted(row_edges, np.arange(start, start + len(block)), side="right") - 1
        narrow = np.add.reduceat(block, column_edges[:-1], axis=1, dtype=np.float64)
        # several rows of a block fall into one cell
        np.add.at(sums, cells, narrow)
        start += len(block)
    return sums / np.outer(np.diff(row_edges), np.diff(column_edges))
