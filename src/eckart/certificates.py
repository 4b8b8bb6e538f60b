"""Certificates: the error ‖W − B·A‖ beside a bound on the best possible error."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from eckart.arguments import check_flag, check_number
from eckart.arrays import FLOAT32, FLOAT64, Array, rounding, working_array
from eckart.backends import singular_values as all_singular_values
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, as_factors
from eckart.matrices import Matrix, as_matrix, rescaled
from eckart.matrices.derived import check_entries, dense
from eckart.objectives import MEASURED_SHARE, is_large, residual_norm
from eckart.ranks import tail_errors
from eckart.subspaces import (
    FailureBudget,
    KrylovSpace,
    RitzData,
    hidden,
    leading_squares_bound,
    rise_bound,
)

SMALL_SIDE: Final = 1000
"""Largest min(rows, columns) for which the bound is computed from all singular values."""
EXACT_SIDE: Final = 3000
"""Largest min(rows, columns) for which all singular values are computed."""
KNOWN_SHARE: Final = {FLOAT32: 1e-3, FLOAT64: 1e-8}
"""Accuracy from which a solver's loss is taken for the error; 0.1 % is called near the best."""
EQUAL_SHARE: Final = 1e-9
"""Sums of squares in float64 with a larger relative difference belong to different matrices."""
ROUGH_SHARE: Final = 1e-2
"""As `KNOWN_SHARE`, where no bound is asked for and the error is only a figure in a report."""
GATHERED_KEY: Final = 0xEC4A86
"""Philox key of the random start of the Krylov space for factors that come without evidence."""
ROUNDING_SHARE: Final = 2e-3
"""Rounding error of ‖W‖², as a share of the loss, below which it does not weaken the bound."""
EXTRA_COLUMNS: Final = 8
"""Columns of a block of that Krylov space, beyond the rank."""
MOST_BLOCKS: Final = 4
"""Most blocks of that Krylov space."""
EXACT: Final = "exact to rounding"
"""Method of a certificate whose error is within rounding of ‖W‖."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How far factors are from W, and from the best factors of their rank.

    Fields:
        error: ‖W − B·A‖_F.
        relative_error: error / ‖W‖_F; 0 for a matrix of zeros.
        best_possible_error: A lower bound on the error of every pair of this rank; None where it is
            not known.
        gap: error / best_possible_error − 1, at least 0; None where nothing bounds it.
        failure_probability: Probability that `best_possible_error` is too large; 0 if sure.
        method: How the figures were obtained.
        regularized_gap: Relative excess of the penalised error over known entries above its
            minimum over all ranks; None where it is not known.
    """

    error: float
    relative_error: float
    best_possible_error: float | None
    gap: float | None
    failure_probability: float
    method: str
    regularized_gap: float | None = None

    @classmethod
    def of(
        cls,
        error: float,
        norm: float,
        best: float | None,
        *,
        exact: bool,
        failure: float,
        method: str,
    ) -> "Certificate":
        """Return the certificate of an error beside ‖W‖ and a bound; an exact error has gap 0."""
        # rounding may put a bound above an error that is the best possible
        best = None if best is None else min(error, best)
        return cls(
            error=error,
            relative_error=error / norm if norm > 0 else 0.0,
            best_possible_error=best,
            gap=0.0 if exact else (error / best - 1 if best else None),
            failure_probability=failure,
            method=method,
        )

    @property
    def share_of_optimum(self) -> float | None:
        """The ratio best_possible_error / error = 1 / (1 + gap): 1 at the optimum."""
        return None if self.gap is None else 1 / (1 + self.gap)

    def scaled(self, factor: float, failure: float = 0.0) -> "Certificate":
        """The certificate of factor·W; `failure` is added to the failure probability."""
        best = self.best_possible_error
        return replace(
            self,
            # the gap and the relative error are the same for factor·W
            error=self.error * factor,
            best_possible_error=None if best is None else best * factor,
            failure_probability=self.failure_probability + failure,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the share of the optimum as plain numbers."""
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
    Where min(rows, columns) is at most 1000, or `singular_values` are given, that root is computed,
    each singular value lowered by its largest possible rounding error. Otherwise σ₁² + … + σ_r² is
    bounded from above by products with W only; ‖W‖² less that bound is a lower bound on the squared
    error of every pair. An error within the rounding of the factors' dtype is reported as exact,
    with gap 0.

    Args:
        W: Matrix of shape (rows, columns), or what `as_matrix` reads.
        factors: Factors of that shape, or a pair (B, A), from any source.
        singular_values: All singular values of W, in any order, if they are known already.
        evidence: Ritz data that a solver has of a large W; by default it is computed.
        probing: Record of the random tests of the run so far; None for the first.
        loss: ‖W − B·A‖²_F of a large W from the products of its solver, off by at most
            32·eps·‖W‖². It replaces a measurement if that is at most 1/1000 of the error (10⁻⁸ in
            float64, 1/100 without the bound); otherwise the measurement has that accuracy.
        bound: False measures the error only, in one pass.

    Returns:
        The certificate. Its `failure_probability` is 0 for a small W, and otherwise at most 10⁻⁶
        for all tests up to this one together.

    Raises:
        ArgumentError: If the factors are neither `Factors` nor a pair, or the singular values are
            not those of W.
        MatrixError: If the shapes differ, or W or the factors hold NaN or infinity.

    Cost:
        For the error, nothing where the loss is accurate enough; otherwise one product of width
        rank, and a pass in float64 where the error is small. For the bound, all singular values of
        a small W by LAPACK; for a large W 3 to 11 products of width 16, and without evidence those
        of `KrylovSpace`.

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
    # negated, so that NaN is caught too
    if not np.finfo(FLOAT64).tiny < squared_norm < math.inf:
        check_entries(matrix)  # says what is wrong, if not all are zeros
    exponent = 0
    if singular_values is not None:
        singular_values = _all_of(matrix, singular_values)
    if evidence is None:  # evidence belongs to the matrix as it was passed, in its own unit
        matrix, exponent = rescaled(matrix)
    factor = 2.0**exponent
    proof = _certify_scaled(
        matrix,
        pair if exponent == 0 else _rescale_factors(pair, exponent),
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


def _all_of(W: Matrix, singular_values: npt.ArrayLike) -> Array:
    """Sort the singular values that were given, and check that they are those of W."""
    values = working_array(singular_values)
    count, squared_norm = min(W.shape), W.squared_norm()
    if values.shape == (count,) and not values.min() < 0:
        exact = values.astype(FLOAT64)
        share = KNOWN_SHARE[FLOAT32] if FLOAT32 in (values.dtype, W.dtype) else EQUAL_SHARE
        if abs(float(exact @ exact) - squared_norm) <= share * squared_norm:
            return np.sort(values)[::-1]
    raise ArgumentError(
        "The singular values are not those of this matrix: their squares do not add up to ‖W‖².",
        hint=f"Give all {count} of them, or leave them out to have them computed.",
        code="bad-singular-values",
    )


def _rescale_factors(factors: Factors, exponent: int) -> Factors:
    """Return factors of 2^exponent·B·A, half of the exponent on either factor."""
    half = exponent // 2
    return Factors(factors.B * 2.0 ** (exponent - half), factors.A * 2.0**half)


def _certify_scaled(
    matrix: Matrix,
    factors: Factors,
    singular_values: Array | None,
    evidence: RitzData | None,
    probing: FailureBudget | None,
    loss: float | None,
    *,
    bound: bool,
) -> Certificate:
    """Do the work of `certify` for a matrix whose squares stay in range."""
    factors = factors.on(matrix.namespace)
    within = KNOWN_SHARE[matrix.dtype] if bound else ROUGH_SHARE
    norm, measured = math.sqrt(matrix.squared_norm()), "error by direct products"
    if loss and (doubt := hidden(matrix) / (2 * loss)) <= within and is_large(matrix):
        error, measured = math.sqrt(loss), f"error by products of the solver, to {doubt:.1g} of it"
    else:
        doubt = MEASURED_SHARE[matrix.dtype] if bound and loss is None else within
        error = residual_norm(matrix, factors, doubt)
    # the dtype of the factors: float32 factors of a float64 W cannot be closer
    exact = error <= rounding(matrix.shape, factors.dtype) * norm
    best, failure, how = None, 0.0, "the best possible error was not asked for"
    if bound and min(matrix.shape) <= SMALL_SIDE and singular_values is None:
        singular_values = spectrum(matrix)
    if bound and singular_values is not None:
        best = exact_bound(matrix, factors.rank, singular_values)
        how = "best possible error from all singular values (LAPACK)"
    elif bound and not exact:
        found = evidence or _gather_evidence(matrix, factors.rank)
        best, failure = _bound_below(matrix, factors.rank, found, probing)
        if loss is not None and hidden(matrix) > ROUNDING_SHARE * loss:
            direct = _measured_bound(matrix, factors.rank, found, error * (1 - doubt))
            best = max(filter(None, (best, direct)), default=None)
        how = "best possible error bounded by products with W (Weyl)"
    method = EXACT if exact else f"{measured}; {how}"
    return Certificate.of(error, norm, best, exact=exact, failure=failure, method=method)


def together(certificates: Sequence[Certificate], norms: Sequence[float]) -> Certificate:
    """Combine the certificates of several matrices, each with its own factors, into one.

    Squared errors add up, and so do the bounds and the failure probabilities.

    `norms` holds ‖W‖_F of each matrix.

    Example:
        >>> parts = [certify(np.diag([3.0, 1.0]), Factors([[3.0], [0.0]], [[1.0, 0.0]]))] * 4
        >>> together(parts, [10**0.5] * 4).error
        2.0
    """
    # hypot does not overflow where the squares would
    error, norm = math.hypot(*(one.error for one in certificates)), math.hypot(*norms)
    bounds = [one.best_possible_error for one in certificates]
    # one layer without a bound leaves none for the sum
    best = None if None in bounds else math.hypot(*(bound or 0.0 for bound in bounds))
    return Certificate.of(
        error,
        norm,
        best,
        exact=all(one.gap == 0 for one in certificates),
        # the union bound: tests of different layers need not be independent
        failure=sum(one.failure_probability for one in certificates),
        # each method once, in the order of the matrices
        method="; ".join(dict.fromkeys(one.method for one in certificates)),
    )


def exact_bound(W: Matrix, rank: int, singular_values: Array) -> float:
    """√(σ²_{r+1} + …), each σ lowered by its largest possible rounding error."""
    slack = rounding(W.shape, singular_values.dtype) * float(singular_values[0])
    # computed singular values are off by at most the norm of the rounding error (Weyl)
    surely = np.maximum(singular_values.astype(FLOAT64) - slack, 0.0)
    return float(tail_errors(surely)[min(rank, len(surely))])


def probable_bound(
    W: Matrix, rank: int, evidence: RitzData, probing: FailureBudget
) -> float | None:
    """√(‖W‖² − U), where U bounds σ₁² + … + σ_r² and the rounding error of that sum.

    Returns None where U is not below ‖W‖², or the space is narrower than the rank.
    """
    if evidence.width < rank:
        return None
    return _root(W, probing.leading_squares(W, evidence, rank))


def _bound_below(
    W: Matrix, rank: int, evidence: RitzData, probing: FailureBudget | None
) -> tuple[float | None, float]:
    """The best bound that is found, and the probability that any of the tests is wrong.

    Random tests are made only where no power probes were multiplied along with the space, or where
    tests were made before.
    """
    carried = carried_bound(W, rank, evidence)
    carries = evidence.outside is not None and math.isfinite(evidence.outside)
    if carries and not (probing and probing.tests):
        return carried, evidence.failure
    probing = probing or FailureBudget()
    tested = probable_bound(W, rank, evidence, probing)
    best = max(filter(None, (carried, tested)), default=None)
    return best, evidence.failure + probing.failure


def _measured_bound(W: Matrix, rank: int, evidence: RitzData, error: float) -> float | None:
    """A bound on the best possible error, from the measured error of the solver's factors.

    With P an orthonormal basis of the columns of B, ‖W − B·A‖² = ‖W − PPᵀW‖² + ‖PPᵀW − B·A‖², and
    the last term is rounding. ‖W‖² appears nowhere, so that a large σ₁ hides an error of p·eps·‖W‖
    only, not of √eps·‖W‖.
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
    """The bound from the power probes that were multiplied along with the space, if any.

    If `likely`, the estimate of the probes takes the place of their bound.

    Cost:
        No product; a few symmetric eigenvalue problems of the width of V.
    """
    outside = evidence.likely if likely else evidence.outside
    if evidence.width < rank or outside is None or math.isinf(outside):
        return None
    return _root(W, leading_squares_bound(evidence, rank, outside, W.squared_norm()))


def clearest_bound(W: Matrix, rank: int, evidence: RitzData) -> float | None:
    """The bound if no energy lay outside V: the best that rounding allows `probable_bound`."""
    return _root(W, float(evidence.ritz()[0][:rank].sum()))


def _root(W: Matrix, leading_squares: float) -> float | None:
    """√(‖W‖² − U − rounding error of U), or None where that is not positive."""
    total = W.squared_norm()
    upper = leading_squares + hidden(W)
    return math.sqrt(total - upper) if upper < total else None


def _gather_evidence(W: Matrix, rank: int) -> RitzData:
    """Compute Ritz data from a Krylov space of four blocks, for factors that came without any."""
    # a fixed key, so that a certificate is reproducible
    randomness = np.random.Generator(np.random.Philox(key=GATHERED_KEY))
    space = KrylovSpace(W, rank + EXTRA_COLUMNS, randomness)
    for _ in range(MOST_BLOCKS):
        space.grow()
        if space.is_whole:
            break
    return space.evidence()


def spectrum(W: Matrix) -> Array | None:
    """All singular values of W in float64, or None where that would take too long.

    Cost:
        That of `eckart.backends.singular_values`, for min(rows, columns) up to 3000.
    """
    if min(W.shape) > EXACT_SIDE or math.prod(W.shape) > EXACT_SIDE * 10**5:
        return None
    return all_singular_values(W.namespace.get(dense(W)))
