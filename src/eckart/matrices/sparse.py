"""A sparse matrix, never made dense as a whole."""

from collections.abc import Iterator
from typing import Any, final

import numpy as np
import scipy.sparse

from eckart.arrays import FLOAT64, Array, DType, working_dtype
from eckart.errors import MatrixError
from eckart.matrices.protocol import block_rows
from eckart.namespaces import HOST


@final
class Sparse:
    """A SciPy sparse matrix or array as a `Matrix`. What is not stored is zero.

    Args:
        stored: Any SciPy sparse format; kept as compressed rows. Duplicates are summed.

    Raises:
        MatrixError: If it is empty or does not hold real numbers.

    Cost:
        A product costs stored entries × k. Only `row_blocks` makes dense blocks.

    Example:
        >>> Sparse(scipy.sparse.eye_array(3)).times(np.ones((3, 1))).T
        array([[1., 1., 1.]])
    """

    def __init__(self, stored: Any) -> None:
        if stored.ndim != 2 or 0 in stored.shape:
            raise MatrixError(
                f"The matrix is empty (shape {stored.shape}).",
                hint="Give at least one row and one column.",
                code="empty",
            )
        dtype = working_dtype(stored.dtype)
        compressed: Any = scipy.sparse.csr_array(stored, dtype=dtype)
        compressed.sum_duplicates()
        self.stored = compressed  # (rows, columns)
        self.namespace = HOST
        self.passes = 0
        self._squared_norm: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.stored.shape
        return rows, columns

    @property
    def dtype(self) -> DType:
        """float32 or float64."""
        return self.stored.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the stored entries and their indices."""
        return self.stored.data.nbytes + self.stored.indices.nbytes + self.stored.indptr.nbytes

    def times(self, X: Array, /) -> Array:
        """W·X, of shape (rows, k); in float64 where X is."""
        self.passes += 1
        return np.asarray(self.stored @ X)

    def transposed_times(self, Y: Array, /) -> Array:
        """Wᵀ·Y, of shape (columns, k); in float64 where Y is."""
        self.passes += 1
        return np.asarray(self.stored.T @ Y)

    def gram_times(self, X: Array, /) -> Array:
        """Wᵀ·(W·X), of shape (columns, k). Two passes through memory."""
        return self.transposed_times(self.times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Dense blocks of consecutive rows."""
        self.passes += 1
        height = rows or block_rows(self.shape[1])
        for start in range(0, self.shape[0], height):
            yield self.stored[start : start + height].toarray()

    def squared_norm(self) -> float:
        """‖W‖²_F, summed in float64 over the stored entries."""
        if self._squared_norm is None:
            entries = self.stored.data.astype(FLOAT64, copy=False)
            self._squared_norm = float(np.dot(entries, entries))
        return self._squared_norm

    __matmul__ = times
