"""Orthonormal columns with deflation, and the first directions, of a small compression of W."""

import math
from typing import Final, TypeGuard

import numpy as np

from eckart.arrays import Array, DType, Randomness
from eckart.backends import HOST, Namespace, dtype_of
from eckart.matrices import Dense, Matrix

LITTLE: Final = 0.1
"""Unit columns with coefficients in V below this keep their length when these are taken off."""
NEARLY: Final = 0.1
"""Sums of absolute values off the identity up to this leave every direction a length near 1."""
MOST_TURNS: Final = 5
"""Each turn tells lengths apart down to √eps of the longest."""


def orthonormal(
    X: Array, V: Array, noise: float, namespace: Namespace = HOST, *, apart: bool = False
) -> Array:
    """The columns of X made orthonormal to those of V and to one another.

    In each turn X ← X − V(VᵀX), then X ← X·E·Λ^(−½) with XᵀX = E·Λ·Eᵀ. A Gram matrix in float64
    tells directions apart down to √eps of the longest; shorter ones are told by the next turn, so
    that no square hides them. A direction is dropped once X·c of length 1 takes a c longer than
    1/noise: then it is rounding, and no direction of X. Two turns are enough where the second had
    little left to take off and to turn: then no length was lost, and with it no digit. It takes the
    factor of Cholesky for E·Λ^(−½).

    Args:
        X: Array of shape (length, k).
        V: Array of shape (length, width) with orthonormal columns; width may be 0.
        noise: Length up to which a direction is dropped, at least eps of the longest.
        namespace: Where both live.
        apart: Whether X was projected already, to rounding; the first turn then spares that.

    Returns:
        The orthonormal columns, of shape (length, at most k).

    Cost:
        8·length·width·k + 8·length·k² operations, all in matrix products; several times faster
        than Householder's QR for a thin X.

    Example:
        >>> X = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1e-20]])
        >>> orthonormal(X, np.zeros((3, 0)), noise=1e-12).shape
        (3, 1)

    Reference:
        Stathopoulos, Wu (2002), SIAM Journal on Scientific Computing 23(6), algorithm SVQB;
        Yamamoto et al. (2015), ETNA 44, algorithm CholeskyQR2.
    """
    Q, C = X, np.eye(X.shape[1])
    for turn in range(MOST_TURNS):
        taken = 0.0
        if turn > 0 or not apart:
            P = V.T @ Q
            Q = Q - V @ P
            taken = float(np.abs(namespace.get(P)).max(initial=0.0))
        Q, turn_by, off = whitened(Q, namespace)
        if turn == 0:
            longest = 1 / float(np.linalg.norm(turn_by, axis=0).min(initial=np.inf))
            noise = max(noise, float(np.finfo(dtype_of(X)).eps) * longest)
        C = C @ turn_by
        kept = np.linalg.norm(C, axis=0) * noise < 1
        if not kept.all():
            Q, C = Q[:, kept], C[:, kept]
        if turn > 0 and taken <= LITTLE and off <= NEARLY:
            break
    return Q


def whitened(X: Array, namespace: Namespace) -> tuple[Array, Array, float]:
    """X·E·Λ^(−½), E·Λ^(−½), and how far XᵀX = E·Λ·Eᵀ was from the identity: one turn.

    Columns of X that are longer than √eps of the longest are orthonormal then, shorter not yet.
    """
    gram = namespace.gram(X, X)
    off = float(np.abs(gram - np.eye(len(gram))).sum(axis=0).max(initial=0.0))
    if off <= NEARLY:
        half = np.linalg.inv(np.linalg.cholesky(gram)).T
    else:
        squares, E = np.linalg.eigh(gram)
        largest = float(squares[-1]) if len(squares) else 0.0
        shown = np.maximum(squares, float(np.finfo(np.float64).eps) * len(squares) * largest)
        half = E / np.sqrt(shown) if largest > 0 else E[:, :0]
    return X @ namespace.put(half, dtype_of(X)), half, off


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
