"""Reduction of a matrix, and the update of a reduction with new rows, without the old ones."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness, as_randomness, working_dtype
from eckart.backends import HOST, svd
from eckart.engine import Components, components
from eckart.engine.component_solver import DEFAULT_RESIDUALS
from eckart.errors import ArgumentError
from eckart.matrices import Matrix, Sparse, Standardised, as_matrix, is_streamed
from eckart.matrices.moments import FIRST_ROWS
from eckart.matrices.protocol import Products, summed
from eckart.matrices.standardised import measured
from eckart.ranks import check_open_unit, rank_rule
from eckart.reduce.missing import fit_known
from eckart.reduce.reduction import Reduction
from eckart.reduce.table import known_entries, raw_blocks
from eckart.solvers import BlockKrylov, ExactSVD, GramSVD, Solver, Step
from eckart.subspaces import directed

GUESSED_RANK = 64
"""The rank for which the first pass over a streamed matrix is prepared if none is given."""


def fit_pca(
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
    """Find the components of a matrix, centred and scaled as requested.

    A dense or streamed matrix may have missing entries, which are NaN. The components are then
    those of the known entries alone, see `fit_known`.

    Args:
        W: A matrix in any form that `as_matrix` reads.
        rank: Number of components, or "auto"; exactly one of `rank`, `tolerance` and `variance` is
            given.
        tolerance: The fewest components that keep ‖W − W·Aᵀ·A‖ within this share of ‖W‖.
        variance: The fewest components that hold this share of the variance.
        centre: Whether to subtract the means of the columns.
        scale: Whether to divide the columns by their standard deviations.
        whiten: Whether to divide the scores by their standard deviations.
        tol: Value of ‖WᵀWv − σ²v‖/σ² at which a component v is exact enough.
        solver: "svd", "gram" or "krylov"; None chooses by the size of W.
        certificate: Whether to bound the best possible error, see `components`.
        seed: Seed of the random directions, see `components`.
        on_step: Called with every step, see `components`.
        names: Names of the columns.

    Returns:
        The reduction, and the components with the run that found them.

    Raises:
        EckartError: As for `standardised`, `components` and `fit_known`.
    """
    if tol is not None:
        check_open_unit("tol", tol)
    least = _tolerance(tolerance, variance, centre=centre)
    guess = rank if isinstance(rank, int) else GUESSED_RANK
    matrix = as_matrix(W)
    working = measured(
        matrix,
        centre=centre,
        scale=scale,
        width=BlockKrylov().width(matrix, guess),
        seed=as_randomness(seed),
        # WᵀW in the same pass; for krylov a sketch instead, from which its first block is made
        whole=solver != "krylov",
    )
    # a sparse matrix has no missing entries: those that are not stored are zeros
    # rows on a cluster are refused if an entry is missing: around it one machine fits
    whole = working.is_finite or isinstance(matrix, Sparse) or working.is_in_parts
    known = None if whole else known_entries(matrix, centre=centre, scale=scale, names=names)
    if known is not None and known.missing:
        rule = rank_rule(rank, least, None, None, matrix.nbytes)
        found, moments, strength = fit_known(
            known, rule, centre=centre, dtype=matrix.dtype, certificate=certificate, seed=seed,
            on_step=on_step,
        )  # fmt: skip
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
    # centred and without missing entries σ²/(rows − 1) are the variances of the scores
    if centre and not reduction.missing:
        return reduction, found
    reduction = measure_scores(reduction, matrix)
    kept = {"A": reduction.A, "squares": reduction.squares, "total": reduction.energy}
    if reduction.missing:
        kept["spectrum"] = reduction.squares
    return reduction, replace(found, **kept)


def named_solver(name: str | None, W: Standardised, tol: float | None) -> Solver | None:
    """The solver with a name; None leaves the choice to `components`."""
    # for a streamed matrix `components` chooses, by what the first pass has made of it
    if name is None or (name == "krylov" and is_streamed(W)):
        return None
    solvers = {
        "svd": ExactSVD(),
        "gram": GramSVD(),
        "krylov": BlockKrylov(residual=tol or DEFAULT_RESIDUALS[W.dtype], tall=False),
    }
    if name in solvers:
        return solvers[name]
    raise ArgumentError(
        f"There is no solver '{name}'.", hint="Give svd, gram or krylov.", code="unknown-solver"
    )


def _tolerance(tolerance: float | None, variance: float | None, *, centre: bool) -> float | None:
    """The relative error at which a share of the variance is kept."""
    if variance is None:
        return tolerance
    check_open_unit("variance", variance)
    if not centre:
        raise ArgumentError(
            "A share of the variance is that of rows about their means, which are not subtracted.",
            hint="Give the number of components, or subtract the means.",
            code="variance-not-centred",
        )
    # ‖W − W·Aᵀ·A‖²/‖W‖² is the share of the variance that is left, if W is centred
    return math.sqrt(1 - variance)


@final
@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the scores of all rows, and over the residuals of the known entries.

    Fields:
        means: Means of the scores.
        around: Sums of products of the scores about their means, of shape (rank, rank).
        left: Sum of squares of the residuals of the known entries.
        beside: Sum of squares of these residuals about their mean in each column.
        known: Number of known entries.
    """

    means: Array
    around: Array
    left: float
    beside: float
    known: int


