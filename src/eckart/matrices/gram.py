"""Gram matrices WᵀW, and their products with a few columns."""

import numpy as np

from eckart.arrays import Array
from eckart.backends import HOST
from eckart.matrices.moments import tall_rows
from eckart.matrices.protocol import (
    Matrix,
    Products,
    add_each,
    summed,
    summed_grams,
)
from eckart.matrices.sparse import Sparse
from eckart.matrices.standardised import Standardised
from eckart.matrices.streamed import Streamed


def gram(W: Matrix) -> Array:
    """WᵀW in float64, of shape (columns, columns). One pass, or none if it is known already."""
    if isinstance(W, Standardised) and W.moments.gram is not None:
        return W.moments.gram
    if isinstance(W, Standardised) and W.namespace is HOST and not isinstance(W.source, Sparse):
        return W.covariance()
    return summed(W, _grams)


def _grams(W: Matrix) -> Array:
    return summed_grams(W, W.row_blocks(tall_rows(W.shape[1])))


def gram_products(W: Matrix, X: Array, count: int) -> tuple[Array, Array]:
    """WᵀW·X, and (W·X₁)ᵀ(W·X₁) in float64 for the first `count` columns X₁ of X.

    The second comes from W·X₁, so that each column is accurate to its own rounding; taken from
    WᵀW·X it would have the rounding of the longest column.
    """
    if isinstance(W, Standardised) and W.is_by_blocks:
        return W.gram_products(X, count)
    if isinstance(W, Products) and W.is_in_parts:
        total, _, inner = W.summed(_plain_sums, X, count, add=add_each)
        return total.T.astype(W.dtype), inner
    if isinstance(W, Streamed):
        product = W.gram_times(X)
        # W·X₁ would take a second reading of the rows
        inner = W.namespace.gram(X[:, :count], product[:, :count])
        # rounding leaves the product unsymmetric
        return product, (inner + inner.T) / 2
    Y = W.times(X)
    return W.transposed_times(Y), W.namespace.gram(Y[:, :count], Y[:, :count])


def _plain_sums(W: Matrix, X: Array, count: int) -> tuple[Array, Array, Array]:
    """What `_product_sums` gives, of a matrix that is not standardised."""
    total, sums = np.zeros((X.shape[1], W.shape[1])), np.zeros(X.shape[1])
    inner = np.zeros((count, count))
    for block in W.row_blocks(tall_rows(W.shape[1])):
        Y = block @ X
        total += Y.T @ block
        inner += HOST.gram(Y[:, :count], Y[:, :count])
    return total, sums, inner


def deflated_gram(W: Matrix, A: Array) -> Array:
    """ΠWᵀWΠ in float64 with Π = I − AᵀA: each row is projected before the product. One pass."""
    return summed(W, _deflated_grams, A)


def _deflated_grams(W: Matrix, A: Array) -> Array:
    own, blocks = W.namespace.put(A, W.dtype), W.row_blocks(tall_rows(W.shape[1]))
    return summed_grams(W, (block - (block @ own.T) @ own for block in blocks))
