"""W₁ − W₂, formed one block of rows at a time."""

from collections.abc import Iterator
from typing import final

import numpy as np

from eckart.arrays import Array, DType
from eckart.errors import MatrixError
from eckart.matrices.derived import sum_of_squares
from eckart.matrices.protocol import Matrix, block_rows
from eckart.namespaces import Namespace


@final
class Difference:
    """The difference of two matrices of one shape: a residual W − B·A, a change of a weight.

    Args:
        first: W₁, of shape (rows, columns).
        second: W₂, of the same shape.
        squared_norm: ‖W₁ − W₂‖²_F, where whoever makes it knows a cheaper way to it.

    Raises:
        MatrixError: If the shapes differ.

    Cost:
        Each product or pass makes one of both matrices. The norm is summed after the subtraction,
        so that it is right where the two are almost equal.

    Example:
        >>> from eckart.matrices.dense import Dense
        >>> Difference(Dense([[3.0, 1.0]]), Dense([[1.0, 1.0]])).squared_norm()
        4.0
    """

    def __init__(self, first: Matrix, second: Matrix, *, squared_norm: float | None = None) -> None:
        if first.shape != second.shape:
            raise MatrixError(
                f"A {_spoken(first)} and a {_spoken(second)} matrix cannot be subtracted.",
                hint="Give two of one shape.",
                code="shapes-differ",
            )
        self.first = first
        self.second = second
        self._squared_norm = squared_norm

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.first.shape

    @property
    def dtype(self) -> DType:
        """The wider dtype of the two."""
        return np.result_type(self.first.dtype, self.second.dtype)

    @property
    def namespace(self) -> Namespace:
        """That of the first, which the second shares."""
        return self.first.namespace

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.first.nbytes + self.second.nbytes

    @property
    def passes(self) -> int:
        """How often the more often read of the two has been read."""
        return max(self.first.passes, self.second.passes)

    def times(self, X: Array, /) -> Array:
        """(W₁ − W₂)·X, of shape (rows, k)."""
        return self.first.times(X) - self.second.times(X)

    def transposed_times(self, Y: Array, /) -> Array:
        """(W₁ − W₂)ᵀ·Y, of shape (columns, k)."""
        return self.first.transposed_times(Y) - self.second.transposed_times(Y)

    def gram_times(self, X: Array, /) -> Array:
        """(W₁ − W₂)ᵀ(W₁ − W₂)·X, of shape (columns, k). Two passes."""
        return self.transposed_times(self.times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Blocks of consecutive rows, in the wider dtype."""
        height = rows or block_rows(self.shape[1])
        pairs = zip(self.first.row_blocks(height), self.second.row_blocks(height), strict=True)
        for first, second in pairs:
            yield self.namespace.astype(first, self.dtype) - second

    def squared_norm(self) -> float:
        """‖W₁ − W₂‖²_F, summed in float64."""
        if self._squared_norm is None:
            self._squared_norm = sum_of_squares(self)
        return self._squared_norm

    __matmul__ = times


def _spoken(W: Matrix) -> str:
    rows, columns = W.shape
    return f"{rows} × {columns}"