def measure_scores(reduction: Reduction, W: Matrix) -> Reduction:
    """Replace the variances of a reduction by those of the scores that it gives the rows of W.

    With missing entries the components are first turned to the principal axes of these scores: the
    singular values of the fit are smaller, because of the penalty.

    Cost:
        Two passes, each with the scores of all rows.
    """
    rows, plain = W.shape[0], replace(reduction, whitened=False)
    if not plain.missing:
        around = measured(
            W, centre=True, scale=plain.scales is not None, width=1, seed=as_randomness(0)
        )
        moments, sums = around.moments, _summed(plain, W)
        scales = 1.0 if moments.scales is None else moments.scales
        return replace(
            reduction,
            measured=np.diagonal(sums.around) / rows,
            whole=moments.energy / rows,
            away=moments.means / scales,
        )
    plain = _turned(plain, _summed(plain, W), W.shape)
    sums, freedom = _summed(plain, W), max(1, rows - 1) if plain.centred else rows
    variances = np.diagonal(sums.around) / freedom
    beside = sums.beside * rows * W.shape[1] / sums.known
    return replace(
        plain,
        whitened=reduction.whitened,
        measured=variances,
        whole=float(variances.sum()) + beside / freedom,
    )


def _turned(reduction: Reduction, sums: Sums, shape: tuple[int, int]) -> Reduction:
    """Turn the components to the principal axes of the scores, and take their σ² from these."""
    about_zero = sums.around + shape[0] * np.outer(sums.means, sums.means)
    # eigh sorts ascending; components are sorted descending
    values, G = np.linalg.eigh(sums.around if reduction.centred else about_zero)
    squares, turned = np.maximum(values[::-1], 0.0), G[:, ::-1].T
    A = directed(turned @ reduction.A.astype(FLOAT64), HOST).astype(reduction.dtype)
    energy = float(squares.sum()) + sums.left * shape[0] * shape[1] / sums.known
    return replace(reduction, A=A, squares=squares, energy=energy)


def _summed(reduction: Reduction, W: Matrix) -> Sums:
    """The sums over all rows, about a pivot from the first rows. One pass."""
    pivot: Array | None = None
    if isinstance(W, Products) and W.is_in_parts:  # one pivot for all parts
        pivot = reduction.project(W.first_rows(FIRST_ROWS)).astype(FLOAT64).mean(axis=0)
    pivot, first, second, sums, squares, known = summed(
        W, _sums_about, reduction, pivot, add=_add_sums
    )
    rows = W.shape[0]
    return Sums(
        means=pivot + first / rows,
        around=second - np.outer(first, first) / rows,
        left=float(squares.sum()),
        beside=float((squares - np.square(sums) / rows).sum()),
        known=known,
    )


