"""Components of a table with missing entries, by least squares over the known entries alone."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, cast, final

import numpy as np

from eckart.approximations import BiasedFactors
from eckart.arrays import FLOAT32, FLOAT64, Array, DType, Randomness, as_randomness
from eckart.backends import HOST, scaled
from eckart.certificates import Certificate
from eckart.completion.als import AlternatingLeastSquares
from eckart.completion.entries import NONE, Compressed, Entries
from eckart.completion.run import certify_known
from eckart.engine import Components, Factorization, Outcome, Record
from eckart.engine.loop import in_units
from eckart.errors import ConvergenceWarning, MatrixError
from eckart.factorization import factorize
from eckart.factors import Factors, check_rank
from eckart.matrices import Matrix, Moments, Streamed
from eckart.matrices.derived import check_entries, out_of_range
from eckart.matrices.moments import deviations, means_of_listed
from eckart.ranks import GrowingRule, RankRule
from eckart.reduce.regularisation import Penalty, chosen_penalty, objective, spectral_start
from eckart.solvers import Step
from eckart.subspaces import directed

DECADES: Final = 151
"""The largest entry must be within 10^−n and 10^n, so that sums of squares stay in range."""
PER_ENTRY: Final = 32
"""Bytes for each known entry: its place and value in both orders, and its value while centred."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The known entries of a table, centred and scaled.

    Fields:
        entries: The values less the means, divided by the scales and the unit.
        unit: The power of two that brings the values near 1, so that the result does not depend on
            their size.
        means: Means of the known entries of each column, in float64; zeros if not centred.
        scales: Standard deviations of the known entries of each column, or None.
        missing: Number of missing entries.
    """

    entries: Entries
    unit: float
    means: Array
    scales: Array | None
    missing: int

    def sentence(self) -> str:
        """The number of missing entries, in a sentence."""
        return missing_sentence(self.missing, self.missing + len(self.entries))


def missing_sentence(missing: int, total: int) -> str:
    """The number of missing entries, in a sentence for the user.

    Example:
        >>> missing_sentence(1, 4)
        '1 of 4 entries (25.0%) is missing and was factored around.'
    """
    verb = "are missing and were" if missing > 1 else "is missing and was"
    return f"{missing:,} of {total:,} entries ({missing / total:.1%}) {verb} factored around."


def known_entries(
    W: Matrix, *, centre: bool, scale: bool, names: tuple[str, ...] | None = None
) -> Known:
    """Collect the known entries of a table whose missing entries are NaN.

    Args:
        W: The table, of shape (rows, columns).
        centre: Whether to subtract the means of the columns.
        scale: Whether to divide the columns by their standard deviations.
        names: Names of the columns, for messages.

    Raises:
        MatrixError: If an entry is infinite, a column has no known entry, squares leave the range
            of float64, or the known entries exceed the memory that W may take.

    Cost:
        One pass; 32 bytes for each known entry.
    """
    order = _by_rows(W)
    columns = W.shape[1]
    counts = np.bincount(order.indices, minlength=columns)
    if not counts.all():
        place = int(np.argmin(counts))
        which = f"Column {place} (counted from 0)" if names is None else f"Column '{names[place]}'"
        raise MatrixError(
            f"{which} has no entry that is known.",
            hint="Leave it out.",
            code="empty-column",
        )
    largest = float(np.abs(order.values).max())
    if largest > 0 and abs(math.log10(largest)) > DECADES:
        raise out_of_range(largest)
    means = means_of_listed(order.indices, order.values, counts, counts)
    around = order.values - means[order.indices]
    squares = np.bincount(order.indices, weights=np.square(around), minlength=columns)
    scales = deviations(squares.astype(FLOAT64), counts.astype(FLOAT64), means) if scale else None
    values = around if centre else order.values.astype(FLOAT64)
    if scales is not None:
        values /= scales[order.indices]
    # a power of two changes no digit
    unit = _unit(values)
    order = replace(order, values=(values / unit).astype(FLOAT32))
    return Known(
        entries=Entries(shape=W.shape, by_rows=order),
        unit=unit,
        means=means if centre else means * 0.0,
        scales=scales,
        missing=W.shape[0] * columns - len(order.values),
    )


def _unit(values: Array) -> float:
    """The power of two next above the root mean square of the values; 1 if all are zero."""
    near_one, exponent = scaled(values)
    size = math.sqrt(float(np.mean(np.square(near_one))))
    return 2.0 ** (exponent + int(np.frexp(size)[1]))


def _by_rows(W: Matrix) -> Compressed:
    """The entries that are not NaN, ordered by rows."""
    counts: list[Any] = []
    indices: list[Any] = []
    values: list[Any] = []
    found = 0
    for native in W.row_blocks():
        block = W.namespace.get(native)
        known = ~np.isnan(block)
        # raises the error that names the infinite entry
        if not np.isfinite(np.where(known, block, 0)).all():
            check_entries(W)
        counts.append(known.sum(axis=1))
        indices.append(np.nonzero(known)[1].astype(np.int32))
        values.append(block[known])
        found += len(indices[-1])
        # as soon as it is certain, not after the whole table was read
        if isinstance(W, Streamed) and PER_ENTRY * found > W.memory:
            needed = PER_ENTRY * found * W.shape[0] / sum(map(len, counts))
            raise MatrixError(
                "What is known of a table with gaps is held in memory, which takes "
                f"{needed / 1e6:.0f} MB here; {W.memory / 1e6:.0f} MB are allowed.",
                hint=f"Give `memory={needed / 1e6:.0f}MB`, or fill the gaps.",
                code="memory-too-small",
            )
    return Compressed(
        starts=np.concatenate([[0], np.cumsum(np.concatenate(counts), dtype=np.int64)]),
        indices=np.concatenate(indices),
        values=np.concatenate(values),
        weights=NONE,
    )


FIRST_RANK: Final = 16
"""The first rank that is tried if a rule finds the rank; it is then doubled as often as needed."""
ROUND: Final = 20
"""Sweeps after which the factors are balanced: with a small λ, alternating least squares moves
length from one factor to the other only slowly."""
EPOCHS: Final = 15 * ROUND
"""Sweeps of one fit, at most."""
TOLD: Final = 64 * float(np.finfo(FLOAT32).eps)
"""Components below this share of the table are within the rounding of a fit in float32."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """The result of `around_gaps`.

    Fields:
        found: The components, in the form that `components` returns.
        moments: The moments of the columns, with missing entries as the factors fill them.
        penalty: λ, in the unit of the table.
    """

    found: Components
    moments: Moments
    penalty: Penalty


def around_gaps(
    known: Known,
    rule: RankRule,
    *,
    centre: bool,
    dtype: DType,
    certificate: bool = True,
    seed: int | Randomness = 0,
    on_step: Callable[[Step], None] | None = None,
) -> Filled:
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

    Raises:
        ArgumentError: If a rank is below 1.
        MatrixError: If a rank is above min(rows, columns).

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
    penalty = chosen_penalty(entries, rank, centre=centre, randomness=randomness)
    # losses of steps are shown in the unit of the table too
    watched = in_units(on_step, -round(math.log2(known.unit)))
    fitted = Fitting(entries, penalty, centre, randomness, watched)
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
    said = " ".join([known.sentence(), penalty.sentence(), found.message])
    scales = known.unit if known.scales is None else known.unit * known.scales
    return Filled(
        found=replace(found, message=said, seconds=time.perf_counter() - began),
        moments=Moments(
            means=known.means + offset.column_bias * scales,
            scales=known.scales,
            energy=found.total,
        ),
        penalty=penalty,
    )


@final
@dataclass(frozen=True, slots=True)
class Fitting:
    """Fits of different ranks to the same entries with the same λ."""

    entries: Entries
    penalty: Penalty
    centre: bool
    randomness: Randomness
    on_step: Callable[[Step], None] | None

    def at(
        self, rank: int, *, start: BiasedFactors | Factors | None = None, watched: bool = True
    ) -> Factorization:
        """Fit a rank, in rounds of sweeps that each begin with balanced factors."""
        start = start or spectral_start(self.entries, rank)
        history: list[Record] = []
        while True:
            with warnings.catch_warnings():
                # a round that ends at its limit is not yet a failure to converge
                warnings.simplefilter("ignore", ConvergenceWarning)
                fit = factorize(
                    self.entries,
                    rank,
                    objective=objective(self.penalty.strength, centre=self.centre),
                    solver=AlternatingLeastSquares(epochs=ROUND, stop_early=True),
                    start=start,
                    certificate=False,
                    on_step=self.on_step if watched else None,
                )
            history += fit.history
            if fit.outcome is not Outcome.EPOCH_LIMIT or len(history) >= EPOCHS:
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


def _energy(entries: Entries, squares: Array, proof: Certificate) -> float:
    """‖W‖² with missing entries filled in."""
    return float(squares.sum()) + _outside(entries, proof)


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
    known: Known,
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
    if values[-1] < TOLD * np.linalg.norm(values):
        outcome = Outcome.STALLED
        message += (
            f" Those below {TOLD * values[0] * known.unit:.3g} are within the rounding of the fit: "
            "scale the columns, or leave out rows and columns that are far larger than the rest."
        )
    elif outcome.grade == "short":
        message += f" {outcome.value}"
    return Components(
        A=A.astype(dtype),
        squares=squares,
        spectrum=squares,
        total=_energy(entries, squares, proof),
        outcome=outcome,
        message=message,
        history=tuple(record.scaled(known.unit) for record in fit.history),
        certificate=proof,
        recipe=replace(fit.recipe, rank_rule=rule.describe()),
        passes=0,
        seconds=fit.seconds,
    )
