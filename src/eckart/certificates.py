"""How good: the error of W − B·A beside a bound on the best error that is possible."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, cast, final

import numpy as np
import numpy.typing as npt

from eckart.arguments import check_flag, check_number
from eckart.arrays import FLOAT32, FLOAT64, Array, rounding, working_array
from eckart.backends import singular_values as all_singular_values
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, as_factors
from eckart.matrices import Matrix, as_matrix, rescaled
from eckart.matrices.derived import check_entries, dense
from eckart.objectives import MEASURED_WITHIN, is_large, residual_norm
from eckart.ranks import tail_errors
from eckart.subspaces import (
    FailureBudget,
    KrylovSpace,
    RitzData,
    hidden,
    leading_squares_bound,
    rise_bound,
)

SMALL: Final = 1000
"""Up to min(rows, columns) of this, the best possible error comes from all singular values."""
LARGEST_EXACT: Final = 3000
"""Up to min(rows, columns) of this, all singular values can be had."""
KNOWN_WITHIN: Final = {FLOAT32: 1e-3, FLOAT64: 1e-8}
"""The error is taken from what a solver knows where that is sure to this share of it: in float32
the 0.1 % within which an answer is called near the best."""
EQUAL: Final = 1e-9
"""Sums of squares in float64 that differ by a larger share are not of the same matrix."""
ROUGHLY: Final = 1e-2
"""The same share where no bound is asked for, so that nothing is made of the error but a figure."""
GATHERED: Final = 0xEC4A86
"""Key of the directions in which evidence is gathered for factors that came without any."""
LITTLE: Final = 2e-3
"""What rounding may hide of ‖W‖² is of no account where it is below this share of the loss."""
OVERSAMPLING: Final = 8
BLOCKS: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How far factors are from W, and from the best factors of their rank.

    Fields:
        error: ‖W − B·A‖_F.
        relative_error: error / ‖W‖_F; 0 for a matrix of zeros.
        best_possible_error: At most the error of any pair of this rank. None where it is not known.
        gap: error / best_possible_error − 1, at least 0. None where nothing bounds it.
        failure_probability: Of `best_possible_error` being too large; 0 where nothing is random.
        method: How the figures were obtained.
        regularized_gap: How far the penalised error over known entries is above the least of any
            rank, as a share of that; None where it is not known.
    """

    error: float
    relative_error: float
    best_possible_error: float | None
    gap: float | None
    failure_probability: float
    method: str
    regularized_gap: float | None = None

    @property
    def share_of_optimum(self) -> float | None:
        """best_possible_error / error = 1 / (1 + gap): 1 at the optimum."""
        return None if self.gap is None else 1 / (1 + self.gap)

    def scaled(self, factor: float, failure: float = 0.0) -> "Certificate":
        """That of factor·W and its factors, after further tests that fail with some probability."""
        best = self.best_possible_error
        return replace(
            self,
            error=self.error * factor,
            best_possible_error=None if best is None else best * factor,
            failure_probability=self.failure_probability + failure,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields and the share of the optimum, as plain numbers."""
        return {**asdict(self), "share_of_optimum": self.share_of_optimum}


def certify(
    W: object,
    factors: Factors | tuple[npt.ArrayLike, npt.ArrayLike],
    singular_values: Array | None = None,
    *,
    evidence: RitzData | None = None,
    probing: FailureBudget | None = None,
    loss: float | None = None,
    bound: bool = True,
) -> Certificate:
    """Measure the error of factors and bound the best error of their rank.

    By Eckart and Young no pair (B, A) of rank r has ‖W − B·A‖ below √(σ²_{r+1} + σ²_{r+2} + …).
    Where min(rows, columns) is at most 1000, or `singular_values` are given, that is computed, each
    singular value lowered by what rounding may have added to it. Else σ₁² + … + σ_r² is bounded
    from above by products with W only, and ‖W‖² less that bound is what no pair can go below. An
    error within the rounding of the factors' own dtype is reported as exact, with gap 0.

    Args:
        W: Matrix of shape (rows, columns), or what `as_matrix` reads.
        factors: Factors of that shape, or a pair (B, A), from anywhere.
        singular_values: All singular values of W, in any order, where they are known already.
        evidence: What a solver knows of a large W; it is gathered where it is missing.
        probing: The random tests of a run so far, if this is not the first.
        loss: ‖W − B·A‖²_F of a large W, where the solver has it from its own products, wrong by at
            most 32·eps·‖W‖². It takes the place of a measurement where that is at most 1/1000 of
            the error (in float64 10⁻⁸, without the bound 1/100), else the measurement is right to
            that share.
        bound: False measures the error only, in one pass.

    Returns:
        The certificate; `failure_probability` is 0 for a small W, else at most 10⁻⁶, that of all
        tests up to this one together.

    Raises:
        ArgumentError: If the factors are neither `Factors` nor a pair, or the singular values are
            not those of W.
        MatrixError: If the shapes differ, or W or the factors hold what is not a finite number.

    Cost:
        Nothing where the loss is sure enough, else one product of width rank, and a pass in float64
        where the error is small. For a small W all
        its singular values by LAPACK; for a large one 3 to 11 products of width 16, and without
        evidence those of `KrylovSpace`.

    Example:
        >>> from eckart.matrices import Dense
        >>> proof = certify(Dense(np.diag([3.0, 2.0])), Factors([[3.0], [0.0]], [[1.0, 0.0]]))
        >>> proof.error, round(proof.best_possible_error, 9), round(proof.gap, 9)
        (2.0, 2.0, 0.0)

    Reference:
        Eckart, Young (1936), Psychometrika 1(3); docs/mathematics/certificate.md.
    """
    matrix, pair = as_matrix(W), as_factors(factors)
    loss = None if loss is None else check_number("loss", loss)
    check_flag("bound", bound)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squared_norm = matrix.squared_norm()
    if not np.finfo(FLOAT64).tiny < squared_norm < math.inf:
        check_entries(matrix)  # says what is wrong, if not all are zeros
    exponent = 0
    if singular_values is not None:
        singular_values = _all_of(matrix, singular_values)
    if evidence is None:  # which is of W as it is
        matrix, exponent = rescaled(matrix)
    factor = 2.0**exponent
    proof = _certified(
        matrix,
        pair if exponent == 0 else _rescaled(pair, exponent),
        None if singular_values is None else singular_values * factor,
        evidence,
        probing,
        None if loss is None else loss * factor * factor,
        bound=bound,
    )
    if bound and not math.isfinite(proof.error):
        raise MatrixError(
            "The factors are so large that their error leaves the range of float64.",
            hint="Check that they are those of this matrix.",
            code="out-of-range",
        )
    return proof.scaled(1 / factor)


def _all_of(W: Matrix, singular_values: object) -> Array:
    """All singular values of W, descending, as they were given in any order.

    Raises:
        ArgumentError: If they are those of another matrix, or not all of them.
    """
    values = working_array(cast("npt.ArrayLike", singular_values))
    count, squared_norm = min(W.shape), W.squared_norm()
    if values.shape == (count,) and not values.min() < 0:
        exact = values.astype(FLOAT64)
        share = KNOWN_WITHIN[FLOAT32] if FLOAT32 in (values.dtype, W.dtype) else EQUAL
        if abs(float(exact @ exact) - squared_norm) <= share * squared_norm:
            return np.sort(values)[::-1]
    raise ArgumentError(
        "The singular values are not those of this matrix: their squares do not add up to ‖W‖².",
        hint=f"Give all {count} of them, or leave them out to have them computed.",
        code="bad-singular-values",
    )


def _rescaled(factors: Factors, exponent: int) -> Factors:
    """Those of 2^exponent·W, with half of that on either side."""
    half = exponent // 2
    return Factors(factors.B * 2.0 ** (exponent - half), factors.A * 2.0**half)


def _certified(
    matrix: Matrix,
    factors: Factors,
    singular_values: Array | None,
    evidence: RitzData | None,
    probing: FailureBudget | None,
    loss: float | None,
    *,
    bound: bool,
) -> Certificate:
    """As `certify`, of a matrix whose squares stay in range."""
    factors = factors.on(matrix.namespace)
    within = KNOWN_WITHIN[matrix.dtype] if bound else ROUGHLY
    norm, measured = math.sqrt(matrix.squared_norm()), "error by direct products"
    if loss and (doubt := hidden(matrix) / (2 * loss)) <= within and is_large(matrix):
        error, measured = math.sqrt(loss), f"error by products of the solver, to {doubt:.1g} of it"
    else:
        doubt = MEASURED_WITHIN[matrix.dtype] if bound and loss is None else within
        error = residual_norm(matrix, factors, doubt)
    exact = error <= rounding(matrix.shape, factors.dtype) * norm
    best, failure, how = None, 0.0, "the best possible error was not asked for"
    if bound and min(matrix.shape) <= SMALL and singular_values is None:
        singular_values = spectrum(matrix)
    if bound and singular_values is not None:
        best = exact_bound(matrix, factors.rank, singular_values)
        how = "best possible error from all singular values (LAPACK)"
    elif bound and not exact:
        found = evidence or _gathered(matrix, factors.rank)
        best, failure = _bounded(matrix, factors.rank, found, probing)
        if loss is not None and hidden(matrix) > LITTLE * loss:
            best = _larger(best, _measured_bound(matrix, factors.rank, found, error * (1 - doubt)))
        how = "best possible error bounded by products with W (Weyl)"
    best = None if best is None else min(error, best)
    gap = 0.0 if exact else (error / best - 1 if best else None)
    return Certificate(
        error=error,
        relative_error=error / norm if norm > 0 else 0.0,
        best_possible_error=best,
        gap=gap,
        failure_probability=failure,
        method="exact to rounding" if exact else f"{measured}; {how}",
    )


def together(certificates: Sequence[Certificate], norms: Sequence[float]) -> Certificate:
    """One certificate for several matrices with their own factors, as if they were one matrix.

    Squared errors add up, and so do the bounds and the failure probabilities.

    Args:
        certificates: One for each matrix.
        norms: ‖W‖_F of each.

    Example:
        >>> parts = [certify(np.diag([3.0, 1.0]), Factors([[3.0], [0.0]], [[1.0, 0.0]]))] * 4
        >>> together(parts, [10**0.5] * 4).error
        2.0
    """
    error, norm = math.hypot(*(one.error for one in certificates)), math.hypot(*norms)
    bounds = [one.best_possible_error for one in certificates]
    best = None if None in bounds else math.hypot(*(bound or 0.0 for bound in bounds))
    exact = all(one.gap == 0 for one in certificates)
    return Certificate(
        error=error,
        relative_error=error / norm if norm > 0 else 0.0,
        best_possible_error=best,
        gap=0.0 if exact else (error / best - 1 if best else None),
        failure_probability=sum(one.failure_probability for one in certificates),
        method="; ".join(dict.fromkeys(one.method for one in certificates)),
    )


def exact_bound(W: Matrix, rank: int, singular_values: Array) -> float:
    """√(σ²_{r+1} + …), each σ lowered by what rounding may have added to it."""
    slack = rounding(W.shape, singular_values.dtype) * float(singular_values[0])
    surely = np.maximum(singular_values.astype(FLOAT64) - slack, 0.0)
    return float(tail_errors(surely)[min(rank, len(surely))])


def probable_bound(
    W: Matrix, rank: int, evidence: RitzData, probing: FailureBudget
) -> float | None:
    """√(‖W‖² − U), where U bounds σ₁² + … + σ_r² and what rounding may have hidden of it.

    None where that leaves nothing.
    """
    if evidence.width < rank:
        return None
    return _root(W, probing.leading_squares(W, evidence, rank))


def _bounded(
    W: Matrix, rank: int, evidence: RitzData, probing: FailureBudget | None
) -> tuple[float | None, float]:
    """The best bound that was found, and the probability that any of them is wrong.

    Tests of their own are made only where no probes were multiplied along, or were made before.
    """
    carried = carried_bound(W, rank, evidence)
    carries = evidence.outside is not None and math.isfinite(evidence.outside)
    if carries and not (probing and probing.tests):
        return carried, evidence.failure
    probing = probing or FailureBudget()
    tested = probable_bound(W, rank, evidence, probing)
    return _larger(carried, tested), evidence.failure + probing.failure


def _larger(*bounds: float | None) -> float | None:
    """The largest of the bounds that there are."""
    return max((bound for bound in bounds if bound is not None), default=None)


def _measured_bound(W: Matrix, rank: int, evidence: RitzData, error: float) -> float | None:
    """The best possible error, from the least that the error of the solver's factors can be.

    With P an orthonormal basis of the columns of B, ‖W − B·A‖² = ‖W − PPᵀW‖² + ‖PPᵀW − B·A‖², and
    the last is rounding. ‖W‖² appears nowhere, so that a large σ₁ hides only p·eps·‖W‖ of an error,
    not √eps of it.
    """
    if evidence.gain is None or evidence.outside is None or evidence.width < rank:
        return None
    total, share = W.squared_norm(), rounding(W.shape, W.dtype)
    upper = rise_bound(evidence, rank, evidence.outside, total, share)
    left = error**2 - share**2 * total
    left -= max(0.0, upper - evidence.gain)
    return math.sqrt(left) if left > 0 else None


def carried_bound(
    W: Matrix, rank: int, evidence: RitzData, *, likely: bool = False
) -> float | None:
    """As `probable_bound`, by the probes that were multiplied along with the space, if any.

    No product; a few symmetric eigenvalue problems of the width of V.

    Args:
        W: The matrix.
        rank: Columns of B.
        evidence: Of a space.
        likely: Whether to take the estimate of the probes in place of their bound.
    """
    outside = evidence.likely if likely else evidence.outside
    if evidence.width < rank or outside is None or math.isinf(outside):
        return None
    return _root(W, leading_squares_bound(evidence, rank, outside, W.squared_norm()))


def clearest_bound(W: Matrix, rank: int, evidence: RitzData) -> float | None:
    """What `probable_bound` could find if nothing lay outside V: what rounding alone leaves."""
    return _root(W, float(evidence.ritz()[0][:rank].sum()))


def _root(W: Matrix, leading_squares: float) -> float | None:
    """√(‖W‖² − U), with what rounding may have hidden of U; None where nothing is left."""
    total = W.squared_norm()
    upper = leading_squares + hidden(W)
    return math.sqrt(total - upper) if upper < total else None


def _gathered(W: Matrix, rank: int) -> RitzData:
    """Evidence of a Krylov space four blocks wide, for factors that came without any."""
    randomness = np.random.Generator(np.random.Philox(key=GATHERED))
    space = KrylovSpace(W, rank + OVERSAMPLING, randomness)
    for _ in range(BLOCKS):
        space.grow()
        if space.is_whole:
            break
    return space.evidence()


def spectrum(W: Matrix) -> Array | None:
    """All singular values of W in float64, or None where that would take too long.

    Cost:
        As `eckart.backends.singular_values`, for min(rows, columns) up to 3000.
    """
    if min(W.shape) > LARGEST_EXACT or math.prod(W.shape) > LARGEST_EXACT * 10**5:
        return None
    return all_singular_values(W.namespace.get(dense(W)))
