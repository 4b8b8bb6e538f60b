"""`factorize` for known entries: the same loop with another kind of problem."""

import math
import time
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
import scipy.sparse

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.arrays import FLOAT32, Randomness, as_randomness
from eckart.completion.als import AlternatingLeastSquares
from eckart.completion.base import EntriesProblem, EntriesSolver
from eckart.completion.entries import Entries
from eckart.completion.loss import certify_known
from eckart.completion.objective import Observed
from eckart.engine import Factorization, Recipe
from eckart.engine.loop import run_loop
from eckart.engine.proof import explain_known
from eckart.engine.result import deliver
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, check_rank
from eckart.objectives import Objective
from eckart.solvers import Solver, Step
from eckart.solvers.base import ForeignSolver
from eckart.solvers.starts import GivenStart, as_start

MOST_RANK: Final = 2**14
"""Largest rank for known entries."""
SLOWER: Final = "Give a lower learning rate or more regularization."
"""What to do about a loss that grew without bound."""
SMALL: Final = 0.1
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
) -> Factorization:
    """Do the work of `factorize` for a matrix of which only some entries are known."""
    began = time.perf_counter()
    entries, (objective, solver) = _entries(W), _checked(objective, solver)
    check_rank(rank, most=MOST_RANK, what="known entries")
    objective.check(entries)
    randomness = as_randomness(seed)
    first = first_offset(entries, objective, rank, randomness, start)
    problem = EntriesProblem(
        entries=entries, objective=objective, rank=rank, start=first, randomness=randomness
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
    ending = run_loop(solver, problem, time_limit, on_step)[1]
    fitted = cast(
        "BiasedFactors | PosteriorSamples", ending.approximation and ending.approximation()
    )
    proof = certify_known(entries, objective, fitted, bound=bound)
    result = Factorization(
        factors=fitted.factors,
        outcome=ending.outcome,
        message=explain_known(ending.outcome, ending.history, proof, len(entries)),
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
    return deliver(result, lambda: SLOWER, stacklevel=4)


def first_offset(
    entries: Entries, objective: Observed, rank: int, randomness: Randomness, start: object
) -> BiasedFactors:
    """Return the start of an iteration: the given one, or B = 0 and a small random A.

    Random numbers are drawn column by column of W, so that further columns change none of them.

    Raises:
        MatrixError: If the start does not fit.
    """
    mean = objective.mean(entries)
    if isinstance(start, BiasedFactors | PosteriorSamples):
        given = start.offset if isinstance(start, PosteriorSamples) else start
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
    A *= np.float32(SMALL / math.sqrt(rank))
    if objective.nonnegative:
        np.abs(A, out=A)
    return BiasedFactors(mean, *nothing, Factors(np.zeros((rows, rank), FLOAT32), A.T))


def _entries(W: object) -> Entries:
    if isinstance(W, Entries):
        return W
    if scipy.sparse.issparse(W):
        return Entries.of_sparse(cast("Any", W))
    raise MatrixError(
        f"Which entries of a {type(W).__name__} are known cannot be seen.",
        hint="Give Entries.of(rows, columns, values), or a SciPy sparse matrix.",
        code="not-entries",
    )


def _checked(objective: Objective | Observed, solver: Solver | None) -> tuple[Observed, Solver]:
    chosen = AlternatingLeastSquares() if solver is None else solver
    if not isinstance(objective, Observed) or not isinstance(chosen, EntriesSolver | ForeignSolver):
        raise ArgumentError(
            "This solver or objective needs every entry of W.",
            hint="Known entries need Observed() and a solver such as AlternatingLeastSquares().",
            code="needs-every-entry",
        )
    return objective, chosen
