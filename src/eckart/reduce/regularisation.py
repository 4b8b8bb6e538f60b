"""Choice of λ for a table with missing entries, on known entries that are held out."""

import math
from dataclasses import dataclass, replace
from typing import Final, cast, final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from eckart.approximations import BiasedFactors
from eckart.arrays import FLOAT64, Randomness
from eckart.completion.als import AlternatingLeastSquares
from eckart.completion.entries import Compressed, Entries
from eckart.completion.objective import Observed
from eckart.factorization import factorize
from eckart.factors import Factors
from eckart.matrices import Sparse

HELD_OUT: Final = 0.1
"""Share of the known entries that is held out."""
FEWEST: Final = 50
"""Fewest known entries of which some are held out."""
MOST: Final = 3_000_000
"""Known entries that are used, at most; of a larger table, those of a sample of its rows."""
FALLING: Final = 4.0
"""Factor by which each λ that is tried is smaller than the one before."""
MOST_TRIALS: Final = 12
"""Values of λ that are tried, at most."""
WORSE: Final = 2
"""The search ends after so many λ in a row that are not clearly better than the best."""
CLEARLY: Final = 1e-3
"""Share by which the error must fall for a λ to be clearly better."""
EPOCHS: Final = 15
"""Sweeps of each fit of the search."""
UNTRIED: Final = 1000.0
"""If nothing can be held out, λ is so many times smaller than the one that makes B·A zero."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """λ, and how it was chosen.

    Fields:
        strength: λ.
        error: Root mean square error on the held-out entries, in their unit; None if there were
            none.
        held: Number of entries that were held out.
        trials: Number of λ that were tried.
    """

    strength: float
    error: float | None
    held: int
    trials: int

    def scaled(self, factor: float) -> "Penalty":
        """The penalty for entries that are `factor` times as large."""
        error = None if self.error is None else self.error * factor
        return replace(self, strength=self.strength * factor, error=error)

    def sentence(self) -> str:
        """The chosen λ and its error on held-out entries, in a sentence."""
        if self.error is None:
            return f"λ is {self.strength:.3g}: there are too few entries to choose it by."
        return (
            f"λ = {self.strength:.3g} is the best of {self.trials} on {self.held:,} known entries "
            f"that were held out, which are met to {self.error:.4g} (RMSE)."
        )


def objective(strength: float, *, centre: bool) -> Observed:
    """The objective Σ_known (W − means − B·A)² + λ(‖B‖² + ‖A‖²)."""
    return Observed(regularization=strength, count_exponent=0, biases=centre, row_biases=False)


def chosen_penalty(entries: Entries, rank: int, *, centre: bool, randomness: Randomness) -> Penalty:
    """Choose the λ whose factors predict a held-out tenth of the known entries best.

    The search starts at ‖W‖₂ over the share of known entries, for which zero factors are best, and
    goes down by factors of four until the error no longer falls. What noise adds to singular values
    grows with the root of the number of entries, and the returned λ is scaled in the same way.

    Cost:
        At most 12 fits of 15 sweeps.
    """
    sample = _of_some_rows(entries, randomness)
    held = np.asarray(randomness.uniform(size=len(sample))) < HELD_OUT
    if len(entries) < FEWEST or not held.any():
        strength = _largest(spectral_start(entries, 1)) / UNTRIED
        return Penalty(strength=strength, error=None, held=0, trials=0)
    train, test = _part(sample, ~held), _part(sample, held)
    solver, tried = AlternatingLeastSquares(epochs=EPOCHS), dict[float, float]()
    # computed once, since it does not depend on λ
    start = spectral_start(train, min(rank, *train.shape))
    strength, best = _largest(start), 0.0
    while len(tried) < MOST_TRIALS:
        strength /= FALLING
        wanted = objective(strength, centre=centre)
        fit = factorize(
            train, start.rank, objective=wanted, solver=solver, start=start, certificate=False
        )
        fitted = cast("BiasedFactors", fit.approximation)
        left = fitted.predict(test.rows, test.columns) - test.values
        tried[strength] = math.sqrt(float(np.mean(np.square(left))))
        # 0 stands for no λ yet
        if not best or tried[strength] < (1 - CLEARLY) * tried[best]:
            best = strength
        elif list(tried).index(best) < len(tried) - WORSE:
            break
    grown = best * math.sqrt(len(entries) / len(train))
    return Penalty(strength=grown, error=tried[best], held=len(test), trials=len(tried))


def spectral_start(entries: Entries, rank: int) -> Factors:
    """The leading directions of the entries, with zeros for missing ones, as balanced factors.

    They are balanced because alternating least squares moves length from one factor to the other
    only slowly if λ is small.
    """
    order = entries.by_rows
    parts = order.values.astype(FLOAT64), order.indices, order.starts
    W = Sparse(scipy.sparse.csr_array(parts, shape=entries.shape))
    factors = factorize(W, rank, certificate=False).factors.balance()
    # zeros for missing entries make the matrix smaller by this share
    share = len(entries) / (entries.shape[0] * entries.shape[1])
    return Factors(factors.B / share**0.5, factors.A / share**0.5)


def _largest(factors: Factors) -> float:
    """The largest singular value; 1 if all are 0."""
    # a λ of 0 could not be divided down
    return float(factors.singular_values()[0]) or 1.0


def _of_some_rows(entries: Entries, randomness: Randomness) -> Entries:
    if len(entries) <= MOST:
        return entries
    chosen = np.asarray(randomness.uniform(size=entries.shape[0])) < MOST / len(entries)
    return _part(entries, np.repeat(chosen, entries.by_rows.counts), rows=chosen)


def _part(
    entries: Entries,
    kept: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.bool_] | None = None,
) -> Entries:
    """Some of the entries, and optionally some of the rows only."""
    order = entries.by_rows
    before = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])[order.starts]
    counts = np.diff(before) if rows is None else np.diff(before)[rows]
    part = Compressed(
        starts=np.concatenate([[0], np.cumsum(counts)]),
        indices=order.indices[kept],
        values=order.values[kept],
        weights=order.weights,
    )
    return Entries(shape=(len(counts), entries.shape[1]), by_rows=part)
