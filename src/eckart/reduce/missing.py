"""Components of a table with missing entries, by least squares over the known entries alone."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, cast, final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from eckart.approximations import BiasedFactors
from eckart.arrays import FLOAT32, FLOAT64, DType, Randomness, as_randomness
from eckart.backends import HOST
from eckart.certificates import Certificate
from eckart.completion.als import AlternatingLeastSquares
from eckart.completion.entries import Compressed, Entries
from eckart.completion.objective import Observed
from eckart.completion.run import certify_known
from eckart.engine import Components, Factorization, Outcome, Record
from eckart.engine.loop import in_units
from eckart.errors import ConvergenceWarning
from eckart.factorization import factorize
from eckart.factors import Factors, check_rank
from eckart.matrices import Moments, Sparse
from eckart.ranks import GrowingRule, RankRule
from eckart.reduce.table import KnownEntries, missing_sentence
from eckart.solvers import Step
from eckart.subspaces import directed

TRIAL_EPOCHS: Final = 15
"""Sweeps of each fit of the search."""
HELD_OUT_SHARE: Final = 0.1
"""Share of the known entries that is held out."""
FEWEST_ENTRIES: Final = 50
"""Fewest known entries of which some are held out."""
MOST_ENTRIES: Final = 3_000_000
"""Known entries that are used, at most; of a larger table, those of a sample of its rows."""
FALLING_FACTOR: Final = 4.0
"""Factor by which each λ that is tried is smaller than the one before."""
MOST_TRIALS: Final = 12
"""Values of λ that are tried, at most."""
WORSE_TRIALS: Final = 2
"""The search ends after so many λ in a row that are not clearly better than the best."""
CLEAR_SHARE: Final = 1e-3
"""Share by which the error must fall for a λ to be clearly better."""
UNTRIED_FACTOR: Final = 1000.0
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


def choose_penalty(entries: Entries, rank: int, *, centre: bool, randomness: Randomness) -> Penalty:
    """Choose the λ whose factors predict a held-out tenth of the known entries best.

    The search starts at ‖W‖₂ over the share of known entries, for which zero factors are best, and
    goes down by factors of four until the error no longer falls. What noise adds to singular values
    grows with the root of the number of entries, and the returned λ is scaled in the same way.

    Cost:
        At most 12 fits of 15 sweeps.
    """
    sample = entries
    if len(entries) > MOST_ENTRIES:
        chosen = np.asarray(randomness.uniform(size=entries.shape[0])) < MOST_ENTRIES / len(entries)
        sample = _part(entries, np.repeat(chosen, entries.by_rows.counts), rows=chosen)
    held = np.asarray(randomness.uniform(size=len(sample))) < HELD_OUT_SHARE
    if len(entries) < FEWEST_ENTRIES or not held.any():
        strength = _largest(spectral_start(entries, 1)) / UNTRIED_FACTOR
        return Penalty(strength=strength, error=None, held=0, trials=0)
    train, test = _part(sample, ~held), _part(sample, held)
    solver, tried = AlternatingLeastSquares(epochs=TRIAL_EPOCHS), dict[float, float]()
    # computed once, since it does not depend on λ
    start = spectral_start(train, min(rank, *train.shape))
    strength, best = _largest(start), 0.0
    while len(tried) < MOST_TRIALS:
        strength /= FALLING_FACTOR
        wanted = objective(strength, centre=centre)
        fit = factorize(
            train, start.rank, objective=wanted, solver=solver, start=start, certificate=False
        )
        fitted = cast("BiasedFactors", fit.approximation)
        left = fitted.predict(test.rows, test.columns) - test.values
        tried[strength] = math.sqrt(float(np.mean(np.square(left))))
        # 0 stands for no λ yet
        if not best or tried[strength] < (1 - CLEAR_SHARE) * tried[best]:
            best = strength
        elif list(tried).index(best) < len(tried) - WORSE_TRIALS:
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


def _part(
    entries: Entries, kept: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_] | None = None
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


FIRST_RANK: Final = 16
"""The first rank that is tried if a rule finds the rank; it is then doubled as often as needed."""
ROUND_EPOCHS: Final = 20
"""Sweeps after which the factors are balanced: with a small λ, alternating least squares moves
length from one factor to the other only slowly."""
MOST_EPOCHS: Final = 15 * ROUND_EPOCHS
"""Sweeps of one fit, at most."""
ROUNDING_SHARE: Final = 64 * float(np.finfo(FLOAT32).eps)
"""Components below this share of the table are within the rounding of a fit in float32."""


def fit_known(
    known: KnownEntries,
    rule: RankRule,
    *,
    centre: bool,
    dtype: DType,
    certificate: bool = True,
    seed: int | Randomness = 0,
    on_step: Callable[[Step], None] | None = None,
) -> tuple[Components, Moments, float]:
    """Find components from the known entries of a table, without filling in the others.

    Minimises Σ_known (W − means − B·A)² + λ(‖B‖² + ‖A‖²) by alternating least squares, with λ
    chosen on a tenth of the known entries, and turns B·A into orthonormal components.

    Args:
        known: The known entries.
        rule: The rule for the number of components; one that needs the spectrum is asked at 16, 32,
            … components.
        centre: Whether the means are fitted.
        dtype: Type of the components.
        certificate: Whether to compute the duality gap.
        seed: Seed of the start and of the choice of held-out entries.
        on_step: Called with every step of the last fit.

    Returns:
        The components in the form that `components` returns; the moments of the columns, with
        missing entries as the factors fill them; and λ in the unit of the table.

    Cost:
        About 8·rank operations for each known entry and sweep; some hundred sweeps in all.

    Reference:
        Mazumder, Hastie, Tibshirani (2010), JMLR 11; docs/mathematics/components.md.
    """
    began = time.perf_counter()
    entries, randomness = known.entries, as_randomness(seed)
    grows, most = rule.needs_spectrum, min(entries.shape)
    rank = min(FIRST_RANK, most) if grows else rule.choose(entries.shape, dtype, None)
    check_rank(rank, most=most, what=f"a table of {entries.shape[0]} × {entries.shape[1]}")
    penalty = choose_penalty(entries, rank, centre=centre, randomness=randomness)
    # losses of steps are shown in the unit of the table too
    watched = in_units(on_step, -round(math.log2(known.unit)))
    fitted = Fitting(entries, penalty, centre, watched)
    # while the rank is searched no step is of the last fit
    fit = fitted.at(rank, watched=not grows)
    while grows:
        wanted = fitted.enough(rule, fit, dtype)
        if wanted is not None:
            fit = fitted.at(wanted, start=_centred(fit, most=wanted))
            break
        rank = min(2 * rank, most)
        fit = fitted.at(rank, watched=False)
    offset = _centred(fit, most=fit.factors.rank)
    # fitted in units, reported in those of the table
    proof = _proof(entries, offset, penalty, bound=certificate).scaled(known.unit)
    penalty = penalty.scaled(known.unit)
    found = _components(known, offset, fit, proof, rule, dtype)
    missing = missing_sentence(known.missing, known.missing + len(entries))
    said = " ".join([missing, penalty.sentence(), found.message])
    scales = known.unit if known.scales is None else known.unit * known.scales
    means = known.means + offset.column_bias * scales
    moments = Moments(means=means, scales=known.scales, energy=found.total)
    found = replace(found, message=said, seconds=time.perf_counter() - began)
    return found, moments, penalty.strength


@final
@dataclass(frozen=True, slots=True)
class Fitting:
    """Fits of different ranks to the same entries with the same λ."""

    entries: Entries
    penalty: Penalty
    centre: bool
    on_step: Callable[[Step], None] | None

    def at(
        self, rank: int, *, start: BiasedFactors | Factors | None = None, watched: bool = True
    ) -> Factorization:
        """Fit a rank, in rounds of sweeps that each begin with balanced factors."""
        start = start or spectral_start(self.entries, rank)
        history: list[Record] = []
        while True:
            # a round that ends at its limit is not yet a failure to converge
            with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                fit = factorize(
                    self.entries,
                    rank,
                    objective=objective(self.penalty.strength, centre=self.centre),
                    solver=AlternatingLeastSquares(epochs=ROUND_EPOCHS, stop_early=True),
                    start=start,
                    certificate=False,
                    on_step=self.on_step if watched else None,
                )
            history += fit.history
            if fit.outcome is not Outcome.EPOCH_LIMIT or len(history) >= MOST_EPOCHS:
                return replace(fit, history=tuple(history))
            offset = cast("BiasedFactors", fit.approximation)
            start = replace(offset, factors=offset.factors.balance())

    def enough(self, rule: RankRule, fit: Factorization, dtype: DType) -> int | None:
        """The rank by a rule, or None if the rule needs more singular values."""
        values = _centred(fit, most=fit.factors.rank).factors.singular_values()
        shape, squares, found = fit.factors.shape, np.square(values), None
        if isinstance(rule, GrowingRule):
            found = rule.enough(shape, dtype, squares, _outside(self.entries, fit.certificate))
        # the whole spectrum is known, so the rule must decide
        if found is None and len(values) == min(shape):
            return rule.choose(shape, dtype, values)
        return found


def _centred(fit: Factorization, *, most: int) -> BiasedFactors:
    """The fit truncated to at most `most` components, with B about its mean if means are fitted."""
    offset = cast("BiasedFactors", fit.approximation)
    B, A = offset.factors.B.astype(FLOAT64), offset.factors.A.astype(FLOAT64)
    bias = np.zeros(A.shape[1])
    if fit.recipe.objective["biases"]:
        around = B.mean(axis=0)
        # the mean of B·A moves into the means of the columns; their sum stays the same
        B, bias = B - around, offset.column_bias + offset.mean + around @ A
    return BiasedFactors(0.0, np.zeros(len(B)), bias, Factors(B, A).truncate(most))


def _outside(entries: Entries, proof: Certificate) -> float:
    """The squared error of all entries, if the mean over missing ones is that over known ones."""
    rows, columns = entries.shape
    return proof.error**2 * rows * columns / len(entries)


def _proof(
    entries: Entries, offset: BiasedFactors, penalty: Penalty, *, bound: bool
) -> Certificate:
    """The error over the known entries, and the duality gap with the means held fixed."""
    order = entries.by_rows
    values = (order.values - offset.column_bias[order.indices]).astype(FLOAT32)
    around = Entries(shape=entries.shape, by_rows=replace(order, values=values))
    own = replace(offset, column_bias=np.zeros(entries.shape[1]))
    return certify_known(around, objective(penalty.strength, centre=False), own, bound=bound)


def _components(
    known: KnownEntries,
    offset: BiasedFactors,
    fit: Factorization,
    proof: Certificate,
    rule: RankRule,
    dtype: DType,
) -> Components:
    """The fit as orthonormal rows and their σ², in the unit of the table."""
    entries, values = known.entries, offset.factors.singular_values()
    squares = np.square(values * known.unit)
    # balanced rows of A have length √σ; a row of zeros stays one
    lengths = np.sqrt(np.where(values > 0, values, 1.0))
    A = directed(offset.factors.A / lengths[:, np.newaxis], HOST)
    message = (
        f"{f'{len(values)} components meet' if len(values) > 1 else 'One component meets'} "
        "the known entries to "
        f"{proof.error / np.sqrt(len(entries)):.4g} (RMSE)."
    )
    outcome = fit.outcome
    if values[-1] < ROUNDING_SHARE * np.linalg.norm(values):
        outcome = Outcome.STALLED
        least = ROUNDING_SHARE * values[0] * known.unit
        message += (
            f" Those below {least:.3g} are within the rounding of the fit: "
            "scale the columns, or leave out rows and columns that are far larger than the rest."
        )
    elif outcome.grade == "short":
        message += f" {outcome.value}"
    return Components(
        A=A.astype(dtype),
        squares=squares,
        spectrum=squares,
        # ‖W‖² with missing entries filled in
        total=float(squares.sum()) + _outside(entries, proof),
        outcome=outcome,
        message=message,
        history=tuple(record.scaled(known.unit) for record in fit.history),
        certificate=proof,
        recipe=replace(fit.recipe, rank_rule=rule.describe()),
        passes=0,
        seconds=fit.seconds,
    )
