"""`factorize` for known entries: the start, the loop, and the certificate of its result."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import scipy.sparse

from eckart.approximations import BiasedFactors, PosteriorSamples, as_biased
from eckart.arrays import FLOAT32, FLOAT64, Randomness, as_randomness, rounding
from eckart.certificates import GATHERED_KEY, Certificate, spectrum
from eckart.completion.als import AlternatingLeastSquares
from eckart.completion.base import EntriesProblem, EntriesSolver, known_error
from eckart.completion.entries import Entries
from eckart.completion.objective import Observed
from eckart.completion.on_cluster import rows_on
from eckart.engine import Factorization, Recipe
from eckart.engine.loop import Loop
from eckart.engine.proof import explain
from eckart.engine.result import deliver
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, check_rank
from eckart.matrices import Matrix, Sparse
from eckart.objectives import Objective
from eckart.solvers import Solver, Step
from eckart.solvers.base import ForeignSolver
from eckart.solvers.starts import GivenStart, as_start
from eckart.subspaces import FAILURE_PROBABILITY, outside_bound

LARGEST_RANK: Final = 2**14
"""Largest rank for known entries."""
LOWER_RATE: Final = "Give a lower learning rate or more regularization."
"""What to do about a loss that grew without bound."""
START_LENGTH: Final = 0.1
"""Typical length of a column of the random initial A."""


def factorize_observed(
    W: object,
    rank: int,
    objective: Objective | Observed,
    solver: Solver | None,
    start: object,
    time_limit: float | None,
    seed: int | Randomness,
    on_step: Callable[[Step], None] | None,
    *,
    bound: bool,
    cluster: object = None,
) -> Factorization:
    """Do the work of `factorize` for a matrix of which only some entries are known."""
    began = time.perf_counter()
    entries, solver = _as_entries(W), AlternatingLeastSquares() if solver is None else solver
    if not isinstance(objective, Observed) or not isinstance(solver, EntriesSolver | ForeignSolver):
        raise ArgumentError(
            "This solver or objective needs every entry of W.",
            hint="Known entries need Observed() and a solver such as AlternatingLeastSquares().",
            code="needs-every-entry",
        )
    if cluster is not None and not isinstance(solver, AlternatingLeastSquares):
        raise ArgumentError(
            "On a cluster known entries are fitted by alternating least squares only.",
            hint="Leave the solver out, or the cluster.",
            code="on-a-cluster",
        )
    check_rank(rank, most=LARGEST_RANK, what="known entries")
    objective.check(entries)
    randomness = as_randomness(seed)
    problem = EntriesProblem(
        entries=entries,
        objective=objective,
        rank=rank,
        start=make_start(entries, objective, rank, randomness, start),
        randomness=randomness,
    )
    recipe = Recipe.of(
        solver=solver.settings(),
        rank_rule=f"rank {rank}",
        objective=objective.settings(),
        start={"name": "random" if start is None else "given"},
        seed=seed,
        accuracy=None,
        shape=entries.shape,
        dtype=FLOAT32,
    )
    with rows_on(cluster) as rows_by:
        problem = replace(problem, rows_by=rows_by)
        ending = Loop(solver, problem, time_limit, on_step).run()
    assert ending.step.approximation is not None  # solvers of known entries form one
    fitted = ending.step.approximation()
    proof = certify_known(entries, objective, fitted, bound=bound)
    each = proof.error / math.sqrt(len(entries))
    quality = f"The known entries are met to {each:.4g} (RMSE)."
    result = Factorization(
        factors=fitted.factors,
        outcome=ending.outcome,
        message=explain(ending.outcome, ending.history, quality),
        history=ending.history,
        certificate=proof,
        recipe=recipe,
        singular_values=None,
        # every sweep reads the entries once by rows and once by columns
        passes=2 * len(ending.history),
        seconds=time.perf_counter() - began,
        fitted=fitted,
    )
    # 4: the line that called factorize, which calls this
    return deliver(result, lambda: LOWER_RATE, stacklevel=4)


def make_start(
    entries: Entries, objective: Observed, rank: int, randomness: Randomness, start: object
) -> BiasedFactors:
    """Return the start of an iteration: the given one, or B = 0 and a small random A.

    Random numbers are drawn column by column of W, so that further columns change none of them.

    Raises:
        MatrixError: If the start does not fit.
    """
    mean = objective.mean(entries)
    if isinstance(start, BiasedFactors | PosteriorSamples):
        given = as_biased(start)
        if given.shape != entries.shape or given.rank != rank:
            raise MatrixError(
                f"The start is {given!r}, which does not fit.",
                hint=f"Give one of shape {entries.shape} and rank {rank}.",
                code="start-does-not-fit",
            )
        return given
    rows, columns = entries.shape
    nothing = np.zeros(rows, FLOAT32), np.zeros(columns, FLOAT32)
    if start is not None:
        begun = as_start(start)
        if not isinstance(begun, GivenStart):
            raise ArgumentError(
                f"The start is a {type(start).__name__}, which needs every entry of W.",
                hint="Give BiasedFactors, Factors or a pair (B, A), or nothing.",
                code="bad-start",
            )
        return BiasedFactors(mean, *nothing, begun.given.astype(FLOAT32))
    A = randomness.standard_normal((columns, rank)).astype(FLOAT32)
    A *= np.float32(START_LENGTH / math.sqrt(rank))
    if objective.nonnegative:
        np.abs(A, out=A)
    return BiasedFactors(mean, *nothing, Factors(np.zeros((rows, rank), FLOAT32), A.T))


def _as_entries(W: Any) -> Entries:
    if isinstance(W, Entries):
        return W
    if scipy.sparse.issparse(W):
        return Entries.of_sparse(W)
    raise MatrixError(
        f"Which entries of a {type(W).__name__} are known cannot be seen.",
        hint="Give Entries.of(rows, columns, values), or a SciPy sparse matrix.",
        code="not-entries",
    )


def certify_known(
    entries: Entries,
    objective: Observed,
    fitted: BiasedFactors | PosteriorSamples,
    *,
    bound: bool = True,
) -> Certificate:
    """Measure the error over the known entries, and its gap to the best where that is computable.

    The best error of a rank is NP-hard to find. But the minimum of Σ(W − B·A)² + λ(‖B‖² + ‖A‖²)
    over all ranks is that of ‖W − X‖² + 2λ‖X‖_* over X: a convex problem. Its dual bounds the
    distance of the factors from that optimum, `regularized_gap`, if the objective has this form: a
    count exponent of 0 and nothing but λ.

    Cost:
        2·rank operations for each entry; for the gap some products of width 16 with a sparse matrix
        of the entries.

    Reference:
        Mazumder, Hastie, Tibshirani (2010), JMLR 11; docs/mathematics/observed.md.
    """
    offset = as_biased(fitted)
    squared, scale = known_error(entries, objective, offset)
    gap, how = None, "the best possible error of a rank is NP-hard to find"
    if bound and isinstance(fitted, BiasedFactors) and objective.is_nuclear(entries):
        gap = duality_gap(entries, objective.strength, offset.factors)
        how += "; gap to the best of any rank with its penalty by the dual of the nuclear norm"
    return Certificate(
        error=math.sqrt(squared),
        relative_error=math.sqrt(squared / scale) if scale > 0 else 0.0,
        best_possible_error=None,
        gap=None,
        failure_probability=0.0 if gap is None else FAILURE_PROBABILITY,
        method=f"error over the known entries; {how}",
        regularized_gap=gap,
    )


def duality_gap(entries: Entries, strength: float, factors: Factors) -> float | None:
    """Relative excess of ½‖W − X‖² + λ‖X‖_* over the known entries above its minimum.

    With R = W − X on the known entries, Y = R·min(1, λ/‖R‖₂) is feasible in the dual, whose value
    ⟨Y, W⟩ − ½‖Y‖² is a lower bound on the minimum. ‖R‖₂ is computed if min(rows, columns) is at
    most 3000, and otherwise bounded from above by products with R, which fails with probability
    10⁻⁶. The result is None if the bound is not positive.
    """
    order = entries.by_rows
    values = order.values.astype(FLOAT64)
    left = values - as_biased(factors).predict(entries.rows, entries.columns)
    primal = 0.5 * float(left @ left) + strength * float(np.sum(factors.singular_values()))
    R = Sparse(scipy.sparse.csr_array((left, order.indices, order.starts), shape=entries.shape))
    spectral = _spectral_norm(R) if left.any() else 0.0
    share = min(1.0, strength / spectral) if spectral > 0 else 1.0  # makes ‖Y‖₂ ≤ λ: feasible
    dual = share * float(left @ values) - 0.5 * share**2 * float(left @ left)
    return max(0.0, primal / dual - 1) if dual > 0 else None


def _spectral_norm(R: Matrix) -> float:
    values = spectrum(R)
    if values is not None:
        # raised by its rounding, because a norm that is too small is not feasible
        return float(values[0]) * (1 + rounding(R.shape, values.dtype))
    randomness = np.random.Generator(np.random.Philox(key=GATHERED_KEY))
    return math.sqrt(outside_bound(R, np.zeros((R.shape[1], 0)), FAILURE_PROBABILITY, randomness))