def _add_sums(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    return one[0], *(x + y for x, y in zip(one[1:], other[1:], strict=True))


def _sums_about(W: Matrix, reduction: Reduction, pivot: Array | None) -> tuple[Any, ...]:
    """The pivot, and the sums over the scores about it and over the residuals of known entries."""
    rank, columns = reduction.rank, reduction.columns
    first, second = np.zeros(rank), np.zeros((rank, rank))
    sums, squares, known = np.zeros(columns), np.zeros(columns), 0
    for native in raw_blocks(W):
        block: Any = native if isinstance(W, Sparse) else W.namespace.get(native)
        scores = reduction.project(block).astype(FLOAT64)
        # sums of squares about a value near the mean do not cancel
        if pivot is None:
            pivot = np.asarray(scores[:FIRST_ROWS].mean(axis=0))
        about = scores - pivot
        first += about.sum(axis=0)
        second += about.T @ about
        if reduction.missing:
            left = np.subtract(block, reduction.restore(scores), dtype=FLOAT64)
            left /= 1.0 if reduction.scales is None else reduction.scales
            there = ~np.isnan(left)
            left = np.where(there, left, 0.0)
            sums += left.sum(axis=0)
            squares += np.square(left).sum(axis=0)
            known += int(there.sum())
    return np.zeros(rank) if pivot is None else pivot, first, second, sums, squares, known


SPARE_RATIO: Final = 2
"""Directions kept for each one in use: those that are dropped now may be needed later."""
FEWEST_SPARE: Final = 8
"""Directions kept beyond these in any case."""


def start_incremental(
    X: Any, rank: int, *, centre: bool = True, scale: bool = False, whiten: bool = False
) -> Reduction:
    """Reduce the first rows of a growing table; their standard deviations remain the scales."""
    working = measured(as_matrix(X), centre=centre, scale=scale)
    # with missing entries the first rows are fitted around them, without spare directions
    if not working.is_finite:
        return fit_pca(X, rank, centre=centre, scale=scale, whiten=whiten, certificate=False)[0]
    columns = X.shape[1]
    empty = Reduction(
        A=np.zeros((0, columns), working_dtype(X.dtype)),
        means=np.zeros(columns),
        scales=working.moments.scales,
        squares=np.zeros(0),
        energy=0.0,
        rows=0,
        rank=rank,
        centred=centre,
        whitened=whiten,
        floor=0.0,
        away=None if centre else np.zeros(columns),
    )
    return update(empty, X)


def update(old: Reduction, X: Any) -> Reduction:
    """Update a reduction with the rows of X.

    With the mean μ of the n old rows and the mean ν of the m new rows, the matrix W of all rows
    about their mean has

        WᵀW = W_oldᵀW_old + (X − ν)ᵀ(X − ν) + n·m/(n + m)·(μ − ν)(μ − ν)ᵀ

    where of W_oldᵀW_old the part Aᵀ·diag(σ²)·A is known, which is at most the whole. So the new σ²
    are at most those of all rows, their energy is exact, and

        ‖W − W·Aᵀ·A‖² ≤ energy − σ₁² − … − σ_r²,

    while no approximation of rank r has an error below the tail of what is known. Missing entries
    of the new rows are replaced by what their scores in the old components restore; then no such
    bound is known.

    Args:
        old: The reduction so far; its scales stay as they are.
        X: New rows, dense or sparse, of shape (m, columns).

    Cost:
        A decomposition of (kept + m + 1) × columns numbers for each block of at most 4·kept rows.

    Reference:
        Ross, Lim, Lin, Yang (2008), Incremental learning for robust visual tracking, International
        Journal of Computer Vision 77, section 3.1.
    """
    height = max(64, 4 * max(len(old.A), SPARE_RATIO * old.rank + FEWEST_SPARE))
    for start in range(0, X.shape[0], height):
        piece = X[start : start + height]
        dense = piece.toarray() if hasattr(piece, "toarray") else np.asarray(piece)
        whole = old.filled(dense).astype(FLOAT64)
        old = replace(old, missing=old.missing + int(np.count_nonzero(np.isnan(dense))))
        old = _with_block(old, whole)
    return old


def _with_block(old: Reduction, X: Array) -> Reduction:
    scales = np.ones(X.shape[1]) if old.scales is None else old.scales
    n, m = old.rows, len(X)
    means = X.mean(axis=0) if old.centred else np.zeros(X.shape[1])
    around = (X - means) / scales
    roots = np.sqrt(old.squares)[:, np.newaxis] * old.A.astype(FLOAT64)
    stack, added = [roots, around], float(np.square(around).sum())
    if old.centred:
        # one row more carries the shift of the mean, the last term of the equation above
        between = math.sqrt(n * m / (n + m)) * (old.means - means) / scales
        stack, added = [*stack, between[np.newaxis]], added + float(np.square(between).sum())
    away = None if old.away is None else (n * old.away + m * (X / scales).mean(axis=0)) / (n + m)
    _, S, Vt = svd(np.vstack(stack))
    squares = np.square(S)
    keep = min(len(S), SPARE_RATIO * old.rank + FEWEST_SPARE)
    rank = old.rank
    # the convention of every reduction: the entry of largest size in a component is positive
    signs = np.sign(Vt[np.arange(len(Vt)), np.abs(Vt).argmax(axis=1)])
    signs = np.where(signs == 0, 1.0, signs)
    return replace(
        old,
        A=(signs[:keep, np.newaxis] * Vt[:keep]).astype(old.dtype),
        squares=squares[:keep],
        means=(n * old.means + m * means) / (n + m) if old.centred else old.means,
        energy=old.energy + added,
        rows=n + m,
        measured=None,
        whole=None,
        away=away,
        floor=None
        if old.missing
        else max(old.floor or 0.0, math.sqrt(float(squares[rank:].sum()))),
    )
