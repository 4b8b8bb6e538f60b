"""The first directions of a Krylov space: those of a small compression of W, where it is dense."""

from typing import Final

import numpy as np
import scipy.sparse

from eckart.arrays import Array, DType, Randomness
from eckart.matrices import Dense, Matrix, Sparse
from eckart.namespaces import HOST, Namespace
from eckart.subspaces.orthonormal import whitened

ROOM: Final = 4
"""Rows of the compression for each direction that is wanted of it."""
FEW: Final = 512
"""Up to so many rows, twice as many for each direction: their products take hardly any time."""
WORTH: Final = 4
"""A compression has to have so many times fewer rows than W."""


def first_directions(W: Matrix, count: int, randomness: Randomness) -> Array:
    """About `count` directions that hold much of W, of shape (columns, count or fewer).

    WᵀΩ with random Ω, of shape (rows, count). Of a tall enough dense W it is better to compress
    its rows first: with a sparse random S, of shape (4·count, rows) and one number in each column,
    S·W takes one pass and hardly an operation, and its products cost a fraction of those of W. Of
    it, (SW)ᵀ(SW)·(SW)ᵀΩ is nearly as good as the same of W, and spares the products that it would
    take. The numbers of S are uniform, so that rows that are alike do not cancel, and each stands
    in a random place, so that rows that lie beside one another are not summed. An array on a device
    is not compressed.

    Cost:
        One pass over W; memory 4·count·columns numbers where W is compressed, up to 8 where that is
        little.

    Reference:
        Clarkson, Woodruff (2013), STOC, for S; Halko, Martinsson, Tropp (2011), algorithm 4.4.
    """
    rows, height = W.shape[0], max(ROOM * count, min(2 * ROOM * count, FEW))
    if not isinstance(W, Dense) or W.namespace is not HOST or rows < WORTH * height:
        return W.transposed_times(random_array(rows, count, W.dtype, randomness, W.namespace))
    small = compressed(W, height, randomness)
    start = random_array(height, count, W.dtype, randomness, W.namespace)
    rest = (start.T @ small).T
    for turned in (small, small.T):  # each made orthonormal, so that no square hides what is small
        rest = turned @ whitened(rest, W.namespace)[0]
    return rest


def compressed(W: Dense, height: int, randomness: Randomness) -> Array:
    """S·W, of shape (height, columns): sums of rows of W drawn at random, each times a number.

    One pass.
    """
    rows = W.shape[0]
    weights = random_array(rows, 1, W.dtype, randomness, HOST)[:, 0]
    edges = np.arange(height + 1) * rows // height
    places = randomness.permutation(rows)
    stored = scipy.sparse.csr_array((weights, places, edges), shape=(height, rows))
    W.passes += 1
    return Sparse(stored).times(W.array)


def random_array(
    length: int, count: int, dtype: DType, randomness: Randomness, namespace: Namespace
) -> Array:
    """Uniform in 2¹⁶ steps between ±1, none of them 0: as good as normal ones, and cheaper."""
    drawn = np.frombuffer(randomness.bytes(2 * length * count), np.int16)
    steps = drawn.reshape(length, count).astype(dtype)
    return namespace.put((steps + 0.5) / 2**15, dtype)
