"""Which solver finds the components of a matrix, and the problem it is given."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array, Randomness
from eckart.matrices import Matrix, Sparse, Standardised, Streamed, is_streamed
from eckart.matrices.sketching import gaussian_probes
from eckart.ranks import GrowingRule, RankRule
from eckart.solvers import BlockKrylov, Davidson, ExactSVD, GramSVD, Problem, Solver
from eckart.subspaces import PowerProbes

EXACT_WORK: Final = 10**9
"""rows·columns·min(rows, columns) up to which LAPACK decomposes all of W."""
BLOCKS_OF_A_GRAM: Final = 8
"""WᵀW of a matrix up to so many times as wide as a block of a Krylov space takes no longer."""
GRAM_WORK: Final = 3 * 10**11
"""rows·columns·min(rows, columns), and min(rows, columns)³ four times, up to which a Gram matrix is
made where an iteration did not tell the directions apart: some ten seconds."""
FEW_STEPS: Final = 24
"""Of an iteration in whose place a Gram matrix can be made."""
RESIDUALS: Final = {FLOAT32: 3e-4, FLOAT64: 1e-8}
"""‖WᵀWv − σ²v‖/σ² of every component v that is kept, unless another is asked for: its variance is
then right to the square of that over the gap to the next."""
GUESS: Final = 32
FOR_THE_SPACE: Final = 0.25
"""Of the memory that a streamed matrix may take, beside its blocks of rows."""
SAMPLED: Final = 32
"""A run may begin with the leading directions of one row in so many."""
UNSAMPLED: Final = 8
"""Directions of the first block that are drawn at random, in case the sample misses something."""


def component_solver(
    W: Matrix,
    rank: int,
    residual: float | None = None,
    *,
    searched: bool = False,
    certificate: bool = True,
) -> Solver:
    """The solver for the components of W, by its shape and where it is.

    Args:
        W: The matrix.
        rank: How many are wanted.
        residual: As for `components`.
        searched: Whether the rank is a guess, and a rule is to find it.
        certificate: As for `components`.

    Example:
        >>> from eckart.matrices import Dense
        >>> component_solver(Dense(np.eye(4)), 2)
        ExactSVD()
    """
    rows, columns = W.shape
    streamed = isinstance(W, Standardised) and isinstance(W.source, Streamed)
    if streamed and isinstance(W, Standardised) and W.moments.gram is not None:
        return GramSVD()
    if not streamed and rows * columns * min(W.shape) <= EXACT_WORK:
        return ExactSVD()
    if isinstance(W, Standardised) and isinstance(W.source, Streamed):
        memory = int(FOR_THE_SPACE * W.source.memory)
        return BlockKrylov(residual=residual, tall=False, memory=memory)
    wanted = residual or RESIDUALS[W.dtype]
    krylov = BlockKrylov(residual=wanted, tall=False)
    if suits_gram(W):
        krylov = replace(krylov, blocks=FEW_STEPS)
    if isinstance(W, Standardised) and isinstance(W.source, Sparse):
        return krylov
    if rows >= columns and columns <= BLOCKS_OF_A_GRAM * krylov.width(W, rank):
        return GramSVD()
    if not searched and isinstance(W, Standardised) and W.has_rows and Davidson.suits(W, rank):
        return Davidson(residual=wanted, probe=not certificate)
    return krylov


def is_lighter_turned(W: Matrix) -> bool:
    """Whether the space is better made of the rows' side: of a sparse W that has few of them.

    Its products cost the same from either side, and all else as much as the side is long.
    """
    is_sparse = isinstance(W, Standardised) and isinstance(W.source, Sparse)
    rows, columns = W.shape
    return is_sparse and rows < columns and rows * columns * rows > EXACT_WORK


def suits_gram(W: Matrix) -> bool:
    """Whether the Gram matrix of the shorter side of W is a matter of seconds; W is in memory."""
    rows, columns = W.shape
    shorter = min(W.shape)
    return not is_streamed(W) and shorter * max(rows * columns, 4 * shorter**2) <= GRAM_WORK


def component_problem(
    W: Matrix, rank: int, rule: RankRule, solver: Solver, randomness: Randomness
) -> Problem:
    """What the solver is given: directions of a sample to begin at, and probes of a streamed W."""
    growing = rule if rule.needs_spectrum and isinstance(rule, GrowingRule) else None
    if isinstance(solver, ExactSVD):
        return Problem(W=W, rank=min(W.shape) if rule.needs_spectrum else rank, start=None)
    first, probes = None, None
    if isinstance(solver, BlockKrylov) and isinstance(W, Standardised):
        first = W.moments.first
        if first is None and growing is None:
            first = sampled(W, solver.width(W, rank), randomness)
        probes = _probes(W) if is_streamed(W) else None
    return Problem(
        W=W,
        rank=rank,
        start=None,
        rule=growing,
        randomness=randomness,
        first=first,
        probes=probes,
    )


def _probes(W: Standardised) -> PowerProbes:
    """Probes of a streamed W, with their first product where the moments brought it."""
    probed = W.moments.probed
    if probed is not None:
        return PowerProbes(probed, 1)
    return PowerProbes(gaussian_probes(W.shape[1], W.dtype))


def sampled(W: Standardised, width: int, randomness: Randomness) -> Array | None:
    """Directions near the leading ones of a few of the rows; None where there are too few rows."""
    count = W.shape[0] // SAMPLED
    if count < 4 * width or width <= UNSAMPLED or not W.has_rows:
        return None
    few = W.few_rows(count, randomness)
    drawn = np.asarray(randomness.standard_normal((W.shape[1], width)))
    X = drawn[:, UNSAMPLED:].astype(W.dtype)
    for _ in range(2):
        X = np.linalg.qr(few.transposed_times(few.times(X)))[0]
    return np.hstack([X, drawn[:, :UNSAMPLED].astype(W.dtype) / math.sqrt(W.shape[1])])
