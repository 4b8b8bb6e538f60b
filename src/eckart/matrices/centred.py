"""A matrix less the means of its columns, as principal components want it."""

import math

import numpy as np

from eckart.arrays import FLOAT64, Array
from eckart.factors import Factors
from eckart.matrices.convert import as_matrix
from eckart.matrices.derived import check_entries
from eckart.matrices.difference import Difference
from eckart.matrices.protocol import Matrix
from eckart.matrices.sparse import Sparse


def centred(W: object, /) -> Difference:
    """W − 1·meanᵀ, which is never formed: its products are those of W less a product of rank one.

    A factorisation of it is a principal component analysis: B holds the scores of the rows and A
    the components. The means are in the answer, as `.second.A[0]`.

    Args:
        W: What `as_matrix` reads, of shape (rows, columns).

    Raises:
        MatrixError: If it is no matrix of finite numbers.

    Cost:
        One pass for the means, and one for the norm; of a sparse W the stored entries only. Where
        means are far larger than what is around them, products lose as many digits as those have in
        common: give float64.

    Example:
        >>> W = centred([[1.0, 5.0], [3.0, 5.0]])
        >>> W.squared_norm(), W.second.A.tolist()
        (2.0, [[2.0, 5.0]])
    """
    matrix = as_matrix(W)
    means = column_means(matrix)
    if not np.isfinite(means).all():
        check_entries(matrix)  # says where
    rows = matrix.shape[0]
    put = matrix.namespace.put
    ones = Factors(put(np.ones((rows, 1)), matrix.dtype), put(means[np.newaxis, :], matrix.dtype))
    norm = _sparse_norm(matrix, means) if isinstance(matrix, Sparse) else None
    return Difference(matrix, ones, squared_norm=norm)


def column_means(W: Matrix) -> Array:
    """The mean of every column, of shape (columns,), in float64. One pass."""
    rows, columns = W.shape
    if isinstance(W, Sparse):
        return W.transposed_times(np.ones((rows, 1)))[:, 0] / rows
    total = np.zeros(columns)
    with np.errstate(over="ignore", invalid="ignore"):
        for block in W.row_blocks():
            total += W.namespace.get(block).sum(axis=0, dtype=FLOAT64)
    return total / rows


def _sparse_norm(W: Sparse, means: Array) -> float:
    """Σ(w − mean)² over the stored entries, and mean² for each that is not: nothing cancels."""
    means = means.astype(W.dtype).astype(FLOAT64)  # those that are subtracted
    stored = math.fsum(
        float(np.square(piece.data.astype(FLOAT64) - means[piece.indices]).sum())
        for piece in W.stored_blocks()
    )
    counts = np.bincount(W.stored.indices, minlength=W.shape[1])
    return stored + float(((W.shape[0] - counts) * np.square(means)).sum())
