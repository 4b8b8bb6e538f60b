"""W·R for a square R, formed one block of rows at a time, and the transpose of W."""

from collections.abc import Iterator
from typing import final

import numpy as np

from eckart.arrays import Array, DType
from eckart.backends import Namespace
from eckart.errors import MatrixError
from eckart.matrices.derived import sum_of_squares
from eckart.matrices.protocol import Matrix, View, block_rows


@final
class Product:
    """The product of a matrix and a small square matrix, as a `Matrix`.

    Args:
        first: W, of shape (rows, columns).
        second: R, of shape (columns, columns).

    Raises:
        MatrixError: If the shapes do not fit.

    Cost:
        A product with k columns costs one with W and one with R; a pass takes rows·columns².

    Example:
        >>> import numpy as np
        >>> from eckart.matrices.dense import Dense
        >>> Product(Dense([[1.0, 2.0]]), np.diag([3.0, 1.0])).squared_norm()
        13.0
    """

    def __init__(self, first: Matrix, second: Array) -> None:
        columns = first.shape[1]
        if second.shape != (columns, columns):
            raise MatrixError(
                f"A matrix of {columns} columns cannot be multiplied by one of shape "
                f"{tuple(second.shape)}.",
                hint=f"Give a square one of {columns} rows.",
                code="shapes-differ",
            )
        self.first = first
        self.second = first.namespace.put(second, first.dtype)
        self._squared_norm: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        return self.first.shape

    @property
    def dtype(self) -> DType:
        """Dtype of W, float32 or float64."""
        return self.first.dtype

    @property
    def namespace(self) -> Namespace:
        """Array module and device of W."""
        return self.first.namespace

    @property
    def nbytes(self) -> int:
        """Bytes of W."""
        return self.first.nbytes

    @property
    def passes(self) -> int:
        """Number of passes over W so far."""
        return self.first.passes

    def times(self, X: Array, /) -> Array:
        """W·(R·X), of shape (rows, k)."""
        return self.first.times(self.second @ self.namespace.astype(X, self.dtype))

    def transposed_times(self, Y: Array, /) -> Array:
        """Rᵀ·(Wᵀ·Y), of shape (columns, k)."""
        return self.second.T @ self.first.transposed_times(Y)

    def gram_times(self, X: Array, /) -> Array:
        """(W·R)ᵀ(W·R)·X, of shape (columns, k). Two passes."""
        return self.transposed_times(self.times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over blocks of consecutive rows."""
        for block in self.first.row_blocks(rows):
            yield block @ self.second

    def squared_norm(self) -> float:
        """‖W·R‖²_F, summed in float64."""
        if self._squared_norm is None:
            self._squared_norm = sum_of_squares(self)
        return self._squared_norm

    __matmul__ = times


@final
class Transposed(View):
    """Wᵀ as a `Matrix`.

    Args:
        source: W, whose shape is that of this matrix reversed.

    Cost:
        Each product costs the opposite product with W; a block of k rows, one with k columns.

    Example:
        >>> from eckart.matrices import Dense
        >>> Transposed(Dense([[1.0, 2.0]])).times(np.ones((1, 1))).T
        array([[1., 2.]])
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        rows, columns = self.source.shape
        return columns, rows

    def times(self, X: Array, /) -> Array:
        """Wᵀ·X."""
        return self.source.transposed_times(X)

    def transposed_times(self, Y: Array, /) -> Array:
        """W·Y."""
        return self.source.times(Y)

    def gram_times(self, X: Array, /) -> Array:
        """W·(Wᵀ·X)."""
        return self.source.times(self.source.transposed_times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over dense blocks of consecutive columns of W, as rows."""
        count, length = self.shape
        height = rows or block_rows(length)
        for start in range(0, count, height):
            # a product with columns of the identity reads any kind of W
            chosen = np.eye(count, min(height, count - start), -start)
            yield self.source.times(self.namespace.put(chosen, self.dtype)).T

    def squared_norm(self) -> float:
        """‖W‖²_F."""
        return self.source.squared_norm()

    __matmul__ = times
