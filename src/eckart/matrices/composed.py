"""Matrices formed from others in their products: W·R, Wᵀ, 2ⁿ·W, W₁ − W₂ and W − 1·meansᵀ."""

import math
from collections.abc import Iterator
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.matrices.dense import as_matrix
from eckart.matrices.derived import check_entries
from eckart.matrices.protocol import Matrix, View, block_rows
from eckart.matrices.sparse import Sparse
from eckart.matrices.standardised import Standardised


@final
class Product(View):
    """W·R for a small square R.

    Args:
        source: W, of shape (rows, columns).
        right: R, of shape (columns, columns).

    Raises:
        MatrixError: If the shapes do not fit.

    Cost:
        A product with k columns costs one with W and one with R; a pass takes rows·columns².

    Example:
        >>> from eckart.matrices.dense import Dense
        >>> Product(Dense([[1.0, 2.0]]), np.diag([3.0, 1.0])).squared_norm()
        13.0
    """

    def __init__(self, source: Matrix, right: Array) -> None:
        super().__init__(source)
        columns = source.shape[1]
        if right.shape != (columns, columns):
            raise MatrixError(
                f"A matrix of {columns} columns cannot be multiplied by one of shape "
                f"{tuple(right.shape)}.",
                hint=f"Give a square one of {columns} rows.",
                code="shapes-differ",
            )
        self._right = source.namespace.put(right, source.dtype)

    def times(self, X: Array, /) -> Array:
        """W·(R·X)."""
        return self.source.times(self._right @ self.namespace.astype(X, self.dtype))

    def transposed_times(self, Y: Array, /) -> Array:
        """Rᵀ·(Wᵀ·Y)."""
        return self._right.T @ self.source.transposed_times(Y)

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over blocks of consecutive rows."""
        for block in self.source.row_blocks(rows):
            yield block @ self._right


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

    def __init__(self, source: Matrix) -> None:
        super().__init__(source)
        self.shape = source.shape[1], source.shape[0]

    def times(self, X: Array, /) -> Array:
        """Wᵀ·X."""
        return self.source.transposed_times(X)

    def transposed_times(self, Y: Array, /) -> Array:
        """W·Y."""
        return self.source.times(Y)

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


NORM_DECADES: Final = {FLOAT32: 6, FLOAT64: 60}
"""Exponents n: ‖W‖ between 10^−n and 10^n needs no rescaling, because products WᵀW·X, and
directions a millionth as long as the longest, stay far from both ends of the range."""

FIRST_EXPONENT: Final = 100
"""Largest exponent of two by which vectors near 1 are multiplied before a product."""


@final
class Rescaled(View):
    """2^exponent·W, never formed: the other factor is rescaled, and then the product.

    Multiplying by a power of two changes no digit. It is done in two steps, neither of which leaves
    the range, so that products with the smallest and largest float32 numbers keep their digits.

    Args:
        source: W, of shape (rows, columns).
        exponent: Exponent of two.

    Cost:
        The cost of the products with W.

    Example:
        >>> from eckart.matrices.dense import Dense
        >>> float(Rescaled(Dense([[3.0, 4.0]]), -1).squared_norm())
        6.25
    """

    def __init__(self, source: Matrix, exponent: int) -> None:
        super().__init__(source)
        self.exponent = exponent
        first = max(-FIRST_EXPONENT, min(exponent, FIRST_EXPONENT))
        self._first, self._rest = 2.0**first, 2.0 ** (exponent - first)

    def times(self, X: Array, /) -> Array:
        """2^exponent·W·X, of shape (rows, k)."""
        return self.source.times(X * self._first) * self._rest

    def transposed_times(self, Y: Array, /) -> Array:
        """2^exponent·Wᵀ·Y, of shape (columns, k)."""
        return self.source.transposed_times(Y * self._first) * self._rest

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over rescaled blocks of consecutive rows."""
        for block in self.source.row_blocks(rows):
            yield block * self._first * self._rest

    def squared_norm(self) -> float:
        """‖2^exponent·W‖²_F."""
        return self.source.squared_norm() * self._first**2 * self._rest**2


def rescaled(W: Matrix) -> tuple[Matrix, int]:
    """Return W scaled to ‖W‖ near 1, and the exponent of two; W itself if it needs no scaling.

    Example:
        >>> from eckart.matrices.dense import Dense
        >>> rescaled(Dense(np.full((2, 2), 1e-20, np.float32)))[1]
        65
    """
    norm = math.sqrt(W.squared_norm())
    if norm == 0 or not math.isfinite(norm) or abs(math.log10(norm)) <= NORM_DECADES[W.dtype]:
        return W, 0
    # frexp gives norm = m·2^e with ½ ≤ m < 1
    exponent = -int(np.frexp(norm)[1])
    # a standardised matrix changes its scales, and costs no further product
    own = isinstance(W, Standardised)
    return W.rescaled(exponent) if own else Rescaled(W, exponent), exponent


class Difference(View):
    """W₁ − W₂ for two matrices of one shape: a residual, a weight update.

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
        super().__init__(first)
        if first.shape != second.shape:
            (rows, columns), (height, width) = first.shape, second.shape
            raise MatrixError(
                f"A {rows} × {columns} and a {height} × {width} matrix cannot be subtracted.",
                hint="Give two of one shape.",
                code="shapes-differ",
            )
        self._second = second
        self._squared_norm = squared_norm
        # the wider of both, and their bytes together
        self.dtype = np.result_type(first.dtype, second.dtype)
        self.nbytes = first.nbytes + second.nbytes

    @property
    def passes(self) -> int:
        """Number of passes over the matrix that was read more often."""
        return max(self.source.passes, self._second.passes)

    def times(self, X: Array, /) -> Array:
        """W₁·X − W₂·X."""
        return self.source.times(X) - self._second.times(X)

    def transposed_times(self, Y: Array, /) -> Array:
        """W₁ᵀ·Y − W₂ᵀ·Y."""
        return self.source.transposed_times(Y) - self._second.transposed_times(Y)

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over blocks of consecutive rows, in the wider dtype."""
        height = rows or block_rows(self.shape[1])
        # one height for both, since each matrix would choose its own
        pairs = zip(self.source.row_blocks(height), self._second.row_blocks(height), strict=True)
        for first, second in pairs:
            # widened first, so that nothing is rounded before the subtraction
            yield self.namespace.astype(first, self.dtype) - second


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
    means = _column_means(matrix)
    if not np.isfinite(means).all():
        check_entries(matrix)  # its error names the entry
    norm = _sparse_norm(matrix, means) if isinstance(matrix, Sparse) else None
    return Centred(matrix, matrix.namespace.put(means, matrix.dtype), squared_norm=norm)


def _column_means(W: Matrix) -> Array:
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
