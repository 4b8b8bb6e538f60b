"""How good: the error of W − B·A beside a bound on the best error that is possible."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, inner, rounding
from eckart.factors import Factors
from eckart.lapack import singular_values as all_singular_values
from eckart.matrices import Difference, Matrix, Sparse, as_matrix
from eckart.matrices.derived import dense
from eckart.ranks import tail_errors

LARGEST_EXACT: Final = 3000
"""Up to min(rows, columns) of this, the best possible error comes from all singular values."""


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
    W: object, factors: Factors, singular_values: Array | None = None, *, bound: bool = True
) -> Certificate:
    """Measure the error of factors and bound the best error of their rank.

    By Eckart and Young no pair (B, A) of rank r has ‖W − B·A‖ below √(σ²_{r+1} + σ²_{r+2} + …).
    Each computed singular value is lowered by what rounding may have added to it, so that the bound
    holds in floating point too. An error within the rounding of the factors' own dtype is reported
    as exact, with gap 0.

    Args:
        W: Matrix of shape (rows, columns), or what `as_matrix` reads.
        factors: Factors of that shape, from anywhere.
        singular_values: All singular values of W where a solver already has them. They are computed
            where they are missing and min(rows, columns) is at most 3000.
        bound: False measures the error only, in one pass.

    Returns:
        The certificate; its bound is None where no singular values are known.

    Raises:
        MatrixError: If the shapes differ.

    Cost:
        One pass and one product of width rank in float64; with the singular values a dense float64
        copy of W and 8/3·rows·columns·min operations.

    Example:
        >>> from eckart.matrices import Dense
        >>> proof = certify(Dense(np.diag([3.0, 2.0])), Factors([[3.0], [0.0]], [[1.0, 0.0]]))
        >>> proof.error, round(proof.best_possible_error, 9), round(proof.gap, 9)
        (2.0, 2.0, 0.0)

    Reference:
        Eckart, Young (1936), Psychometrika 1(3).
    """
    matrix = as_matrix(W)
    error, norm = residual_norm(matrix, factors), math.sqrt(matrix.squared_norm())
    if singular_values is None and bound:
        singular_values = spectrum(matrix)
    best = None
    if singular_values is not None and bound:
        slack = rounding(matrix.shape, singular_values.dtype) * float(singular_values[0])
        surely = np.maximum(singular_values.astype(FLOAT64) - slack, 0.0)
        best = min(error, float(tail_errors(surely)[min(factors.rank, len(surely))]))
    exact = error <= rounding(matrix.shape, factors.dtype) * norm
    gap = 0.0 if exact else (error / best - 1 if best else None)
    return Certificate(
        error=error,
        relative_error=error / norm if norm > 0 else 0.0,
        best_possible_error=best,
        gap=gap,
        failure_probability=0.0,
        method=_method(exact, best, bound=bound),
    )


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


def _method(exact: bool, best: float | None, *, bound: bool) -> str:
    if exact:
        return "exact to rounding"
    if not bound:
        return "error by direct products; the best possible error was not asked for"
    if best is None:
        return "error by direct products; the best possible error is not bounded at this size"
    return "error by direct products; best possible error from all singular values (LAPACK)"
