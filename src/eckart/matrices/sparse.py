"""Sparse matrices, which are never made dense as a whole."""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any, Final, final

import numpy as np
import scipy.sparse

from eckart.arrays import FLOAT64, Array, working_dtype
from eckart.backends import HOST
from eckart.matrices.derived import check_shape
from eckart.matrices.protocol import Products, block_rows
from eckart.threads import in_threads

PIECES: Final = 8
"""Number of blocks of rows, of equally many stored entries, over which W·X is spread."""
HALVES: Final = 2
"""Number of blocks of rows over which Wᵀ·Y is spread; few, as each has a result of its own."""
SLICE_COLUMNS: Final = 16
"""Columns of Y at a time: rows of the result, visited at random, then stay in the cache."""
ONE_THREAD_PRODUCTS: Final = 2**24
"""Number of multiplications below which a product uses one thread."""


@final
class Sparse(Products):
    """A SciPy sparse matrix or array as a `Matrix`; entries that are not stored are zero.

    Args:
        stored: Matrix in any SciPy sparse format; it is kept as compressed rows (CSR), and
            duplicates are summed.

    Raises:
        MatrixError: If it is empty, is not two-dimensional, or does not hold real numbers.

    Cost:
        A product with k columns takes 2·k operations for each stored entry, on all threads, and
        gives the same bits whatever their number. Only `row_blocks` makes dense blocks.

    Example:
        >>> Sparse(scipy.sparse.eye_array(3)).times(np.ones((3, 1))).T
        array([[1., 1., 1.]])
    """

    def __init__(self, stored: Any) -> None:
        self.shape, self.dtype = check_shape(stored.shape), working_dtype(stored.dtype)
        compressed: Any = scipy.sparse.csr_array(stored, dtype=self.dtype)
        # duplicates would be counted twice in ‖W‖² and in the entries
        if not compressed.has_canonical_format:
            if stored.format == "csr":  # its arrays are the caller's, and may be read-only
                parts = compressed.data, compressed.indices, compressed.indptr
                compressed = scipy.sparse.csr_array(parts, shape=stored.shape, copy=True)
            compressed.sum_duplicates()
        self.stored = compressed  # (rows, columns)
        self.namespace = HOST
        arrays = compressed.data, compressed.indices, compressed.indptr
        self.nbytes = sum(array.nbytes for array in arrays)
        self.passes = 0
        self._cut: dict[int, list[tuple[int, Any]]] = {}

    def times(self, X: Array, /) -> Array:
        """W·X, of shape (rows, k); in float64 if X is."""
        self.passes += 1
        if self._is_little(X):
            return np.asarray(self.stored @ X)
        # SciPy copies anything else, once for each piece
        own = np.ascontiguousarray(X)
        return np.concatenate(in_threads(lambda piece: piece[1] @ own, self._pieces(PIECES)))

    def transposed_times(self, Y: Array, /) -> Array:
        """Wᵀ·Y, of shape (columns, k); in float64 if Y is."""
        self.passes += 1
        if self._is_little(Y):
            return np.asarray(self.stored.T @ Y)

        def partial(chosen: tuple[int, tuple[int, Any]]) -> Array:
            column, (row, piece) = chosen
            own = Y[row : row + piece.shape[0], column : column + SLICE_COLUMNS]
            return np.asarray(piece.T @ np.ascontiguousarray(own))

        columns = range(0, Y.shape[1], SLICE_COLUMNS)
        parts = in_threads(partial, product(columns, self._pieces(HALVES)))
        result = np.empty((self.shape[1], Y.shape[1]), parts[0].dtype)
        for number, column in enumerate(columns):
            both = parts[HALVES * number : HALVES * (number + 1)]
            # always two halves in this order, so that the bits do not depend on the threads
            np.add(*both, out=result[:, column : column + SLICE_COLUMNS])
        return result

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over dense blocks of consecutive rows."""
        self.passes += 1
        height = rows or block_rows(self.shape[1])
        for start in range(0, self.shape[0], height):
            yield self.stored[start : start + height].toarray()

    def stored_blocks(self) -> Iterator[Any]:
        """Iterate over sparse blocks of consecutive rows, which are not copied. One pass."""
        self.passes += 1
        yield from (piece for _, piece in self._pieces(PIECES))

    def squared_norm(self) -> float:
        """‖W‖²_F, summed in float64 over the stored entries."""
        if self._squared_norm is None:
            entries = self.stored.data.astype(FLOAT64, copy=False)
            self._squared_norm = float(np.dot(entries, entries))
        return self._squared_norm

    def _is_little(self, X: Array) -> bool:
        return self.stored.nnz * X.shape[1] < ONE_THREAD_PRODUCTS or self.shape[0] < PIECES

    def _pieces(self, count: int) -> list[tuple[int, Any]]:
        """Blocks of rows with about equally many stored entries, and the first row of each.

        The entries are not copied.
        """
        if count in self._cut:
            return self._cut[count]
        stored, columns = self.stored, self.shape[1]
        shares = np.linspace(0, stored.nnz, count + 1)[1:-1]
        # pieces end with a row: a row that is cut would need a sum over pieces
        inner = np.searchsorted(stored.indptr, shares)
        edges = [0, *(int(edge) for edge in inner), self.shape[0]]
        pieces: list[tuple[int, Any]] = []
        for start, stop in pairwise(edges):
            first, last = stored.indptr[start], stored.indptr[stop]
            entries = stored.data[first:last], stored.indices[first:last]
            # slices of the arrays are views; only the row pointers are new
            own = (*entries, stored.indptr[start : stop + 1] - first)
            pieces.append((start, scipy.sparse.csr_array(own, shape=(stop - start, columns))))
        self._cut[count] = pieces
        return pieces
