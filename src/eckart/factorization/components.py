"""The leading right singular directions of W alone: what a reduction keeps."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array, Randomness, as_randomness, rounding
from eckart.certificates import (
    Certificate,
    clearest_bound,
    exact_bound,
    probable_bound,
)
from eckart.factorization.loop import Loop
from eckart.factorization.outcome import Outcome
from eckart.factorization.result import Recipe, Record, machine
from eckart.factorization.stopping import Ending, Watch
from eckart.matrices import Matrix, Sparse, Standardised, Streamed, Transposed, is_streamed
from eckart.matrices.sketching import gaussian_probes
from eckart.ranks import GrowingRule, RankRule, rank_rule, tail_errors
from eckart.solvers import BlockKrylov, Davidson, ExactSVD, GramSVD, Problem, Solver, Step
from eckart.subspaces import (
    Evidence,
    PowerProbes,
    Probing,
    directed,
    hidden,
    leading_squares_bound,
)
from eckart.subspaces.bounds import eigenpairs

EXACT_WORK: Final = 10**9
"""rows·columns·min(rows, columns) up to which LAPACK decomposes all of W."""
BLOCKS_OF_A_GRAM: Final = 8
"""WᵀW of a matrix up to so many times as wide as a block of a Krylov space takes no longer."""
RESIDUALS: Final = {FLOAT32: 1e-4, FLOAT64: 1e-6}
"""‖WᵀWv − σ²v‖/σ₁² of every component that is kept, unless another is asked for."""
GUESS: Final = 32
FOR_THE_SPACE: Final = 0.25
"""Of the memory that a streamed matrix may take, beside its blocks of rows."""
SAMPLED: Final = 32
"""A run may begin with the leading directions of one row in so many."""
UNSAMPLED: Final = 8
"""Directions of the first block that are drawn at random, in case the sample misses something."""
CLOSE: Final = 1e-6
"""A share of the variance that is not worth a word."""
KNOWN_WITHIN: Final = 0.1
"""A Ritz value is as near to a squared singular value as its residual, by this share at most."""
CLEAR: Final = 1000.0
"""An error whose square is so many times what rounding hides is known from ‖W‖² and the σ²."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The answer of `components`.

    Fields:
        A: Orthonormal rows, of shape (rank, columns); the best B for them is W·Aᵀ.
        squares: σ² of each, in float64, descending.
        spectrum: The leading σ² of W that are known, at least `rank` of them.
        total: ‖W‖²_F.
        outcome: How the run ended.
        message: The same with this run's figures.
        history: One record for each step.
        certificate: Of W − W·Aᵀ·A.
        recipe: Enough to run it again.
        passes: How often W was read, without what is needed for the scores.
        seconds: The whole run, certificate included.
    """

    A: Array
    squares: Array
    spectrum: Array
    total: float
    outcome: Outcome
    message: str
    history: tuple[Record, ...]
    certificate: Certificate
    recipe: Recipe
    passes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The run as plain numbers and text, without A."""
        return {
            "rank": len(self.squares),
            "outcome": self.outcome.name,
            "grade": self.outcome.grade,
            "message": self.message,
            "certificate": self.certificate.to_dict(),
            "history": [asdict(record) for record in self.history],
            "recipe": {**asdict(self.recipe), "shape": list(self.recipe.shape)},
        }


