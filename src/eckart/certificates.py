"""How good: the error of W − B·A beside a bound on the best error that is possible."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, inner, rounding
from eckart.factors import Factors
from eckart.lapack import singular_values as all_singular_values
from eckart.matrices import Difference, Matrix, Sparse, as_matrix
from eckart.matrices.derived import dense
from eckart.ranks import tail_errors
from eckart.subspaces import Evidence, KrylovSpace, leading_squares_bound, outside_bound

SMALL: Final = 1000
"""Up to min(rows, columns) of this, the best possible error comes from all singular values."""
LARGEST_EXACT: Final = 3000
"""Up to min(rows, columns) of this, all singular values can be had."""
FAILURE: Final = 1e-6
"""Of all bounds from products of a run together: test j spends FAILURE/(j·(j + 1))."""
LOST_DIGITS: Final = 32.0
"""Rounding of sums of products, in eps."""
PROBE_KEY: Final = 0xEC4A87
"""The probes of a certificate are drawn apart from every solver, whatever its seed."""
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
    """

    error: float
    relative_error: float
    best_possible_error: float | None
    gap: float | None
    failure_probability: float
    method: str

    @property
    def share_of_optimum(self) -> float | None:
        """best_possible_error / error = 1 / (1 + gap): 1 at the optimum."""
        return None if self.gap is None else 1 / (1 + self.gap)

    def to_dict(self) -> dict[str, Any]:
        """The fields and the share of the optimum, as plain numbers."""
        return {**asdict(self), "share_of_optimum": self.share_of_optimum}


def certify(
    W: object,
    factors: Factors,
    singular_values: Array | None = None,
    *,
    evidence: Evidence | None = None,
    test: int = 1,
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
        factors: Factors of that shape, from anywhere.
        singular_values: All singular values of W where a solver already has them.
        evidence: What a solver knows of a large W; it is gathered where it is missing.
        test: Which test of a run this is: test j draws fresh probes and may fail with probability
            10⁻⁶/(j·(j + 1)).
        bound: False measures the error only, in one pass.

    Returns:
        The certificate; `failure_probability` is 0 for a small W, else at most 10⁻⁶, that of all
        tests up to this one together.

    Raises:
        MatrixError: If the shapes differ.

    Cost:
        One pass and one product of width rank in float64. For a small W all its singular values by
        LAPACK; for a large one 11 products of width 6, and without evidence those of `KrylovSpace`.

    Example:
        >>> from eckart.matrices import Dense
        >>> proof = certify(Dense(np.diag([3.0, 2.0])), Factors([[3.0], [0.0]], [[1.0, 0.0]]))
        >>> proof.error, round(proof.best_possible_error, 9), round(proof.gap, 9)
        (2.0, 2.0, 0.0)

    Reference:
        Eckart, Young (1936), Psychometrika 1(3); docs/mathematics/certificate.md.
    """
    matrix = as_matrix(W)
    error, norm = residual_norm(matrix, factors), math.sqrt(matrix.squared_norm())
    exact = error <= rounding(matrix.shape, factors.dtype) * norm
    best, failure, how = None, 0.0, "the best possible error was not asked for"
    if bound and min(matrix.shape) <= SMALL and singular_values is None:
        singular_values = spectrum(matrix)
    if bound and singular_values is not None:
        best = _exact_bound(matrix, factors.rank, singular_values)
        how = "best possible error from all singular values (LAPACK)"
    elif bound and not exact:
        failure = FAILURE * (1 - 1 / (test + 1))
        known = evidence or _gathered(matrix, factors.rank)
        best = _probable_bound(matrix, factors.rank, known, test)
        how = "best possible error bounded by products with W (Ky Fan)"
    best = None if best is None else min(error, best)
    gap = 0.0 if exact else (error / best - 1 if best else None)
    return Certificate(
        error=error,
        relative_error=error / norm if norm > 0 else 0.0,
        best_possible_error=best,
        gap=gap,
        failure_probability=failure,
        method="exact to rounding" if exact else f"error by direct products; {how}",
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


def _exact_bound(W: Matrix, rank: int, singular_values: Array) -> float:
    slack = rounding(W.shape, singular_values.dtype) * float(singular_values[0])
    surely = np.maximum(singular_values.astype(FLOAT64) - slack, 0.0)
    return float(tail_errors(surely)[min(rank, len(surely))])


def _probable_bound(W: Matrix, rank: int, evidence: Evidence, test: int) -> float | None:
    """√(‖W‖² − U), where U bounds σ₁² + … + σ_r² and what rounding may have hidden of it.

    H and the norm are sums of products made in the dtype of W, each wrong by some eps of ‖W‖².
    """
    if evidence.H.shape[0] < rank:
        return None
    total = W.squared_norm()
    randomness = np.random.Generator(np.random.Philox(key=PROBE_KEY + test))
    outside = outside_bound(W, evidence.V, FAILURE / (test * (test + 1)), randomness)
    slack = LOST_DIGITS * float(np.finfo(W.dtype).eps) * total
    upper = leading_squares_bound(evidence, rank, outside, total) + slack
    return math.sqrt(total - upper) if upper < total else None


def _gathered(W: Matrix, rank: int) -> Evidence:
    """Evidence of a Krylov space four blocks wide, for factors that came without any."""
    randomness = np.random.Generator(np.random.Philox(key=PROBE_KEY))
    space = KrylovSpace(W, rank + OVERSAMPLING, randomness)
    for _ in range(BLOCKS):
        space.grow()
        if space.is_whole:
            break
    return Evidence(V=space.V, H=space.H, residual=space.residual_gram())


def spectrum(W: Matrix) -> Array | None:
    """All singular values of W in float64, or None where that would take too long.

    Cost:
        As `eckart.lapack.singular_values`, for min(rows, columns) up to 3000.
    """
    if min(W.shape) > LARGEST_EXACT or math.prod(W.shape) > LARGEST_EXACT * 10**5:
        return None
    return all_singular_values(dense(W))


def residual_norm(W: Matrix, factors: Factors) -> float:
    """‖W − B·A‖_F, with float64 sums.

    The subtraction is made block by block. A sparse W is not made dense where the expanded form
    ‖W‖² − 2⟨B, WAᵀ⟩ + ⟨BᵀB, AAᵀ⟩ is sure to six digits.

    Cost:
        One pass and one product of width rank in float64.
    """
    exactly = factors.astype(FLOAT64)
    if isinstance(W, Sparse) and exactly.shape == W.shape:
        terms = W.squared_norm() + exactly.squared_norm()
        expanded = terms - 2 * inner(exactly.B, W.times(exactly.A.T))
        if expanded > 1e6 * rounding(W.shape, FLOAT64) * terms:
            return math.sqrt(expanded)
    return math.sqrt(Difference(W, exactly).squared_norm())
