"""The leading right singular vectors of W from a subspace, and σ₁ from a few products."""

from typing import Final

import numpy as np

from eckart.arrays import FLOAT64, Array, rounding
from eckart.backends import Namespace
from eckart.matrices import Matrix
from eckart.matrices.moments import tall_rows
from eckart.subspaces.bounds import RitzData, eigenpairs

COLUMNS = 6
"""Columns of the power iteration: six starts are hardly ever all orthogonal to the leading ones."""
ITERATIONS = 8
"""Steps of the power iteration."""


def largest_singular_value(W: Matrix) -> float:
    """An estimate σ̂₁ ≤ σ₁(W), from block power iteration with six columns.

    σ̂₁² is the largest Ritz value of WᵀW after eight steps: a lower bound on σ₁², and with six
    columns below 0.8·σ₁² only if the start is nearly orthogonal to every leading direction. The
    random start is fixed, so that the result depends on W alone.

    Args:
        W: Matrix of shape (rows, columns).

    Returns:
        The estimate; 0 for a matrix of zeros.

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
    X = generator.standard_normal((columns, min(COLUMNS, columns)))
    scale = np.sqrt(W.squared_norm())
    if scale == 0:
        return 0.0
    ritz = 0.0
    for _ in range(ITERATIONS):
        Q = np.linalg.qr(X)[0].astype(W.dtype, copy=False)
        product = W.gram_times(W.namespace.put(Q, W.dtype))
        # divided by ‖W‖, so that squares stay in range
        X = W.namespace.get(product).astype(FLOAT64, copy=False) / scale
        ritz = float(np.linalg.eigvalsh(Q.T.astype(FLOAT64) @ X)[-1]) * scale
    return float(np.sqrt(max(ritz, 0.0)))


SHARP: Final = 30
"""Ritz values above this many eps·λ₁ are accurate enough to divide by."""


def leading_directions(
    evidence: RitzData, rest: Array, rank: int, W: Matrix
) -> tuple[Array, Array]:
    """Orthonormal rows A near the leading right singular vectors of W, and lower bounds on σ².

    From WᵀW·V = V·H + R·L, with R the orthonormal columns of the rest, they are the leading
    eigenvectors of the Nyström approximation

        (WᵀW·V)·H⁻¹·(WᵀW·V)ᵀ = [V R]·[[H, Lᵀ], [L, L·H⁻¹·Lᵀ]]·[V R]ᵀ  ≼  WᵀW,

    the best approximation from the products already made, half a step ahead of the Ritz vectors of
    V.

    Args:
        evidence: V, H and the tail of a Krylov space.
        rest: Residual of its last block, of shape (columns, block).
        rank: Number of rows of A.
        W: The matrix.

    Returns:
        A of shape (rank, columns), with rows of zeros if W has no more directions, and `rank`
        values in float64, descending. The entry of largest size in each row is positive.

    Cost:
        2·columns·(width + block)·rank operations and an eigenvalue problem of width + block.

    Reference:
        Halko, Martinsson, Tropp (2011), SIAM Review 53(2), section 5.4; Tropp, Webber (2023),
        arXiv 2306.12418, algorithm RBKI with a Nyström approximation.
    """
    values, G = evidence.ritz()
    largest = float(values[0])
    squares, E = np.linalg.eigh(evidence.rest)
    noise = rounding(W.shape, W.dtype) * largest
    # shorter directions of the rest are rounding, and orthonormalising would enlarge them
    kept = squares > noise**2
    lengths, E = np.sqrt(squares[kept]), E[:, kept]
    L = lengths[:, np.newaxis] * (E.T @ evidence.tail) @ G  # in coordinates of Ritz vectors
    sharp = values > SHARP * float(np.finfo(W.dtype).eps) * largest
    corner = (L[:, sharp] / values[sharp]) @ L[:, sharp].T
    found, P = eigenpairs(np.block([[np.diag(values), L.T], [L, corner]]))
    found, P = found[:rank], P[:, :rank]
    put, width = W.namespace.put, len(values)
    A = put(G @ P[:width], W.dtype).T @ evidence.V.T
    if kept.any():
        outside = put((E / lengths) @ P[width:], W.dtype)
        A = A + outside.T @ rest.T
    return directed(_polished(A, W), W.namespace), np.maximum(_padded(found, rank), 0.0)


def ritz_by_blocks(W: Matrix, V: Array) -> tuple[Array, Array]:
    """The squared singular values of W·V and its right singular vectors, with error eps·σ₁ in σ.

    With W·V = Q·R, updated by one block of rows after the other in float64, they come from the
    singular value decomposition of R: nothing is squared, and W·V is not kept. One pass.
    """
    get, R = W.namespace.get, np.zeros((0, V.shape[1]))
    for block in W.row_blocks(tall_rows(W.shape[1])):
        # the R of stacked blocks is the R of W·V (TSQR), so no Q is kept
        R = np.linalg.qr(np.vstack([R, get(block @ V).astype(FLOAT64)]), mode="r")
    _, S, Vt = np.linalg.svd(R)
    return np.pad(np.square(S), (0, V.shape[1] - len(S))), Vt.T


def directed(A: Array, namespace: Namespace) -> Array:
    """Change the signs of the rows so that the entry of largest size in each is positive."""
    host = namespace.get(A)
    places = np.abs(host).argmax(axis=1)
    signs = np.where(host[np.arange(len(host)), places] < 0, -1.0, 1.0)
    return A * namespace.put(signs[:, np.newaxis], host.dtype)


def _polished(A: Array, W: Matrix) -> Array:
    """Make nearly orthonormal rows orthonormal to rounding, one after the other (Cholesky)."""
    gram = W.namespace.gram(A.T, A.T)
    try:
        # a lower triangle: row i changes by rows above it only, so the order stays
        inverse = np.linalg.inv(np.linalg.cholesky(gram))
    except np.linalg.LinAlgError:
        return A
    return W.namespace.put(inverse, W.dtype) @ A


def _padded(values: Array, rank: int) -> Array:
    return np.pad(values.astype(FLOAT64), (0, rank - len(values)))