def components(
    W: Matrix,
    rank: int | str | None = None,
    *,
    tolerance: float | None = None,
    residual: float | None = None,
    solver: Solver | None = None,
    certificate: bool = True,
    time_limit: float | None = None,
    seed: int | Randomness = 0,
    on_step: Callable[[Step], None] | None = None,
) -> Components:
    """Find the orthonormal rows A for which ‖W − W·Aᵀ·A‖ is smallest, and say how close they are.

    Unlike `factorize` it needs no room for anything as tall as W, so that W may be streamed.

    Args:
        W: Matrix of shape (rows, columns).
        rank: Rows of A, or "auto"; exactly one of `rank` and `tolerance` is given.
        tolerance: The smallest rank with ‖W − W·Aᵀ·A‖ ≤ tolerance·‖W‖.
        residual: Stop once ‖WᵀWv − σ²v‖ ≤ residual·σ₁² for every row v; by default 10⁻⁶, in
            float32 10⁻⁴. A streamed W stops by its error instead, unless it is given.
        solver: `ExactSVD`, `GramSVD`, `Davidson` or `BlockKrylov`; by default by the size of W.
        certificate: Whether to spend products on bounding the best error; a streamed W is never
            read for that, probes ride along in its products.
        time_limit: Seconds after which an iteration stops.
        seed: Of the random directions.
        on_step: Called with every step.

    Raises:
        ArgumentError: If an argument is out of its range.
        MatrixError: If the rank is above min(rows, columns), or the solver finds no directions.
    """
    began, read_before = time.perf_counter(), W.passes
    randomness = as_randomness(seed)
    rule = rank_rule(rank, tolerance, None, None, W.nbytes)
    guess = GUESS if rule.needs_spectrum else rule.choose(W.shape, W.dtype, None)
    side = Transposed(W) if solver is None and _is_lighter_turned(W) else W
    searched = rule.needs_spectrum and isinstance(rule, GrowingRule)
    solver = solver or component_solver(
        W, guess, residual, searched=searched, certificate=certificate
    )
    problem = _problem(side, guess, rule, solver, randomness)
    loop = Loop(solver.steps(problem), Watch(solver, problem, time_limit), on_step)
    ending = loop.run()
    if ending.directions is None or ending.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    A, squares = ending.directions()
    if side is not W:
        A, squares = _turned(W, A)
    spectrum = _known(ending, squares)
    if isinstance(solver, ExactSVD) and rule.needs_spectrum:
        count = rule.choose(W.shape, W.dtype, ending.singular_values)
        A, squares = A[:count], squares[:count]
    proof = _proof(W, side, A, squares, ending, bound=certificate)
    recipe = Recipe(
        solver=solver.settings(),
        rank_rule=rule.describe(),
        objective={"name": "entire"},
        start=None,
        seed=int(seed) if isinstance(seed, int | np.integer) else type(seed).__name__,
        accuracy=None,
        shape=W.shape,
        dtype=str(W.dtype),
        **machine(),
    )
    return Components(
        A=A,
        squares=squares,
        spectrum=spectrum,
        total=W.squared_norm(),
        outcome=ending.outcome,
        message=_message(ending.outcome, len(squares), proof),
        history=ending.history,
        certificate=proof,
        recipe=recipe,
        passes=W.passes - read_before,
        seconds=time.perf_counter() - began,
    )


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
    if isinstance(W, Standardised) and isinstance(W.source, Sparse):
        return krylov
    if rows >= columns and columns <= BLOCKS_OF_A_GRAM * krylov.width(W, rank):
        return GramSVD()
    if not searched and isinstance(W, Standardised) and W.has_rows and Davidson.suits(W, rank):
        return Davidson(residual=wanted, probe=not certificate)
    return krylov


def _is_lighter_turned(W: Matrix) -> bool:
    """Whether the space is better made of the rows' side: of a sparse W that has few of them.

    Its products cost the same from either side, and all else as much as the side is long.
    """
    is_sparse = isinstance(W, Standardised) and isinstance(W.source, Sparse)
    rows, columns = W.shape
    return is_sparse and rows < columns and rows * columns * rows > EXACT_WORK


def _turned(W: Matrix, U: Array) -> tuple[Array, Array]:
    """Right singular directions from left ones, by one product and the small problem it leaves."""
    product, rank = W.transposed_times(U.T), len(U)
    values, G = eigenpairs(W.namespace.gram(product, product))
    noise = rank * float(np.finfo(W.dtype).eps) * float(values[0])
    lengths = np.sqrt(np.where(values > noise, values, np.inf))
    A = directed((product @ (G / lengths).astype(W.dtype)).T, W.namespace)
    return A, np.where(values > noise, values, 0.0)


def _problem(
    W: Matrix, rank: int, rule: RankRule, solver: Solver, randomness: Randomness
) -> Problem:
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


