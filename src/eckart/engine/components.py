"""`components`: the leading right singular directions of W, without a factor as tall as W."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness, as_randomness, rounding
from eckart.certificates import EXACT, Certificate, clearest_bound, exact_bound, probable_bound
from eckart.engine.component_solver import (
    component_problem,
    component_solver,
    hides,
    is_lighter_turned,
    refine,
    suits_gram,
)
from eckart.engine.loop import Loop, LoopResult, in_units
from eckart.engine.result import SUCCESS_GAP, Outcome, Recipe, Record
from eckart.matrices import Matrix, Transposed, is_streamed, rescaled
from eckart.ranks import RANK_GUESS, GrowingRule, rank_rule
from eckart.solvers import BlockKrylov, ExactSVD, GramSVD, Solver, Step
from eckart.subspaces import PROBES_SHARE, FailureBudget, RitzData, hidden, leading_squares_bound
from eckart.subspaces.bounds import EIGENVALUE_EPS

LIMITS: Final = {
    Outcome.EPOCH_LIMIT,
    Outcome.EPOCHS_DONE,
    Outcome.TIME_LIMIT,
    Outcome.INTERRUPTED,
}
"""Outcomes of a run that was cut short."""
RANDOM_TEST_GAP: Final = 5e-3
"""Gap above which random tests are made, if W is in memory: a quarter of `FURTHER_STEP_GAP`, since
their products are a few columns wide, and those of a further step a whole block."""
EQUAL_SHARE: Final = 1e-6
"""Share of the variance up to which a difference is not mentioned in the message."""
KNOWN_RESIDUAL: Final = 0.1
"""Largest residual of a Ritz value, as a share of it, up to which it counts as a known σ²."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The result of `components`.

    Fields:
        A: Orthonormal rows, of shape (rank, columns); the best B for them is W·Aᵀ.
        squares: σ² of each row, in float64, descending.
        spectrum: The leading σ² of W that are known, at least `rank` of them.
        total: ‖W‖²_F.
        outcome: How the run ended.
        message: How the run ended, in sentences with its figures.
        history: One record for each step.
        certificate: Certificate of the error ‖W − W·Aᵀ·A‖.
        recipe: Everything that is needed to repeat the run.
        passes: Number of passes over W, without those for the scores.
        seconds: Duration of the whole run, certificate included.
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
        """Return the run as plain numbers and text, without A."""
        return {
            "rank": len(self.squares),
            "outcome": self.outcome.name,
            "grade": self.outcome.grade,
            "message": self.message,
            "certificate": self.certificate.to_dict(),
            "history": [asdict(record) for record in self.history],
            "recipe": self.recipe.to_dict(),
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
    energy: str = "variance",
) -> Components:
    """Find orthonormal rows A with the smallest ‖W − W·Aᵀ·A‖, and certify how small that is.

    Unlike `factorize` it needs no memory for a factor as tall as W, so that W may be streamed.

    Args:
        W: Matrix of shape (rows, columns).
        rank: Number of rows of A, or "auto". Give exactly one of `rank` and `tolerance`.
        tolerance: Largest relative error; the smallest rank with ‖W − W·Aᵀ·A‖ ≤ tolerance·‖W‖ is
            used.
        residual: Stop once ‖WᵀWv − σ²v‖ ≤ residual·σ² for every row v; by default 10⁻⁸, in float32
            3·10⁻⁴. Without a given residual, a streamed W stops by its error instead.
        solver: `ExactSVD`, `GramSVD`, `Davidson` or `BlockKrylov`; by default chosen by the size of
            W.
        certificate: Whether to spend products on bounding the best error. A streamed W is never
            read for that, because probes are multiplied along in its products.
        time_limit: Seconds after which an iteration stops.
        seed: Seed of the random directions.
        on_step: Function that is called with every step.
        energy: Name of ‖W‖² in the message.

    Raises:
        ArgumentError: If an argument is out of its range.
        MatrixError: If the rank is above min(rows, columns), or the solver finds no directions.
    """
    began, read_before = time.perf_counter(), W.passes
    randomness = as_randomness(seed)
    rule = rank_rule(rank, tolerance, None, None, W.nbytes)
    total = W.squared_norm()
    W, exponent = rescaled(W)
    on_step = in_units(on_step, exponent)
    guess = RANK_GUESS if rule.needs_spectrum else rule.choose(W.shape, W.dtype, None)
    side = Transposed(W) if solver is None and is_lighter_turned(W) else W
    searched = isinstance(rule, GrowingRule)

    def run(chosen: Solver, side: Matrix) -> LoopResult:
        problem = component_problem(side, guess, rule, chosen, randomness)
        return Loop(chosen, problem, time_limit, on_step).run()

    chosen = solver or component_solver(
        W, guess, residual, searched=searched, certificate=certificate
    )
    ending = run(chosen, side)
    if _is_unsure(ending, chosen, W, asked=solver is not None) and suits_gram(W):
        chosen, side = GramSVD(), W if W.shape[0] >= W.shape[1] else Transposed(W)
        ending = run(chosen, side)
    if ending.step.directions is None or ending.outcome is Outcome.INTERRUPTED:
        # without directions there is nothing that could be returned
        raise KeyboardInterrupt
    if isinstance(chosen, ExactSVD) and rule.needs_spectrum:
        # all directions were computed, and the rule chooses now
        ending = replace(ending, rank=rule.choose(W.shape, W.dtype, ending.step.singular_values))
    A, squares, error = refine(W, side, ending)
    spectrum = _known_squares(ending, squares)
    proof = _proof(W, side, len(squares), error, ending, bound=certificate)
    recipe = Recipe.of(
        solver=chosen.settings(),
        rank_rule=rule.describe(),
        objective={"name": "entire"},
        start=None,
        seed=seed,
        accuracy=None,
        shape=W.shape,
        dtype=W.dtype,
    )
    factor = 2.0**-exponent
    return Components(
        A=A,
        squares=squares * factor * factor,
        spectrum=spectrum * factor * factor,
        total=total,
        outcome=ending.outcome,
        message=_message(ending.outcome, len(squares), proof, energy if total else ""),
        history=tuple(record.scaled(factor) for record in ending.history),
        certificate=proof.scaled(factor),
        recipe=recipe,
        passes=W.passes - read_before,
        seconds=time.perf_counter() - began,
    )


