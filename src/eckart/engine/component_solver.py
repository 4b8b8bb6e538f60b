"""The choice of a solver for components, and the refinement of directions lost to squaring."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array, Randomness, rounding
from eckart.engine.loop import LoopResult
from eckart.matrices import Matrix, Sparse, Standardised, Streamed, is_streamed
from eckart.matrices.distributed import Distributed
from eckart.matrices.moments import tall_rows
from eckart.matrices.protocol import summed
from eckart.matrices.sketches import gaussian_probes
from eckart.ranks import GrowingRule, RankRule, tail_errors
from eckart.solvers import BlockKrylov, Davidson, ExactSVD, GramSVD, Problem, Solver
from eckart.solvers.gram import ACCURATE_EPS
from eckart.subspaces import PowerProbes, directed, hidden, ritz_by_blocks
from eckart.subspaces.bounds import eigenpairs
from eckart.subspaces.directions import orthonormal

EXACT_OPERATIONS: Final = 10**9
"""Largest rows·columns·min(rows, columns) for which LAPACK decomposes all of W."""
GRAM_BLOCKS: Final = 8
"""Number of columns, in widths of a Krylov block, up to which WᵀW takes no longer than a space."""
GRAM_OPERATIONS: Final = 3 * 10**11
"""Largest rows·columns·min(rows, columns), and 4·min(rows, columns)³, for which a Gram matrix
replaces an iteration that did not separate the directions: some ten seconds."""
REPLACED_STEPS: Final = 24
"""Most steps of an iteration that a Gram matrix can replace."""
DEFAULT_RESIDUALS: Final = {FLOAT32: 3e-4, FLOAT64: 1e-8}
"""Default residual ‖WᵀWv − σ²v‖/σ² of every component v: the error of its variance is then the
square of that over the gap to the next."""
SPACE_MEMORY_SHARE: Final = 0.25
"""Share of the memory of a streamed matrix for the space, beside its blocks of rows."""
ROWS_PER_SAMPLE: Final = 32
"""Number of rows for each row of the sample whose leading directions start an iteration."""
RANDOM_COLUMNS: Final = 8
"""Number of random directions in the first block, in case the sample misses something."""
CLEAR_ROUNDINGS: Final = 1000.0
"""Squared error, in rounding errors of ‖W‖², above which ‖W‖² and the σ² give it accurately."""
SQUARED_ROUNDINGS: Final = 30.0
"""Error, in parts that squaring may leave, above which they add less than a thousandth to it."""
LOST_SHARE: Final = {FLOAT32: 1e-8, FLOAT64: 1e-4}
"""Share of the largest σ² below which σ² lost so much to squaring that they are computed again
from products with W itself."""


def component_solver(
    W: Matrix,
    rank: int,
    residual: float | None = None,
    *,
    searched: bool = False,
    certificate: bool = True,
) -> Solver:
    """Choose the solver for the components of W, by its shape and its kind.

    `searched` tells that the rank is a guess, and a rule is to find it.
    """
    rows, columns = W.shape
    if isinstance(W, Standardised) and isinstance(W.source, Streamed | Distributed):
        # WᵀW came with the pass for the means, so that nothing is left to read
        if W.moments.gram is not None:
            return GramSVD()
        memory = int(SPACE_MEMORY_SHARE * W.source.memory)
        return BlockKrylov(residual=residual, tall=False, memory=memory)
    if rows * columns * min(W.shape) <= EXACT_OPERATIONS:
        return ExactSVD()
    wanted = residual or DEFAULT_RESIDUALS[W.dtype]
    krylov = BlockKrylov(residual=wanted, tall=False)
    if suits_gram(W):
        krylov = replace(krylov, blocks=REPLACED_STEPS)
    if isinstance(W, Standardised) and isinstance(W.source, Sparse):
        return krylov
    if rows >= columns and columns <= GRAM_BLOCKS * krylov.width(W, rank):
        return GramSVD()
    if not searched and isinstance(W, Standardised) and W.has_rows and Davidson.suits(W, rank):
        return Davidson(residual=wanted, probe=not certificate)
    return krylov


def is_lighter_turned(W: Matrix) -> bool:
    """Whether the transpose is better: for a sparse W with fewer rows than columns.

    Products cost the same from either side; all other work grows with the length of the vectors.
    """
    is_sparse = isinstance(W, Standardised) and isinstance(W.source, Sparse)
    rows, columns = W.shape
    return is_sparse and rows < columns and rows * columns * rows > EXACT_OPERATIONS


def suits_gram(W: Matrix) -> bool:
    """Whether W is in memory and the Gram matrix of its shorter side takes only seconds."""
    rows, columns = W.shape
    shorter = min(W.shape)
    return not is_streamed(W) and shorter * max(rows * columns, 4 * shorter**2) <= GRAM_OPERATIONS


def component_problem(
    W: Matrix, rank: int, rule: RankRule, solver: Solver, randomness: Randomness
) -> Problem:
    """Return the problem for the solver, with sampled directions, and probes of a streamed W."""
    growing = rule if isinstance(rule, GrowingRule) else None
    if isinstance(solver, ExactSVD):
        # all directions, because the rule chooses only after the decomposition
        return Problem(W=W, rank=min(W.shape) if rule.needs_spectrum else rank, start=None)
    problem = Problem(W=W, rank=rank, start=None, rule=growing, randomness=randomness)
    if not isinstance(solver, BlockKrylov) or not isinstance(W, Standardised):
        return problem
    first, probed, probes = W.moments.first, W.moments.probed, None
    if first is None and growing is None:
        first = sample_directions(W, solver.width(W, rank), randomness)
    if is_streamed(W):
        # the moments may contain the first product of the probes
        drawn = gaussian_probes(W.shape[1], W.dtype) if probed is None else probed
        probes = PowerProbes(drawn, 0 if probed is None else 1)
    return replace(problem, first=first, probes=probes)


def sample_directions(W: Standardised, width: int, randomness: Randomness) -> Array | None:
    """Directions near the leading ones of a sample of rows; None if there are too few rows."""
    count = W.shape[0] // ROWS_PER_SAMPLE
    if count < 4 * width or width <= RANDOM_COLUMNS or not W.has_rows:
        return None
    few = W.few_rows(count, randomness)
    drawn = np.asarray(randomness.standard_normal((W.shape[1], width)))
    X = drawn[:, RANDOM_COLUMNS:].astype(W.dtype)
    for _ in range(2):
        # orthonormal after each product, so that the columns stay independent
        X = np.linalg.qr(few.transposed_times(few.times(X)))[0]
    return np.hstack([X, drawn[:, :RANDOM_COLUMNS].astype(W.dtype) / math.sqrt(W.shape[1])])


def refine(W: Matrix, side: Matrix, ending: LoopResult) -> tuple[Array, Array, float]:
    """Orthonormal rows A, their σ² and ‖W − W·Aᵀ·A‖, as accurate as products with W allow.

    `side` is the matrix of the solver: W, or its transpose.

    Cost:
        None if squaring lost nothing; otherwise a pass over W for each quantity computed again.
    """
    assert ending.step.directions is not None
    A, squares = (
        ending.step.directions() if side is W else _right_directions(W, ending.step.directions()[0])
    )
    A, squares = A[: ending.rank], squares[: ending.rank]
    if ending.step.singular_values is not None:
        errors = tail_errors(ending.step.singular_values)
        return A, squares, float(errors[min(len(squares), len(errors) - 1)])
    if squares[-1] < LOST_SHARE[W.dtype] * squares[0]:
        space = A
        if side is W and ending.step.evidence is not None:
            # A may be half a step ahead of the space, so it is no part of V
            both = W.namespace.concatenate([ending.step.evidence().V.T, A])
            space = W.namespace.qr(both.T)[0].T
        A, squares = _ritz_rows(W, space, len(A))
    error = _error(W, A, squares)
    least = rounding(W.shape, W.dtype) * math.sqrt(W.squared_norm())
    # above rounding, but it may come from the squaring of W in WᵀW
    largest = (SQUARED_ROUNDINGS * least) ** 2 * squares[0]
    if least < error and error**2 * squares[-1] <= largest:
        A, squares = _half_step(W, A, squares)
        error = _error(W, A, squares)
    return A, squares, error


def hides(squares: Array, W: Matrix) -> bool:
    """Whether rounding of the largest σ² is a noticeable part of the smallest that is kept."""
    return bool(squares[-1] < ACCURATE_EPS * float(np.finfo(W.dtype).eps) * squares[0])


def _error(W: Matrix, A: Array, squares: Array) -> float:
    """‖W − W·Aᵀ·A‖, from the σ² that are kept if they are accurate, else block by block."""
    left = W.squared_norm() - float(squares.sum())
    if left > CLEAR_ROUNDINGS * hidden(W):
        return math.sqrt(left)
    return math.sqrt(summed(W, _squares_left, A))


def _squares_left(W: Matrix, A: Array) -> float:
    """‖W − W·Aᵀ·A‖²."""
    get, total = W.namespace.get, 0.0
    for block in W.row_blocks():
        total += float(np.square(get(block - (block @ A.T) @ A), dtype=FLOAT64).sum())
    return total


def _ritz_rows(W: Matrix, space: Array, rank: int) -> tuple[Array, Array]:
    """The best `rank` orthonormal rows in the span of `space`, and their σ². One pass."""
    values, G = ritz_by_blocks(W, space.T)
    rows = W.namespace.put(G[:, :rank].T, W.dtype) @ space
    return directed(rows, W.namespace), values[:rank]


def _half_step(W: Matrix, A: Array, squares: Array) -> tuple[Array, Array]:
    """Orthonormal rows whose error is at most that of A, plus eps·‖W‖, and their σ².

    They span the rows of QᵀW with Q = W·Aᵀ·diag(1/σ), whose columns are orthonormal if the rows of
    A are Ritz vectors. Rows from WᵀW have an error of up to eps·σ₁²/σ_i in each σ_i; these have one
    of eps·σ₁, because every row of QᵀW has its own size and its decomposition is backward stable.
    Two passes, and no array as tall as W.
    """
    get, kept = W.namespace.get, squares > 0
    scaled = W.namespace.put((get(A[kept]) / np.sqrt(squares[kept, np.newaxis])).T, W.dtype)
    Vt = np.linalg.svd(summed(W, _projected_rows, scaled), full_matrices=False)[2]
    rows = np.pad(Vt, ((0, len(A) - len(Vt)), (0, 0)))
    return _ritz_rows(W, W.namespace.put(rows, W.dtype), len(A))


def _projected_rows(W: Matrix, X: Array) -> Array:
    """(W·X)ᵀ·W in float64."""
    total = np.zeros((X.shape[1], W.shape[1]))
    for block in W.row_blocks(tall_rows(W.shape[1])):
        total += W.namespace.get((block @ X).T @ block)
    return total


def _right_directions(W: Matrix, U: Array) -> tuple[Array, Array]:
    """Right singular directions from left ones, by two products and a small eigenvalue problem."""
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