def _known(ending: Ending, squares: Array) -> Array:
    """The leading squared singular values that the run knows to a tenth, and those it was asked."""
    if ending.singular_values is not None:
        return np.square(ending.singular_values.astype(FLOAT64))
    if ending.evidence is None:
        return np.maximum(squares, 0.0)
    evidence = ending.evidence()
    values, G = evidence.ritz()
    residuals = np.linalg.norm(evidence.root() @ G, axis=0)
    unknown = np.flatnonzero(residuals > KNOWN_WITHIN * values)
    count = unknown[0] if len(unknown) else len(values)
    return np.maximum(np.concatenate([squares, values[len(squares) : count]]), 0.0)


def _proof(
    W: Matrix, side: Matrix, A: Array, squares: Array, ending: Ending, *, bound: bool
) -> Certificate:
    """The error of A beside the best possible, in sums of squared singular values."""
    total, rank = W.squared_norm(), len(squares)
    norm, best, failure, how = math.sqrt(total), None, 0.0, "the best possible error is not known"
    error = _error(W, A, squares, ending)
    if ending.singular_values is not None:
        best = exact_bound(W, rank, ending.singular_values)
        how = "best possible error from all singular values (LAPACK)"
    elif ending.evidence is not None:
        best, failure, how = _bound(side, rank, ending.evidence(), bound=bound)
    exact = error <= rounding(W.shape, W.dtype) * norm
    best = None if best is None else min(best, error)
    return Certificate(
        error=error,
        relative_error=error / norm if norm > 0 else 0.0,
        best_possible_error=best,
        gap=0.0 if exact else (error / best - 1 if best else None),
        failure_probability=failure,
        method="exact to rounding" if exact else f"error from ‖W‖² and the σ² kept; {how}",
    )


def _bound(
    W: Matrix, rank: int, evidence: Evidence, *, bound: bool
) -> tuple[float | None, float, str]:
    """The best possible error, the probability that it is less, and how that was found."""
    if evidence.tail.shape[0] == 0:
        return clearest_bound(W, rank, evidence), 0.0, "best possible error from all of WᵀW"
    carried = evidence.outside is not None and math.isfinite(evidence.outside)
    if bound and not (carried or is_streamed(W)):
        probing = Probing()
        best = probable_bound(W, rank, evidence, probing)
        return best, probing.failure, "best possible error bounded by products with W (Weyl)"
    total, values = W.squared_norm(), evidence.ritz()[0]
    outside, how = total - float(values.sum()), "the products that were made"
    if evidence.outside is not None and evidence.outside < outside:
        outside, how = evidence.outside, "probes that were multiplied along"
    left = total - leading_squares_bound(evidence, rank, max(0.0, outside), total) - hidden(W)
    best = math.sqrt(left) if left > 0 else None
    return best, evidence.failure, f"best possible error bounded by {how} (Weyl)"


def _error(W: Matrix, A: Array, squares: Array, ending: Ending) -> float:
    """‖W − W·Aᵀ·A‖, from the σ² that are kept where these tell, else block by block."""
    if ending.singular_values is not None:
        values = ending.singular_values
        return float(tail_errors(values)[min(len(squares), len(values))])
    left = W.squared_norm() - float(squares.sum())
    if left > CLEAR * hidden(W):
        return math.sqrt(left)
    get, total = W.namespace.get, 0.0
    for block in W.row_blocks():
        total += float(np.square(get(block - (block @ A.T) @ A), dtype=FLOAT64).sum())
    return math.sqrt(total)


def _message(outcome: Outcome, rank: int, proof: Certificate) -> str:
    kept = 1 - proof.relative_error**2
    components = f"{rank} components hold" if rank > 1 else "One component holds"
    sentences = [f"{components} {kept:.4%} of the variance."]
    if proof.best_possible_error is not None and proof.error > 0:
        most = 1 - (proof.best_possible_error / proof.error * proof.relative_error) ** 2
        others = f"No {rank} directions hold" if rank > 1 else "No direction holds"
        than = f" than {most:.4%}" if most - kept > CLOSE else ""
        sentences.append(f"{others} more{than}.")
    if outcome.grade == "short":
        sentences.append(outcome.value)
    return " ".join(sentences)
