"""WᵀW, and small products with it, in the way that suits the kind of matrix."""

import numpy as np

from eckart.arrays import Array
from eckart.backends import HOST
from eckart.matrices.moments import tall_rows
from eckart.matrices.protocol import Matrix
from eckart.matrices.sparse import Sparse
from eckart.matrices.standardised import Standardised
from eckart.matrices.streamed import Streamed


def gram(W: Matrix) -> Array:
    """WᵀW in float64, of shape (columns, columns). One pass, or none if it is known already."""
    if isinstance(W, Standardised) and W.moments.gram is not None:
        return W.moments.gram
    if isinstance(W, Standardised) and W.namespace is HOST and not isinstance(W.source, Sparse):
        return W.covariance()
    columns = W.shape[1]
    total = np.zeros((columns, columns))
    for block in W.row_blocks(tall_rows(columns)):
        # each block in the dtype of W, the sum over blocks in float64
        total += W.namespace.get(block.T @ block)
    return total


def gram_products(W: Matrix, X: Array, count: int) -> tuple[Array, Array]:
    """WᵀW·X, and (W·X₁)ᵀ(W·X₁) in float64 for the first `count` columns X₁ of X.

    The second comes from W·X₁, so that each column is accurate to its own rounding; taken from
    WᵀW·X it would have the rounding of the longest column.
    """
    if isinstance(W, Standardised) and W.is_by_blocks:
        return W.gram_products(X, count)
    if is_streamed(W):
        product = W.gram_times(X)
        # W·X₁ would take a second reading of the rows
        inner = W.namespace.gram(X[:, :count], product[:, :count])
        # rounding leaves the product unsymmetric
        return product, (inner + inner.T) / 2
    Y = W.times(X)
    return W.transposed_times(Y), W.namespace.gram(Y[:, :count], Y[:, :count])


def deflated_gram(W: Matrix, A: Array) -> Array:
    """ΠWᵀWΠ in float64 with Π = I − AᵀA: each row is projected before the product. One pass."""
    columns = W.shape[1]
    total, own = np.zeros((columns, columns)), W.namespace.put(A, W.dtype)
    for block in W.row_blocks(tall_rows(columns)):
        left = block - (block @ own.T) @ own
        total += W.namespace.get(left.T @ left)
    return total


def is_streamed(W: Matrix) -> bool:
    """Whether the rows of W are read from files again for each product."""
    return isinstance(W.source if isinstance(W, Standardised) else W, Streamed)
