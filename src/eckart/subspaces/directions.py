"""Orthonormal directions: from any others, from a compression of W, or the leading ones."""

import math
from typing import Final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType, Randomness, rounding
from eckart.backends import HOST, Namespace, dtype_of
from eckart.matrices import Dense, Matrix
from eckart.matrices.moments import tall_rows
from eckart.matrices.protocol import summed
from eckart.subspaces.bounds import RitzData, eigenpairs

SMALL_COEFFICIENT: Final = 0.1
"""Size of coefficients in V below which unit columns keep their length when projected."""
IDENTITY_DISTANCE: Final = 0.1
"""Distance of a Gram matrix from the identity (1-norm) at which all lengths are near 1."""
MOST_TURNS: Final = 5
"""Most turns; each distinguishes lengths down to √eps of the longest."""


def orthonormal(
    X: Array, V: Array, noise: float, namespace: Namespace = HOST, *, apart: bool = False
) -> Array:
    """Make the columns of X orthonormal to those of V and to one another.

    In each turn X ← X − V(VᵀX), then X ← X·E·Λ^(−½) with XᵀX = E·Λ·Eᵀ. A Gram matrix in float64
    distinguishes directions down to √eps of the longest; the next turn resolves shorter ones, so
    that no square hides them. A direction is dropped once X·c of length 1 needs a c longer than
    1/noise: then it is rounding, and no direction of X. Two turns are enough if the second had
    little to project and to rotate: then no length was lost, and with it no digit. In such a turn a
    Cholesky factor replaces E·Λ^(−½).

    Args:
        X: Array of shape (length, k).
        V: Array of shape (length, width) with orthonormal columns; width may be 0.
        noise: Length up to which a direction is dropped, at least eps of the longest.
        namespace: Namespace of both arrays.
        apart: Whether X is orthogonal to V already; the first projection is then skipped.

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
        Q, turn_by, off = whiten(Q, namespace)
        if turn == 0:
            # columns of E·Λ^(−½) have the length 1/√λ
            longest = 1 / float(np.linalg.norm(turn_by, axis=0).min(initial=np.inf))
            noise = max(noise, float(np.finfo(dtype_of(X)).eps) * longest)
        C = C @ turn_by
        kept = np.linalg.norm(C, axis=0) * noise < 1
        if not kept.all():
            Q, C = Q[:, kept], C[:, kept]
        if turn > 0 and taken <= SMALL_COEFFICIENT and off <= IDENTITY_DISTANCE:
            break
    return Q


def whiten(X: Array, namespace: Namespace) -> tuple[Array, Array, float]:
    """One turn: return X·E·Λ^(−½), E·Λ^(−½), and the distance of XᵀX = E·Λ·Eᵀ from the identity.

    Directions of X longer than √eps of the longest are orthonormal then; shorter ones not yet.
    """
    gram = namespace.gram(X, X)
    off = float(np.abs(gram - np.eye(len(gram))).sum(axis=0).max(initial=0.0))
    if off <= IDENTITY_DISTANCE:
        # near the identity a Cholesky factor is as accurate as eigenvectors, and faster
        half = np.linalg.inv(np.linalg.cholesky(gram)).T
    else:
        squares, E = np.linalg.eigh(gram)
        largest = float(squares[-1]) if len(squares) else 0.0
        # eigenvalues below the rounding of the largest may be 0 or negative
        shown = np.maximum(squares, float(np.finfo(np.float64).eps) * len(squares) * largest)
        half = E / np.sqrt(shown) if largest > 0 else E[:, :0]
    return X @ namespace.put(half, dtype_of(X)), half, off


SUMS_PER_GROUP: Final = 8
"""Number of random sums of each group of rows."""
ROWS_PER_DIRECTION: Final = 4
"""Rows of the compression for each direction that is wanted of it."""
FEW_ROWS: Final = 768
"""Rows up to which a compression is four times taller: its products take little time."""
LEAST_COMPRESSION: Final = 4
"""Least ratio of the rows of W to those of a compression."""


def first_directions(W: Matrix, count: int, randomness: Randomness) -> Array:
    """Return at most `count` directions that hold much of W, of shape (columns, count or fewer).

    They are WᵀΩ with random Ω of shape (rows, count). For a tall dense W it is better to compress
    the rows to about 4·count first: S·W takes one pass and few operations, and its products cost a
    fraction of those with W. (SW)ᵀ(SW)·(SW)ᵀΩ is nearly as good as WᵀW·WᵀΩ, without its products
    with W. Arrays on a device, or whose rows are not contiguous in memory, are not compressed.

    Cost:
        One pass over W; memory 4·count·columns numbers if W is compressed, up to 16·count·columns
        where that is little.

    Reference:
        Halko, Martinsson, Tropp (2011), algorithm 4.4.
    """
    rows, height = W.shape[0], ROWS_PER_DIRECTION * count
    height = max(height, min(4 * height, FEW_ROWS))
    is_short = rows < LEAST_COMPRESSION * height or W.namespace is not HOST
    if is_short or not isinstance(W, Dense) or not W.array.flags.c_contiguous:
        return W.transposed_times(random_array(rows, count, W.dtype, randomness, W.namespace))
    small = compress(W, height, randomness)
    start = random_array(len(small), count, W.dtype, randomness, W.namespace)
    rest = (start.T @ small).T
    # orthonormal before each product, so that no square hides small directions
    for turned in (small, small.T):
        rest = turned @ whiten(rest, W.namespace)[0]
    return rest


def compress(W: Dense, height: int, randomness: Randomness) -> Array:
    """S·W, of shape (about height, columns): random sums of rows of W, eight for each group.

    Rows i, i + g, i + 2·g, … form a group, so that neighbouring rows are in different groups. Each
    group gives eight random sums of its rows: no eight rows cancel or hide one another. The step g
    is a random prime, which has no common divisor with a period that the rows may have.

    Cost:
        One pass, 16·rows·columns operations; the groups are not copied.

    Reference:
        Clarkson, Woodruff (2013), STOC, for one sum of each group; with more of them, blocks:
        Nelson, Nguyễn (2013), FOCS.
    """
    (rows, columns), array = W.shape, W.array
    step = _random_prime(height // SUMS_PER_GROUP, randomness)
    depth = rows // step
    count = step + (1 if rows % step else 0)
    weights = random_array(SUMS_PER_GROUP * count, depth, W.dtype, randomness, HOST)
    weights = weights.reshape(count, SUMS_PER_GROUP, depth)
    result = np.empty((count, SUMS_PER_GROUP, columns), W.dtype)
    # a view: rows i, i + g, i + 2·g, … are a group without a copy
    groups = array[: step * depth].reshape(depth, step, columns).transpose(1, 0, 2)
    np.matmul(weights[:step], groups, out=result[:step])
    if count > step:  # the rows that are too few for one more row of every group
        left = array[step * depth :]
        rest = random_array(SUMS_PER_GROUP, len(left), W.dtype, randomness, HOST)
        np.matmul(rest, left, out=result[step])
    W.passes += 1
    return result.reshape(SUMS_PER_GROUP * count, columns)


def _random_prime(about: int, randomness: Randomness) -> int:
    """Draw a number between 3/4 and 5/4 of another, and return the next prime from it on."""
    drawn = int.from_bytes(randomness.bytes(4), "little")
    low = 3 * about // 4
    number = max(2, low + drawn % max(1, about // 2))
    while any(number % divisor == 0 for divisor in range(2, math.isqrt(number) + 1)):
        number += 1
    return number


def random_array(
    length: int, count: int, dtype: DType, randomness: Randomness, namespace: Namespace
) -> Array:
    """Uniform in 2¹⁶ steps between ±1, none of them 0: as good as normal numbers, and faster."""
    # two random bytes for each number, where a normal one takes eight and more work
    drawn = np.frombuffer(randomness.bytes(2 * length * count), np.int16)
    steps = drawn.reshape(length, count).astype(dtype)
    # + ½ makes the steps symmetric about 0
    return namespace.put((steps + 0.5) / 2**15, dtype)


POWER_COLUMNS = 6
"""Columns of the power iteration: six starts are hardly ever all orthogonal to the leading ones."""
POWER_ITERATIONS = 8
"""Steps of the power iteration."""


def largest_singular_value(W: Matrix) -> float:
    """An estimate σ̂₁ ≤ σ₁(W), from block power iteration with six columns.

    σ̂₁² is the largest Ritz value of WᵀW after eight steps: a lower bound on σ₁², and with six
    columns below 0.8·σ₁² only if the start is nearly orthogonal to every leading direction. The
    random start is fixed, so that the result depends on W alone.

    Cost:
        8 products `gram_times` of width 6; memory 18·columns.

    Example:
        >>> from eckart.matrices import Dense
        >>> round(largest_singular_value(Dense(np.diag([5.0, 1.0]))), 6)
        5.0

    Reference:
        Halko, Martinsson, Tropp (2011), SIAM Review 53(2), algorithm 4.4.
    """
    columns = W.shape[1]
    generator = np.random.Generator(np.random.Philox(0))
    X = generator.standard_normal((columns, min(POWER_COLUMNS, columns)))
    scale = np.sqrt(W.squared_norm())
    if scale == 0:
        return 0.0
    ritz = 0.0
    for _ in range(POWER_ITERATIONS):
        Q = np.linalg.qr(X)[0].astype(W.dtype, copy=False)
        product = W.gram_times(W.namespace.put(Q, W.dtype))
        # divided by ‖W‖, so that squares stay in range
        X = W.namespace.get(product).astype(FLOAT64, copy=False) / scale
        ritz = float(np.linalg.eigvalsh(Q.T.astype(FLOAT64) @ X)[-1]) * scale
    return float(np.sqrt(max(ritz, 0.0)))


SHARP_EPS: Final = 30
"""Ritz values above this many eps·λ₁ are accurate enough to divide by."""
EPS_ROOT: Final = math.sqrt(float(np.finfo(FLOAT64).eps))
"""Error of the shortest length, as a share of the longest, if both are roots of eigenvalues."""


def leading_directions(
    evidence: RitzData, rest: Array, rank: int, W: Matrix
) -> tuple[Array, Array]:
    """Orthonormal rows A near the leading right singular vectors of W, and lower bounds on σ².

    From WᵀW·V = V·H + R·L, with R the orthonormal columns of the rest, they are the leading
    eigenvectors of the Nyström approximation

        (WᵀW·V)·H⁻¹·(WᵀW·V)ᵀ = [V R]·[[H, Lᵀ], [L, L·H⁻¹·Lᵀ]]·[V R]ᵀ  ≼  WᵀW,

    the best approximation from the products already made, half a step ahead of the Ritz vectors of
    V.

    Rows of zeros fill A if W has no more directions. The entry of largest size in each row is
    positive; the bounds are in float64, descending. `rest` is the residual of the last block.

    Cost:
        2·columns·(width + block)·rank operations and an eigenvalue problem of width + block.

    Reference:
        Halko, Martinsson, Tropp (2011), SIAM Review 53(2), section 5.4; Tropp, Webber (2023),
        arXiv 2306.12418, algorithm RBKI with a Nyström approximation.
    """
    values, G = evidence.ritz()
    largest = float(values[0])
    squares, E = np.linalg.eigh(evidence.rest)
    least = rounding(W.shape, W.dtype) * largest
    # shorter directions of the rest are rounding, and orthonormalising would enlarge them
    kept = squares > least**2
    lengths, E = np.sqrt(squares[kept]), E[:, kept]
    L = lengths[:, np.newaxis] * (E.T @ evidence.tail) @ G  # in coordinates of Ritz vectors
    sharp = values > SHARP_EPS * float(np.finfo(W.dtype).eps) * largest
    corner = (L[:, sharp] / values[sharp]) @ L[:, sharp].T
    found, P = eigenpairs(np.block([[np.diag(values), L.T], [L, corner]]))
    found, P = found[:rank], P[:, :rank]
    put, width = W.namespace.put, len(values)
    A = put(G @ P[:width], W.dtype).T @ evidence.V.T
    if kept.any():
        outside = put((E / lengths) @ P[width:], W.dtype)
        A = A + outside.T @ rest.T
        # L has the rounding of W, and of lengths that are known from their squares
        doubt = float(np.finfo(W.dtype).eps) * largest + EPS_ROOT * float(lengths[-1])
        noise = 2 * doubt * np.linalg.norm(P[width:], axis=0)
        ritz = np.pad(values, (0, max(0, rank - width)))[: len(found)]
        # what is no more than that says nothing, and a Ritz value is a bound without it
        found = np.sort(np.where(found - ritz > noise, found, ritz))[::-1]
    bounds = np.pad(found.astype(FLOAT64), (0, rank - len(found)))
    return directed(_polish(A, W), W.namespace), np.maximum(bounds, 0.0)


def ritz_by_blocks(W: Matrix, V: Array) -> tuple[Array, Array]:
    """The squared singular values of W·V and its right singular vectors, with error eps·σ₁ in σ.

    With W·V = Q·R, updated by one block of rows after the other in float64, they come from the
    singular value decomposition of R: nothing is squared, and W·V is not kept. One pass.
    """
    _, S, Vt = np.linalg.svd(summed(W, _triangle, V, add=_stacked))
    return np.pad(np.square(S), (0, V.shape[1] - len(S))), Vt.T


def _triangle(W: Matrix, V: Array) -> Array:
    """R of W·V = Q·R, in float64."""
    get, R = W.namespace.get, np.zeros((0, V.shape[1]))
    for block in W.row_blocks(tall_rows(W.shape[1])):
        R = _stacked(R, get(block @ V).astype(FLOAT64))
    return R


def _stacked(R: Array, below: Array) -> Array:
    """The R of stacked blocks of rows, which is that of their R (TSQR), so that no Q is kept."""
    return np.asarray(np.linalg.qr(np.vstack([R, below]), mode="r"))


def directed(A: Array, namespace: Namespace) -> Array:
    """Change the signs of the rows so that the entry of largest size in each is positive."""
    host = namespace.get(A)
    places = np.abs(host).argmax(axis=1)
    signs = np.where(host[np.arange(len(host)), places] < 0, -1.0, 1.0)
    return A * namespace.put(signs[:, np.newaxis], host.dtype)


def _polish(A: Array, W: Matrix) -> Array:
    """Make nearly orthonormal rows orthonormal to rounding, one after the other (Cholesky)."""
    gram = W.namespace.gram(A.T, A.T)
    try:
        # a lower triangle: row i changes by rows above it only, so the order stays
        inverse = np.linalg.inv(np.linalg.cholesky(gram))
    except np.linalg.LinAlgError:
        return A
    return W.namespace.put(inverse, W.dtype) @ A
