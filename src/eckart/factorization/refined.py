"""Right singular directions made again from products with W itself, where squares lost them."""

import math
from typing import Final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array, rounding
from eckart.factorization.stopping import Ending
from eckart.matrices import Matrix
from eckart.matrices.moments import tall_rows
from eckart.ranks import tail_errors
from eckart.solvers.gram import TOLD
from eckart.subspaces import directed, hidden, ritz_by_blocks
from eckart.subspaces.bounds import eigenpairs
from eckart.subspaces.orthonormal import orthonormal

CLEAR: Final = 1000.0
"""An error whose square is so many times what rounding hides is known from ‖W‖² and the σ²."""
PART: Final = 30.0
"""An error so many times what may be left is above the best by less than a thousandth for it."""
LOST: Final = {FLOAT32: 1e-8, FLOAT64: 1e-4}
"""σ² below these shares of the largest have lost so much to squaring that they are made again from
products with W itself."""


def refined(W: Matrix, side: Matrix, ending: Ending) -> tuple[Array, Array, float]:
    """Orthonormal rows A, their σ² and ‖W − W·Aᵀ·A‖, as exact as products with W make them.

    Args:
        W: The matrix.
        side: What the solver was given: W, or its transpose.
        ending: Of the solver, with directions.

    Cost:
        None where squares hide nothing; else a pass for each thing that is made again.
    """
    assert ending.directions is not None
    A, squares = ending.directions() if side is W else _turned(W, ending.directions()[0])
    A, squares = A[: ending.rank], squares[: ending.rank]
    if ending.singular_values is not None:
        errors = tail_errors(ending.singular_values)
        return A, squares, float(errors[min(len(squares), len(errors) - 1)])
    if squares[-1] < LOST[W.dtype] * squares[0]:
        space = _with_space(A, ending, W) if side is W else A
        A, squares = _ritz_rows(W, space, len(A))
    error = _error(W, A, squares)
    if _is_from_squares(error, squares, W):
        A, squares = _half_step(W, A, squares)
        error = _error(W, A, squares)
    return A, squares, error


def hides(squares: Array, W: Matrix) -> bool:
    """Whether rounding of the largest σ² is no small part of the least that is kept."""
    return bool(squares[-1] < TOLD * float(np.finfo(W.dtype).eps) * squares[0])


def _error(W: Matrix, A: Array, squares: Array) -> float:
    """‖W − W·Aᵀ·A‖, from the σ² that are kept where these tell, else block by block."""
    left = W.squared_norm() - float(squares.sum())
    if left > CLEAR * hidden(W):
        return math.sqrt(left)
    get, total = W.namespace.get, 0.0
    for block in W.row_blocks():
        total += float(np.square(get(block - (block @ A.T) @ A), dtype=FLOAT64).sum())
    return math.sqrt(total)


def _is_from_squares(error: float, squares: Array, W: Matrix) -> bool:
    """Whether an error is above rounding, and no more than a few times what squares may leave."""
    least = rounding(W.shape, W.dtype) * math.sqrt(W.squared_norm())
    return least < error and error**2 * squares[-1] <= (PART * least) ** 2 * squares[0]


def _with_space(A: Array, ending: Ending, W: Matrix) -> Array:
    """Orthonormal rows that span those of A and the space that the solver found them in."""
    if ending.evidence is None:
        return A
    both = W.namespace.concatenate([ending.evidence().V.T, A])
    return W.namespace.qr(both.T)[0].T


def _ritz_rows(W: Matrix, space: Array, rank: int) -> tuple[Array, Array]:
    """The best `rank` orthonormal rows in the span of some, and their σ². One pass."""
    values, G = ritz_by_blocks(W, space.T)
    rows = W.namespace.put(G[:, :rank].T, W.dtype) @ space
    return directed(rows, W.namespace), values[:rank]


def _half_step(W: Matrix, A: Array, squares: Array) -> tuple[Array, Array]:
    """Orthonormal rows that leave of W no more than A's do, but for eps·‖W‖, and their σ².

    With Q = W·Aᵀ·diag(1/σ), whose columns are orthonormal where A's rows are Ritz vectors, they
    span the rows of QᵀW. Rows made of WᵀW leave up to eps·σ₁²/σ_i of each σ_i; these leave eps·σ₁,
    as every row of QᵀW is of its own size and its decomposition is backward stable. Two passes, and
    nothing as tall as W.
    """
    get, kept = W.namespace.get, squares > 0
    scaled = W.namespace.put((get(A[kept]) / np.sqrt(squares[kept, np.newaxis])).T, W.dtype)
    total = np.zeros((int(kept.sum()), W.shape[1]))
    for block in W.row_blocks(tall_rows(W.shape[1])):
        total += get((block @ scaled).T @ block)
    Vt = np.linalg.svd(total, full_matrices=False)[2]
    rows = np.pad(Vt, ((0, len(A) - len(Vt)), (0, 0)))
    return _ritz_rows(W, W.namespace.put(rows, W.dtype), len(A))


def _turned(W: Matrix, U: Array) -> tuple[Array, Array]:
    """Right singular directions from left ones, by two products and a small problem."""
    product = W.transposed_times(U.T)
    A = orthonormal(product, product[:, :0], 0.0, W.namespace)
    product = W.times(A)
    values, G = eigenpairs(W.namespace.gram(product, product))
    missing = len(U) - len(values)
    rows = np.pad(W.namespace.get(A) @ G, ((0, 0), (0, missing))).T
    return (
        directed(W.namespace.put(rows, W.dtype), W.namespace),
        np.pad(np.maximum(values, 0.0), (0, missing)),
    )
