"""The difference W₁ − W₂, formed one block of rows at a time, and centred matrices."""

import math
from collections.abc import Iterator
from typing import final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType
from eckart.backends import Namespace
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.matrices.dense import as_matrix
from eckart.matrices.derived import check_entries, sum_of_squares
from eckart.matrices.protocol import Matrix, block_rows
from eckart.matrices.sparse import Sparse


class Difference:
    """The difference of two matrices of one shape, such as a residual or a weight update.

    Args:
        first: W₁, of shape (rows, columns).
        second: W₂, of the same shape.
        squared_norm: ‖W₁ − W₂‖²_F, if the caller has it at lower cost.

    Raises:
        MatrixError: If the shapes differ.

    Cost:
        Each product or pass takes one of each matrix. The norm is summed after the subtraction, so
        that it is accurate where the two are almost equal.

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
        """Shape (rows, columns)."""
        return self.first.shape

    @property
    def dtype(self) -> DType:
        """The wider dtype of the two."""
        return np.result_type(self.first.dtype, self.second.dtype)

    @property
    def namespace(self) -> Namespace:
        """Namespace of both matrices."""
        return self.first.namespace

    @property
    def nbytes(self) -> int:
        """Bytes of both matrices."""
        return self.first.nbytes + self.second.nbytes

    @property
    def passes(self) -> int:
        """Number of passes over the matrix that was read more often."""
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
        """Iterate over blocks of consecutive rows, in the wider dtype."""
        height = rows or block_rows(self.shape[1])
        # one height for both, since each matrix would choose its own
        pairs = zip(self.first.row_blocks(height), self.second.row_blocks(height), strict=True)
        for first, second in pairs:
            # widened first, so that nothing is rounded before the subtraction
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


@final
class Centred(Difference):
    """W − 1·meansᵀ, never formed: its products are those of W less products of rank one.

    Args:
        W: Matrix of shape (rows, columns).
        means: Means of its columns, of shape (columns,), in its namespace and dtype.
        squared_norm: ‖W − 1·meansᵀ‖²_F, if it is known.
    """

    def __init__(self, W: Matrix, means: Array, *, squared_norm: float | None = None) -> None:
        ones = W.namespace.put(np.ones((W.shape[0], 1)), W.dtype)
        super().__init__(W, Factors(ones, means[np.newaxis, :]), squared_norm=squared_norm)
        self.means = means


def centred(W: object, /) -> Centred:
    """Subtract from W the means of its columns.

    Its factorisation is a principal component analysis: B holds the scores of the rows and A the
    components. The means are the attribute `means` of the result.

    Args:
        W: Matrix of shape (rows, columns), or anything that `as_matrix` reads.

    Raises:
        MatrixError: If W is no matrix of finite numbers.

    Cost:
        One pass for the means and one for the norm; for a sparse W, over the stored entries only.
        Where the means are far larger than the deviations, products lose the digits that the
        entries have in common; use float64 there.

    Example:
        >>> W = centred([[1.0, 5.0], [3.0, 5.0]])
        >>> W.squared_norm(), W.means.tolist()
        (2.0, [2.0, 5.0])
    """
    matrix = as_matrix(W)
    means = column_means(matrix)
    if not np.isfinite(means).all():
        check_entries(matrix)  # its error names the entry
    norm = _sparse_norm(matrix, means) if isinstance(matrix, Sparse) else None
    return Centred(matrix, matrix.namespace.put(means, matrix.dtype), squared_norm=norm)


def column_means(W: Matrix) -> Array:
    """Mean of each column, of shape (columns,), in float64. One pass."""
    rows, columns = W.shape
    if isinstance(W, Sparse):
        return W.transposed_times(np.ones((rows, 1)))[:, 0] / rows
    total = np.zeros(columns)
    with np.errstate(over="ignore", invalid="ignore"):
        for block in W.row_blocks():
            total += W.namespace.get(block).sum(axis=0, dtype=FLOAT64)
    return total / rows


def _sparse_norm(W: Sparse, means: Array) -> float:
    """Σ(w − mean)² over stored entries plus mean² for each other entry: nothing cancels."""
    means = means.astype(W.dtype).astype(FLOAT64)  # products subtract the rounded means
    stored = math.fsum(
        float(np.square(piece.data.astype(FLOAT64) - means[piece.indices]).sum())
        for piece in W.stored_blocks()
    )
    counts = np.bincount(W.stored.indices, minlength=W.shape[1])
    return stored + float(((W.shape[0] - counts) * np.square(means)).sum())