def _is_unsure(ending: LoopResult, solver: Solver, W: Matrix, *, asked: bool) -> bool:
    """Whether an iteration did not separate the directions, or rounding of the largest hides some.

    A run that came to a limit is accepted if the user chose the solver.
    """
    if isinstance(solver, GramSVD | ExactSVD) or ending.step.directions is None:
        return False
    if ending.outcome in LIMITS:
        return ending.outcome is Outcome.EPOCH_LIMIT and not asked
    by_error = isinstance(solver, BlockKrylov) and solver.residual is None
    separated = ending.outcome in {Outcome.RESOLVED, Outcome.WHOLE} or by_error
    return not separated or hides(ending.step.directions()[1], W)


def _known_squares(ending: LoopResult, squares: Array) -> Array:
    """The leading squared singular values: those of the components, and others known to a tenth."""
    if ending.step.singular_values is not None:
        return np.square(ending.step.singular_values.astype(FLOAT64))
    if ending.step.evidence is None:
        return np.maximum(squares, 0.0)
    evidence = ending.step.evidence()
    values, G = evidence.ritz()
    residuals = np.linalg.norm(evidence.root() @ G, axis=0)
    # every value before the first one that is not known
    unknown = np.flatnonzero(residuals > KNOWN_RESIDUAL * values)
    count = unknown[0] if len(unknown) else len(values)
    return np.maximum(np.concatenate([squares, values[len(squares) : count]]), 0.0)


def _proof(
    W: Matrix, side: Matrix, rank: int, error: float, ending: LoopResult, *, bound: bool
) -> Certificate:
    """Certify an error against the best possible one, from sums of squared singular values."""
    norm, best = math.sqrt(W.squared_norm()), None
    failure, how = 0.0, "the best possible error is not known"
    if ending.step.singular_values is not None:
        best = exact_bound(W, rank, ending.step.singular_values)
        how = "best possible error from all singular values (LAPACK)"
    elif ending.step.evidence is not None:
        best, failure, how = _bound(side, rank, ending.step.evidence(), bound=bound)
    exact = error <= rounding(W.shape, W.dtype) * norm
    method = EXACT if exact else f"error from ‖W‖² and the σ² kept; {how}"
    return Certificate.of(error, norm, best, exact=exact, failure=failure, method=method)


def _bound(
    W: Matrix, rank: int, evidence: RitzData, *, bound: bool
) -> tuple[float | None, float, str]:
    """A bound on the best possible error, its failure probability, and how it was found."""
    # eigenvectors of all of WᵀW: no residual, and nothing outside
    if evidence.tail.shape[0] == 0:
        return clearest_bound(W, rank, evidence), 0.0, "best possible error from all of WᵀW"
    total, values = W.squared_norm(), evidence.ritz()[0]
    # ‖W(I − VVᵀ)‖² is at most its Frobenius norm, which is the energy left
    outside, how = total - float(values.sum()), "the products that were made"
    if evidence.outside is not None and evidence.outside < outside:
        outside, how = evidence.outside, "probes that were multiplied along"
    upper = leading_squares_bound(evidence, rank, max(0.0, outside), total)
    unsure = (
        EIGENVALUE_EPS * rank * float(np.finfo(FLOAT64).eps) * float(values[0])
    )  # of values in float64
    left, failure = total - upper - max(hidden(W), unsure), evidence.failure
    reached = total - float(values[:rank].sum())
    if bound and not is_streamed(W) and left * (1 + RANDOM_TEST_GAP) ** 2 < reached:
        probing = FailureBudget(1 - PROBES_SHARE)
        tested = probable_bound(W, rank, evidence, probing)
        if tested is not None and tested**2 - unsure > left:
            left, how = tested**2 - unsure, "products with W"
        failure += probing.failure
    best = math.sqrt(left) if left > 0 else None
    return best, failure, f"best possible error bounded by {how} (Weyl)"


def _message(outcome: Outcome, rank: int, proof: Certificate, energy: str) -> str:
    if not energy:
        return "All rows are the same, so that nothing is left to be held."
    kept = 1 - proof.relative_error**2
    components = f"{rank} components hold" if rank > 1 else "One component holds"
    sentences = [f"{components} {kept:.4%} of the {energy}."]
    if proof.best_possible_error is not None and proof.error > 0:
        most = 1 - (proof.best_possible_error / proof.error * proof.relative_error) ** 2
        others = f"No {rank} directions hold" if rank > 1 else "No direction holds"
        if most - kept > EQUAL_SHARE:
            sentences.append(f"{others} more than {most:.4%}.")
        elif proof.gap is not None and proof.gap <= SUCCESS_GAP:
            sentences.append(f"{others} more.")
        else:
            sentences.append(
                f"The rest is proven to be at most {proof.gap or 0.0:.2%} above the least possible."
            )
    if outcome.grade == "short":
        sentences.append(outcome.value)
    return " ".join(sentences)
