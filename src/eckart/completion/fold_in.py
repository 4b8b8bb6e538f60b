"""Fold in: fit new rows or columns to a factorisation without fitting it again."""

from dataclasses import replace
from typing import Final, Literal, overload

import numpy as np

from eckart.approximations import BiasedFactors, PosteriorSamples, as_biased
from eckart.arrays import FLOAT32, Randomness, as_randomness
from eckart.completion.als import Cholesky, NonnegativeCoordinates
from eckart.completion.entries import Entries
from eckart.completion.gibbs import draw_rows
from eckart.completion.objective import Observed
from eckart.completion.on_cluster import rows_on
from eckart.completion.sweeps import FactorTable, FactorTables
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors
from eckart.threads import one_blas_thread

Side = Literal["rows", "columns"]
CYCLES: Final = 1000
"""Most cycles of coordinate descent for a nonnegative row; most rows converge far earlier."""


@overload
def fold_in(
    approximation: BiasedFactors | Factors,
    objective: Observed,
    entries: Entries,
    side: Side = "rows",
    *,
    seed: int | Randomness = 0,
    cluster: object = None,
) -> BiasedFactors: ...
@overload
def fold_in(
    approximation: PosteriorSamples,
    objective: Observed,
    entries: Entries,
    side: Side = "rows",
    *,
    seed: int | Randomness = 0,
) -> PosteriorSamples: ...
def fold_in(
    approximation: BiasedFactors | Factors | PosteriorSamples,
    objective: Observed,
    entries: Entries,
    side: Side = "rows",
    *,
    seed: int | Randomness = 0,
    cluster: object = None,
) -> BiasedFactors | PosteriorSamples:
    """Fit new rows (or columns) to a factorisation whose columns (or rows) stay as they are.

    Each new row is the exact solution of the equations of a fitted row, without negative factors if
    the fit allowed none; so a row of the fit that is folded in again is unchanged once the fit has
    converged. For `PosteriorSamples` the row is drawn from its posterior in every draw, so that its
    predictions have the same spread as those of a row of the fit.

    Args:
        approximation: Fitted factors, with or without biases, or posterior samples.
        objective: Objective of the fit; attributes, if any, are those of the new rows.
        entries: Entries of the new rows, of shape (new rows, columns) or (rows, new columns).
        side: Side that is new, "rows" or "columns".
        seed: Seed of the draws for `PosteriorSamples`. If both rows and columns are folded in, pass
            one `Generator` to both calls, or their draws are not independent.
        cluster: Dask cluster that solves the rows, as in `factorize`; not for `PosteriorSamples`.

    Returns:
        An approximation of the shape of `entries`: the new rows with the old columns, or the
        reverse. In `BiasedFactors` a row without entries and attributes has factors and bias of 0.

    Raises:
        ArgumentError: If an argument has a wrong type, or `PosteriorSamples` have no priors, or are
            to be drawn on a cluster.
        ClusterError: If the cluster cannot do the work.
        MatrixError: If the side that stays has another length.

    Cost:
        rank² operations for each entry and rank³/3 for each row; for `PosteriorSamples` that many
        for each draw.

    Example:
        >>> fitted = BiasedFactors(0.0, [0.0], [0.0, 0.0], Factors([[1.0]], [[1.0, 2.0]]))
        >>> new = Entries.of([0], [1], [4.0], shape=(1, 2))
        >>> objective = Observed(regularization=1e-6, biases=False)
        >>> fold_in(fitted, objective, new).factors.B.round(3)
        array([[2.]], dtype=float32)
    """
    _check(approximation, objective, entries, side)
    along = 1 if side == "rows" else 0
    if entries.shape[along] != approximation.shape[along]:
        kept = "columns" if side == "rows" else "rows"
        raise MatrixError(
            f"The entries have {entries.shape[along]} {kept}, "
            f"the factors {approximation.shape[along]}.",
            hint=f"Number {kept} as when the factors were fitted.",
            code="shapes-differ",
        )
    if isinstance(approximation, PosteriorSamples):
        if cluster is not None:
            raise ArgumentError(
                "Posterior samples are drawn here, not on a cluster.",
                hint="Leave the cluster out.",
                code="on-a-cluster",
            )
        return _draw(approximation, objective, entries, side, as_randomness(seed))
    fitted = as_biased(approximation)
    tables, new, old = _tables(fitted, objective, entries, side)
    by = NonnegativeCoordinates(bounded=fitted.rank, cycles=CYCLES)
    with one_blas_thread(), rows_on(cluster) as rows_by:
        # a rotation would change the side that stays
        rows = rows_by(by if objective.nonnegative else Cholesky())
        tables.improve(new, old, rows, turning=False)
    return _with_extra(tables, fitted)


def _check(approximation: object, objective: object, entries: object, side: object) -> None:
    """Refuse arguments of a wrong type."""
    for name, value, kinds in (
        ("approximation", approximation, (BiasedFactors, Factors, PosteriorSamples)),
        ("objective", objective, (Observed,)),
        ("entries", entries, (Entries,)),
    ):
        if not isinstance(value, kinds):
            raise ArgumentError(
                f"The {name} is a {type(value).__name__}.",
                hint=f"Give {' or '.join(kind.__name__ for kind in kinds)}.",
                code=f"bad-{name}",
            )
    if not isinstance(side, str) or side not in ("rows", "columns"):
        raise ArgumentError(
            f"The side is {side!r}.", hint='Give "rows" or "columns".', code="bad-side"
        )


def _draw(
    fitted: PosteriorSamples,
    objective: Observed,
    entries: Entries,
    side: Side,
    randomness: Randomness,
) -> PosteriorSamples:
    """Draw the new rows for every draw, from the posterior under its own prior."""
    if len(fitted.priors) < len(fitted.draws):
        raise ArgumentError(
            "These samples have no priors, so nothing can be folded in.",
            hint="Give each draw the priors of its rows and columns.",
            code="no-priors",
        )
    draws: list[BiasedFactors] = []
    for draw, priors in zip(fitted.draws, fitted.priors, strict=True):
        tables, new, old = _tables(draw, objective, entries, side)
        prior = priors[0 if side == "rows" else 1]
        with one_blas_thread():
            draw_rows(tables, new, old, prior, fitted.noise, randomness)
        draws.append(_with_extra(tables, draw))
    return replace(fitted, draws=tuple(draws))


def _tables(
    fitted: BiasedFactors, objective: Observed, entries: Entries, side: Side
) -> tuple[FactorTables, FactorTable, FactorTable]:
    """Return tables of the fit with new rows (or columns) of zeros, the new one and the old one."""
    count = entries.shape[0 if side == "rows" else 1]
    bias, B = np.zeros(count, FLOAT32), np.zeros((count, fitted.rank), FLOAT32)
    if side == "rows":
        # the columns stay as they are, so their attributes have no part in it
        only = replace(objective, column_attributes=None)
        tables = FactorTables(entries, only, replace(fitted.with_rows(B, bias), extra_rows=None))
        return tables, tables.rows, tables.columns
    only = replace(objective, row_attributes=None)
    start = replace(fitted.with_columns(B.T, bias), extra_columns=None)
    tables = FactorTables(entries, only, start)
    return tables, tables.columns, tables.rows


def _with_extra(tables: FactorTables, fitted: BiasedFactors) -> BiasedFactors:
    found = tables.snapshot()()
    return replace(found, extra_columns=fitted.extra_columns, extra_rows=fitted.extra_rows)
