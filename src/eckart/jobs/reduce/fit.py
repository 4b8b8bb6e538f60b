"""From a matrix to its reduction."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from eckart.arrays import Randomness, as_randomness
from eckart.errors import ArgumentError
from eckart.factorization import Components, components
from eckart.factorization.component_solver import RESIDUALS
from eckart.jobs.reduce.gaps import around_gaps
from eckart.jobs.reduce.known import known_entries
from eckart.jobs.reduce.reduction import Reduction
from eckart.jobs.reduce.variances import told_by_scores
from eckart.matrices import Sparse, Standardised, Streamed, as_matrix
from eckart.matrices.standardised import measured
from eckart.ranks import check_open_unit, rank_rule
from eckart.solvers import BlockKrylov, ExactSVD, GramSVD, Solver, Step

GUESS = 64
"""The rank that the first pass over a streamed matrix is prepared for where it is not given."""


def reduced(
    W: object,
    rank: int | str | None = None,
    *,
    tolerance: float | None = None,
    variance: float | None = None,
    centre: bool = True,
    scale: bool = False,
    whiten: bool = False,
    tol: float | None = None,
    solver: str | None = None,
    certificate: bool = True,
    seed: int | Randomness = 0,
    on_step: Callable[[Step], None] | None = None,
    names: tuple[str, ...] | None = None,
) -> tuple[Reduction, Components]:
    """The components of a matrix, centred and scaled as asked, and what they are made of.

    A dense or streamed matrix may have gaps, entries that are NaN: the components are then those of
    the known entries alone, see `around_gaps`.

    Args:
        W: What `as_matrix` reads.
        rank: How many components: a number or "auto"; exactly one of `rank`, `tolerance` and
            `variance` is given.
        tolerance: As few as keep ‖W − W·Aᵀ·A‖ within this share of ‖W‖.
        variance: As few as hold this share of the variance.
        centre: Whether to subtract the means of the columns.
        scale: Whether to divide the columns by their standard deviations.
        whiten: Whether scores are divided by theirs.
        tol: ‖WᵀWv − σ²v‖/σ² at which a component v is exact enough.
        solver: "svd", "gram" or "krylov"; by default by the size of W.
        certificate: As for `components`.
        seed: As for `components`.
        on_step: As for `components`.
        names: Of the columns.

    Raises:
        EckartError: As `standardised`, `components` and `around_gaps`.
    """
    if tol is not None:
        check_open_unit("tol", tol)
    least = _tolerance(tolerance, variance, centre=centre)
    guess = rank if isinstance(rank, int) else GUESS
    matrix = as_matrix(W)
    working = measured(
        matrix,
        centre=centre,
        scale=scale,
        width=BlockKrylov().width(matrix, guess),
        seed=as_randomness(seed),
        whole=solver != "krylov",
    )
    whole = working.is_finite or isinstance(matrix, Sparse)  # where what is not stored is zero
    known = None if whole else known_entries(matrix, centre=centre, scale=scale, names=names)
    if known is not None and known.missing:
        rule = rank_rule(rank, least, None, None, matrix.nbytes)
        filled = around_gaps(
            known, rule, centre=centre, dtype=matrix.dtype, certificate=certificate, seed=seed,
            on_step=on_step,
        )  # fmt: skip
        found, moments, strength = filled.found, filled.moments, filled.penalty.strength
    else:
        working.check()
        moments, strength = working.moments, 0.0
        found = components(
            working,
            rank,
            tolerance=least,
            residual=tol,
            solver=named_solver(solver, working, tol),
            certificate=certificate,
            seed=seed,
            on_step=on_step,
            energy="variance" if centre else "sum of squares",
        )
    reduction = Reduction(
        A=found.A,
        means=moments.means,
        scales=moments.scales,
        squares=found.squares,
        energy=moments.energy,
        rows=matrix.shape[0],
        rank=len(found.squares),
        names=names,
        centred=centre,
        whitened=whiten,
        floor=found.certificate.best_possible_error,
        strength=strength,
        missing=0 if known is None else known.missing,
    )
    if centre and not reduction.missing:  # its σ² are those of the scores
        return reduction, found
    reduction = told_by_scores(reduction, matrix)
    kept = {"A": reduction.A, "squares": reduction.squares, "total": reduction.energy}
    if reduction.missing:
        kept["spectrum"] = reduction.squares
    return reduction, replace(found, **kept)


def named_solver(name: str | None, W: Standardised, tol: float | None) -> Solver | None:
    """The solver of a name; None leaves the choice.

    Raises:
        ArgumentError: If there is none of this name.
    """
    if name is None or (name == "krylov" and isinstance(W.source, Streamed)):
        return None
    known = {"svd": ExactSVD(), "gram": GramSVD()}
    if name == "krylov":
        return BlockKrylov(residual=tol or RESIDUALS[W.dtype], tall=False)
    if name not in known:
        raise ArgumentError(
            f"There is no solver '{name}'.",
            hint="Give svd, gram or krylov.",
            code="unknown-solver",
        )
    return known[name]


def _tolerance(tolerance: float | None, variance: float | None, *, centre: bool) -> float | None:
    """The relative error that leaves so much of the variance.

    Raises:
        ArgumentError: If the share is not between 0 and 1, or the error is not one of variances.
    """
    if variance is None:
        return tolerance
    check_open_unit("variance", variance)
    if not centre:
        raise ArgumentError(
            "A share of the variance is that of rows about their means, which are not subtracted.",
            hint="Give the number of components, or subtract the means.",
            code="variance-not-centred",
        )
    return math.sqrt(1 - variance)


def loadings(reduction: Reduction) -> dict[str, Any]:
    """The columns of each component, by name."""
    names = reduction.names or tuple(map(str, range(reduction.columns)))
    table = {f"PC{place}": row for place, row in enumerate(reduction.A[: reduction.rank], start=1)}
    return {"column": np.array(names), **table}
