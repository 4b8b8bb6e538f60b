"""The first directions of a Krylov space: those of a small compression of W, where it is dense."""

import math
from typing import Final, TypeGuard

import numpy as np

from eckart.arrays import Array, DType, Randomness
from eckart.matrices import Dense, Matrix
from eckart.namespaces import HOST, Namespace
from eckart.subspaces.orthonormal import whitened

SUMS: Final = 8
"""Random sums of each group of rows."""
ROOM: Final = 4
"""Rows of the compression for each direction that is wanted of it."""
FEW: Final = 768
"""Up to so many rows, four times as many for each direction: their products take little time."""
WORTH: Final = 4
"""A compression has to have so many times fewer rows than W."""


def first_directions(W: Matrix, count: int, randomness: Randomness) -> Array:
    """About `count` directions that hold much of W, of shape (columns, count or fewer).

    WᵀΩ with random Ω, of shape (rows, count). Of a tall enough dense W it is better to compress
    its rows first, to some 4·count: S·W takes one pass and hardly an operation, and its products
    cost a fraction of those of W. Of it, (SW)ᵀ(SW)·(SW)ᵀΩ is nearly as good as the same of W, and
    spares the products that it would take. An array on a device is not compressed, nor one whose
    rows lie apart in memory.

    Cost:
        One pass over W; memory 4·count·columns numbers where W is compressed, up to 16 where that
        is little.

    Reference:
        Halko, Martinsson, Tropp (2011), algorithm 4.4.
    """
    rows, height = W.shape[0], max(ROOM * count, min(4 * ROOM * count, FEW))
    if not _is_laid_out(W) or rows < WORTH * height:
        return W.transposed_times(random_array(rows, count, W.dtype, randomness, W.namespace))
    small = compressed(W, height, randomness)
    start = random_array(len(small), count, W.dtype, randomness, W.namespace)
    rest = (start.T @ small).T
    for turned in (small, small.T):  # each made orthonormal, so that no square hides what is small
        rest = turned @ whitened(rest, W.namespace)[0]
    return rest


def _is_laid_out(W: Matrix) -> TypeGuard[Dense]:
    return isinstance(W, Dense) and W.namespace is HOST and W.array.flags.c_contiguous


def compressed(W: Dense, height: int, randomness: Randomness) -> Array:
    """S·W, of shape (about height, columns): random sums of rows of W, eight of each group.

    Rows i, i + g, i + 2·g, … are a group, so that rows that lie beside one another are in different
    ones, and each adds eight random sums of its rows: no eight rows cancel or hide one another. The
    step g is a random prime, which has no divisor in common with a period that rows may have.

    Cost:
        One pass, 16·rows·columns operations, in products with the groups where they lie.

    Reference:
        Clarkson, Woodruff (2013), STOC, for one sum of each group; with more of them, blocks:
        Nelson, Nguyễn (2013), FOCS.
    """
    (rows, columns), array = W.shape, W.array
    step = _random_prime(height // SUMS, randomness)
    depth = rows // step
    count = step + (1 if rows % step else 0)
    weights = random_array(SUMS * count, depth, W.dtype, randomness, HOST)
    weights = weights.reshape(count, SUMS, depth)
    result = np.empty((count, SUMS, columns), W.dtype)
    groups = array[: step * depth].reshape(depth, step, columns).transpose(1, 0, 2)
    np.matmul(weights[:step], groups, out=result[:step])
    if count > step:  # the rows that make no further row of each group
        left = array[step * depth :]
        rest = random_array(SUMS, len(left), W.dtype, randomness, HOST)
        np.matmul(rest, left, out=result[step])
    W.passes += 1
    return result.reshape(SUMS * count, columns)


def _random_prime(about: int, randomness: Randomness) -> int:
    """A prime between 3/4 and 5/4 of a number, or the next one."""
    drawn = int.from_bytes(randomness.bytes(4), "little")
    low = 3 * about // 4
    number = max(2, low + drawn % max(1, about // 2))
    while any(number % divisor == 0 for divisor in range(2, math.isqrt(number) + 1)):
        number += 1
    return number


def random_array(
    length: int, count: int, dtype: DType, randomness: Randomness, namespace: Namespace
) -> Array:
    """Uniform in 2¹⁶ steps between ±1, none of them 0: as good as normal ones, and cheaper."""
    drawn = np.frombuffer(randomness.bytes(2 * length * count), np.int16)
    steps = drawn.reshape(length, count).astype(dtype)
    return namespace.put((steps + 0.5) / 2**15, dtype)
