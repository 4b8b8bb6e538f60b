"""`factorize`: choose the rank and the solver, run it, and certify the result."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from os import PathLike
from typing import Any, Final

import numpy as np

from eckart.arguments import as_path, check_flag, check_positive
from eckart.arrays import FLOAT32, FLOAT64, Array, Randomness, as_randomness
from eckart.certificates import EXACT_SIDE, spectrum
from eckart.cluster import connected, has_client
from eckart.completion.base import EntriesSolver
from eckart.completion.entries import Entries
from eckart.completion.objective import Observed
from eckart.completion.run import factorize_observed
from eckart.engine import Factorization, Recipe
from eckart.engine.loop import Loop, in_units
from eckart.engine.parted import factorize_parted
from eckart.engine.proof import explain, explain_quality, explain_rank, run_and_prove
from eckart.engine.result import deliver
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors
from eckart.matrices import Matrix, Streamed, as_matrix, rescaled
from eckart.matrices.dask_rows import DaskRows, is_dask
from eckart.matrices.derived import check_entries
from eckart.matrices.distributed import Distributed
from eckart.objectives import Entire, Objective
from eckart.ranks import RANK_GUESS, AboveThreshold, GrowingRule, RankRule, rank_rule
from eckart.solvers import (
    BlockKrylov,
    ExactSVD,
    IterativeSolver,
    Problem,
    Solver,
    Step,
    SubspaceSolver,
)
from eckart.solvers.base import as_solver
from eckart.solvers.starts import GivenStart, LoRAStart, Start, as_start
from eckart.subspaces import PROBES_SHARE, FailureBudget

FAST_SIDE: Final = 1000
"""Largest min(rows, columns) for which the exact decomposition is the default solver."""
GRADIENT_DECADES: Final = {FLOAT32: 12, FLOAT64: 151}
"""Iterative solvers accept ‖W‖ between 10^−n and 10^n: gradients then stay in range."""


def factorize(
    W: object,
    rank: int | str | AboveThreshold | None = None,
    *,
    tolerance: float | None = None,
    budget: int | str | None = None,
    ratio: float | None = None,
    objective: Objective | Observed | None = None,
    solver: Solver | None = None,
    start: object = None,
    accuracy: float | None = None,
    certificate: bool = True,
    time_limit: float | None = None,
    seed: int | Randomness = 0,
    on_step: Callable[[Step], None] | None = None,
    cluster: object = None,
) -> Factorization:
    """Find B (rows × rank) and A (rank × columns) with W ≈ B·A, and say how good they are.

    Args:
        W: Matrix to factor, of shape (rows, columns): a NumPy array or memory map, a SciPy sparse
            matrix, rows of numbers, a `Matrix`, the path of a file with one matrix, an array of
            Dask, or `Entries`.
            Entries that `Entries`, or a sparse matrix with `Observed`, do not list are unknown.
        rank: Number of columns of B, "auto" for the number of singular values above the noise, or
            an `AboveThreshold`. Give exactly one of `rank`, `tolerance`, `budget` and `ratio`.
        tolerance: Largest relative error; the smallest rank with ‖W − B·A‖ ≤ tolerance·‖W‖ is used.
        budget: Bytes of both factors, a number or text such as "10MB"; the largest rank that fits
            is used.
        ratio: Bytes of both factors as a share of the bytes of W, in place of `budget`.
        objective: Error to minimise; by default all entries count alike. The certificate and the
            history report that error.
        solver: Algorithm; by default `ExactSVD()`, and `BlockKrylov()` for large matrices.
        start: Initial factors of an iterative solver: `Factors`, a pair (B, A) or a `LoRAStart`. By
            default A ~ N(0, σ²) and B = 0.
        accuracy: Largest certified gap to accept, 0.001 for 0.1 %; a larger gap falls short of the
            target.
        certificate: False measures the error only and leaves the best possible error unknown.
        time_limit: Seconds after which an iteration stops.
        seed: Seed of the random numbers, for a reproducible start: an int, a `Generator` or a
            `RandomState`.
        on_step: Function that is called with every step.
        cluster: Dask cluster that holds the rows and multiplies with them, or solves the rows of
            known entries: the address of its scheduler, a `distributed.Client`, or "local" for
            processes on this machine. Of an array of Dask, by default the client that is current.

    Returns:
        The factors with their certificate, the history and the recipe.

    Raises:
        ArgumentError: If an argument is out of its range whatever W holds.
        MatrixError: If W cannot be factored as asked: NaN, empty, a rank above min(rows, columns).
        Diverged: If the loss of an iteration grows without bound; it carries the partial result.
        Interrupted: At Ctrl-C; it carries the partial result.
        ClusterError: If there is no such cluster, or it cannot do the work.

    Warns:
        ConvergenceWarning: If the result falls short of a target: epochs, time or accuracy.

    Cost:
        The cost of the solver (see its docstring), one pass to check and measure W, and the cost of
        `certify`.

    Example:
        >>> import eckart
        >>> run = eckart.factorize([[4, 3, 2, 1], [2, 2, 2, 2], [1, 3, 4, 2], [0, 1, 2, 3]], rank=2)
        >>> print(run.message)
        Computed directly; no iteration was needed. No rank-2 pair can do better (σ₃² = 2.35664):
        the optimum is reached, 100.00%, and only a higher rank lowers the loss; at rank 3 it is 0.
    """
    began = time.perf_counter()
    solver = None if solver is None else as_solver(solver)
    _check_arguments(objective, on_step, accuracy, time_limit, certificate)
    if isinstance(W, Entries) or isinstance(objective, Observed):
        _check_observed(rank, accuracy)
        return factorize_observed(
            W,
            int(rank),  # pyright: ignore[reportArgumentType] it was checked
            objective or Observed(),
            solver,
            start,
            time_limit,
            seed,
            on_step,
            bound=certificate,
            cluster=cluster,
        )
    if isinstance(solver, EntriesSolver):
        raise ArgumentError(
            "This solver fits known entries only, and W is a whole matrix.",
            hint="Give Entries, or a sparse matrix with the objective Observed().",
            code="needs-entries",
        )
    randomness, first = as_randomness(seed), None if start is None else as_start(start)
    if cluster is not None or (is_dask(W) and has_client()):
        _check_parted(objective, start, accuracy)
        return _factorize_on_cluster(
            W, cluster, rank, tolerance=tolerance, budget=budget, ratio=ratio, solver=solver,
            certificate=certificate, time_limit=time_limit, seed=seed, on_step=on_step,
        )  # fmt: skip
    matrix = _matrix(W)
    asked = rank_rule(rank, tolerance, budget, ratio, matrix.nbytes)
    # a matrix may have been read before this call
    read_before, objective = matrix.passes, objective or Entire()
    check_entries(matrix)
    transformed, exponent = objective.transform(matrix), 0
    if isinstance(first, GivenStart):
        # solvers see the transformed matrix, so given factors are transformed to it
        first = replace(first, given=objective.transform_factors(first.given))
    if isinstance(solver, IterativeSolver):
        _check_scale(transformed, solver)  # a start and a learning rate are in the unit of W
    else:
        transformed, exponent = rescaled(transformed)
    rule = asked.scaled(2.0**exponent) if isinstance(asked, AboveThreshold) else asked
    values = spectrum(transformed) if rule.needs_spectrum else None
    growing = _growing(rule, values, transformed, solver)
    chosen = RANK_GUESS if growing else rule.choose(transformed.shape, transformed.dtype, values)
    solver = solver or default_solver(transformed, chosen)
    solver, problem, initial = _begin(solver, transformed, chosen, first, randomness, growing)
    recipe = Recipe.of(
        solver=solver.settings(),
        rank_rule=asked.describe(),
        objective=objective.settings(),
        start=initial.settings() if initial else None,
        seed=seed,
        accuracy=accuracy,
        shape=matrix.shape,
        dtype=matrix.dtype,
    )
    loop = Loop(solver, problem, time_limit, in_units(on_step, exponent))
    # the rest of the failure probability belongs to the probes that a solver multiplies along
    unit, probing = 2.0**-exponent, FailureBudget(1 - PROBES_SHARE)
    proof, values, ending = run_and_prove(
        transformed, loop, values, accuracy, probing, bound=certificate
    )
    # explain_rank may make further tests, whose failure probability is added below
    spent = probing.failure
    why = explain_rank(asked, transformed, values, ending, probing, unit) if certificate else ""
    proof = proof.scaled(unit, failure=probing.failure - spent)
    # the reverse of both transforms above, in reverse order
    factors = objective.restore_factors(ending.step.factors()).scaled(unit)
    history = tuple(record.scaled(unit) for record in ending.history)
    values = None if values is None else _unscale(values, exponent)
    ended = explain(
        ending.outcome, history, explain_quality(factors, proof, values), ending.step.excess
    )
    result = Factorization(
        factors=factors,
        outcome=ending.outcome,
        message=f"{ended} {why}".rstrip(),
        history=history,
        certificate=proof,
        recipe=recipe,
        estimated_gap=ending.step.excess,
        singular_values=values,
        passes=matrix.passes - read_before,
        seconds=time.perf_counter() - began,
    )
    return deliver(result, lambda: solver.suggested_rate(problem), stacklevel=3)


def _check_observed(rank: object, accuracy: float | None) -> None:
    """Refuse what cannot be asked of known entries."""
    if not isinstance(rank, int | np.integer) or accuracy is not None:
        raise ArgumentError(
            "Known entries are factored at a rank that is given, and to no certified accuracy.",
            hint="Give rank as a number, and neither tolerance, budget, ratio nor accuracy.",
            code="observed-rank",
        )


def _check_parted(objective: object, start: object, accuracy: float | None) -> None:
    """Refuse what cannot be done with rows on a cluster."""
    for name, given in (("objective", objective), ("start", start), ("accuracy", accuracy)):
        if given is not None and not isinstance(given, Entire):
            raise ArgumentError(
                f"On a cluster the {name} cannot be chosen.",
                hint="Leave it out.",
                code="on-a-cluster",
            )


def _factorize_on_cluster(
    W: object, cluster: object, rank: object, **settings: Any
) -> Factorization:
    chosen = rank if isinstance(rank, int | str) else None
    with _on_cluster(W, cluster) as rows:
        found = factorize_parted(rows, chosen, **settings)
    # 4: the line that called factorize, which calls this
    return deliver(found, lambda: "", stacklevel=4)


@contextmanager
def _on_cluster(W: object, cluster: object) -> Generator[Distributed, None, None]:
    """The rows of a path or of an array of Dask, on a cluster."""
    with connected(cluster) as found:
        if isinstance(W, str | PathLike):
            from eckart.files import open_parts

            rows, held = open_parts(as_path(W))[1], None
        elif is_dask(W):
            rows = array = DaskRows.of(W)
            held = True if array.is_persisted else None
        else:
            raise ArgumentError(
                f"A cluster cannot read a {type(W).__name__} in the memory of this process.",
                hint="Give the path of a file that all workers see, or an array of Dask.",
                code="not-on-cluster",
            )
        with closing(Distributed(rows, found, held=held)) as matrix:
            yield matrix


def default_solver(W: Matrix, rank: int) -> Solver:
    """Choose exact decomposition where it is fast, and block Krylov iteration elsewhere."""
    smaller = min(W.shape)
    # an iteration for a quarter of all singular values takes longer than all of them
    if smaller <= FAST_SIDE or (smaller <= EXACT_SIDE and 4 * rank > smaller):
        return ExactSVD()
    return BlockKrylov()


def _begin(
    solver: Solver,
    W: Matrix,
    rank: int,
    first: Start | None,
    randomness: Randomness,
    rule: GrowingRule | None,
) -> tuple[Solver, Problem, Start | None]:
    """Return the solver with its defaults filled in, the problem, and the start or None."""
    if isinstance(solver, IterativeSolver):
        initial = (first or LoRAStart()).resolved(W)
        factors = initial.factors(W, rank, randomness).on(W.namespace)
        _check_start(factors, W, solver)
        problem = Problem(W=W, rank=rank, start=factors)
        return solver.resolved(problem), problem, initial
    if first is not None:
        raise ArgumentError(
            "A start was given to a solver that uses none.",
            hint="Leave it out, or choose an iterative solver such as gd.",
            code="start-not-used",
        )
    return solver, Problem(W=W, rank=rank, start=None, rule=rule, randomness=randomness), None


def _matrix(W: object) -> Matrix:
    if isinstance(W, str | PathLike):
        from eckart.files import read_matrix

        return read_matrix(W)
    return Streamed(DaskRows.of(W)) if is_dask(W) else as_matrix(W)


def _growing(
    rule: RankRule, values: Array | None, W: Matrix, solver: Solver | None
) -> GrowingRule | None:
    """Return the rule if W is too large for its spectrum, so that the solver finds the rank."""
    if not isinstance(rule, GrowingRule) or values is not None:
        return None
    if isinstance(solver or BlockKrylov(), SubspaceSolver):
        return rule
    rows, columns = W.shape
    raise MatrixError(
        f"This {rows} × {columns} matrix is too large to choose the rank by its spectrum.",
        hint="Give the rank itself, or leave the solver to krylov, which finds it as it goes.",
        code="too-large",
    )


def _check_scale(W: Matrix, solver: IterativeSolver) -> None:
    """Refuse a matrix whose gradients leave the range of its dtype."""
    norm = math.sqrt(W.squared_norm())
    if norm > 0 and abs(math.log10(norm)) > GRADIENT_DECADES[W.dtype]:
        raise _too_far("W", norm, W, solver)


def _check_start(start: Factors, W: Matrix, solver: IterativeSolver) -> None:
    """Refuse initial factors whose gradients leave the range of the dtype."""
    norm = math.sqrt(max(W.namespace.squares(X) for X in (start.B, start.A)))
    if norm > 10.0 ** GRADIENT_DECADES[W.dtype]:
        raise _too_far("B or A at the start", norm, W, solver)


def _too_far(what: str, norm: float, W: Matrix, solver: IterativeSolver) -> MatrixError:
    return MatrixError(
        f"The norm of {what} is {norm:.1e}, too far from 1 for {solver.settings()['name']} in "
        f"{W.dtype}.",
        hint="Give float64, or multiply it by a power of ten that brings it near 1.",
        code="out-of-range",
    )


def _check_arguments(
    objective: object,
    on_step: object,
    accuracy: float | None,
    time_limit: float | None,
    certificate: object,
) -> None:
    """Refuse arguments of the wrong type or out of range."""
    if objective is not None and not hasattr(objective, "settings"):
        raise ArgumentError(
            f"The objective is {objective!r}, which is none.",
            hint="Give eckart.Entire(), eckart.Weighted(G) or eckart.Observed().",
            code="bad-objective",
        )
    check_flag("certificate", certificate)
    if on_step is not None and not callable(on_step):
        raise ArgumentError(
            f"on_step is {on_step!r}.", hint="Give a function of one step.", code="bad-on-step"
        )
    for name, target in (("accuracy", accuracy), ("time limit", time_limit)):
        if target is not None:
            check_positive(name, target)
    if accuracy is not None and not certificate:
        raise ArgumentError(
            "An accuracy is proven by the certificate that is left out.",
            hint="Leave out the accuracy, or keep the certificate.",
            code="accuracy-without-certificate",
        )


def _unscale(values: Array, exponent: int) -> Array:
    """Singular values of 2^exponent·W as those of W, in float64 where their dtype is too narrow."""
    exact = np.ldexp(values.astype(FLOAT64), -exponent)
    fits = exact.max(initial=0.0) <= np.finfo(values.dtype).max
    return exact.astype(values.dtype) if fits else exact
