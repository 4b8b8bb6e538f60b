"""Objectives (which error ≈ means), and the error ‖W − B·A‖ by the cheapest accurate way."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol, final

import numpy as np

from eckart.arguments import check_number
from eckart.arrays import FLOAT32, FLOAT64, Array, rounding
from eckart.backends import as_working, namespace_of
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors
from eckart.matrices import Difference, Matrix, Product, Sparse


class Objective(Protocol):
    """An error that is the Frobenius norm of W − B·A, perhaps in some transformed coordinates."""

    def transform(self, W: Matrix, /) -> Matrix:
        """The matrix whose best rank-r factors in the Frobenius norm minimise this error."""
        return W

    def transform_factors(self, factors: Factors, /) -> Factors:
        """Transform factors of W to factors of the transformed matrix."""
        return factors

    def restore_factors(self, factors: Factors, /) -> Factors:
        """Transform factors of the transformed matrix back to factors of W."""
        return factors

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entire(Objective):
    """The squared error over all entries, ‖W − B·A‖²_F.

    Example:
        >>> Entire().settings()
        {'name': 'entire'}
    """

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        return {"name": "entire"}


DAMPING: Final = 1e-4
"""Default damping of the moments, as a share of the mean of their diagonal."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted:
    """The squared error of the outputs, ‖(W − B·A)·G^½‖²_F, for inputs with second moments G.

    With inputs x as rows of X and G = XᵀX this is the squared error of W·x, summed over the inputs:
    the error of a weight where it is used. A share of the mean of the diagonal is added to the
    diagonal, so that directions absent from the inputs keep some weight and G^½ can be inverted.

    Fields:
        moments: G, symmetric and positive, of shape (columns, columns).
        damping: Number added to the diagonal of G, as a share of the mean of the diagonal.

    Raises:
        ArgumentError: If the moments are not square, symmetric, finite and positive, or the damping
            is not above 0.

    Cost:
        One symmetric eigenvalue problem of size columns; each product with W adds one with G^½.

    Example:
        >>> from eckart.matrices import Dense
        >>> objective = Weighted(moments=np.diag([4.0, 1.0]), damping=1e-12)
        >>> round(objective.transform(Dense([[1.0, 1.0]])).squared_norm(), 6)
        5.0

    Reference:
        Hsu et al. (2022), arXiv 2207.00112; Wang et al. (2024), SVD-LLM, arXiv 2403.07378.
    """

    moments: Array
    damping: float = DAMPING

    def __post_init__(self) -> None:
        given = as_working(self.moments)
        moments = namespace_of(given).get(given)
        square = moments.ndim == 2 and moments.shape[0] == moments.shape[1]
        if not square or not np.isfinite(moments).all() or not _is_symmetric(moments):
            raise _bad_moments("The moments are not a symmetric matrix of finite numbers.")
        # a frozen dataclass allows no assignment
        object.__setattr__(self, "moments", moments)
        # cheap necessary conditions here; the eigenvalues are computed when they are needed
        if not np.trace(moments) > 0 or np.diag(moments).min() < 0:
            raise _bad_moments("The moments are not positive.")
        if not 0 < check_number("damping", self.damping) < np.inf:
            raise _bad_moments(f"The damping is {self.damping}.")

    def transform(self, W: Matrix, /) -> Matrix:
        """Return W·G^½.

        Raises:
            MatrixError: If G does not fit W, or G^½ leaves the range of its dtype.
        """
        largest, kind = float(np.abs(self._power(0.5)).max()), np.finfo(W.dtype)
        if not float(kind.tiny) < largest < 1 / float(kind.tiny):
            raise MatrixError(
                f"The moments are so far from 1 that their roots leave the range of {W.dtype}.",
                hint="Multiply them by a power of ten that brings them near 1.",
                code="out-of-range",
            )
        return Product(W, self._power(0.5))

    def transform_factors(self, factors: Factors, /) -> Factors:
        """Return B and A·G^½."""
        put = factors.namespace.put
        return Factors(factors.B, factors.A @ put(self._power(0.5), factors.dtype))

    def restore_factors(self, factors: Factors, /) -> Factors:
        """Return B and A·G^−½."""
        put = factors.namespace.put
        # G^−½ exists, because the damping makes every eigenvalue positive
        return Factors(factors.B, factors.A @ put(self._power(-0.5), factors.dtype))

    def settings(self) -> dict[str, Any]:
        """Return the name and the damping, for the recipe; the moments are left out."""
        return {"name": "weighted", "damping": self.damping}

    def _power(self, exponent: float) -> Array:
        """(G + damping·mean·I)^exponent, symmetric."""
        damped, E = self._directions
        return (E * damped**exponent) @ E.T

    @cached_property
    def _directions(self) -> tuple[Array, Array]:
        """The damped eigenvalues of G and its eigenvectors."""
        moments = np.asarray(self.moments, FLOAT64)
        # eigh reads one triangle only; the mean of both uses all entries
        values, E = np.linalg.eigh((moments + moments.T) / 2)
        if values[0] < -_rounding(moments) * values[-1]:
            raise _bad_moments(
                "The moments are not positive: some inputs would have negative squares."
            )
        mean = float(np.trace(moments)) / len(moments)
        # eigenvalues below 0 by rounding would make the root NaN
        return np.maximum(values, 0.0) + self.damping * mean, E


def _is_symmetric(moments: Array) -> bool:
    least = _rounding(moments) * float(np.abs(moments).max(initial=0.0))
    return bool((np.abs(moments - moments.T) <= least).all())


def _rounding(moments: Array) -> float:
    """Rounding of sums in float32, in which moments are often summed, whatever their dtype."""
    return rounding((len(moments), len(moments)), FLOAT32)


def _bad_moments(what: str) -> ArgumentError:
    return ArgumentError(what, hint="Give XᵀX of inputs X.", code="bad-moments")


MEASURED_SHARE: Final = {FLOAT32: 1e-4, FLOAT64: 1e-8}
"""Relative accuracy to which the error is measured, by the bounds on rounding."""
FEW_ENTRIES: Final = 2**21
"""Number of entries up to which the residual in float64 takes negligible time."""


def residual_norm(W: Matrix, factors: Factors, within: float | None = None) -> float:
    """‖W − B·A‖_F to relative accuracy `within`: by default 10⁻⁴ for float32, 10⁻⁸ for float64.

    An error within the rounding of float64 is known to that rounding.

    With p(k) = (64 + √k)·eps, the expanded form ‖W‖² − 2⟨B, WAᵀ⟩ + ⟨BᵀB, AAᵀ⟩ is off by at most
    p(max(rows, columns))·‖W‖², and the subtraction block by block, whose sums have `rank` terms, by
    p(rank)·‖W‖. The first of three ways that is accurate enough is used: the expanded form, the
    subtraction in the dtype of W, the subtraction in float64. Up to two million entries it is
    always the last. For a sparse W, whose blocks would be dense, the expanded form in float64
    replaces the second.

    Cost:
        One product of width rank. Where the error is below a fifth of ‖W‖ (10⁻³ for float64), one
        pass and a product in the dtype of W instead; below a twelfth (10⁻⁶), in float64.
    """
    wide = factors.astype(FLOAT64)
    if factors.shape == W.shape and is_large(W):
        terms, within = (
            W.squared_norm() + factors.squared_norm(),
            within or MEASURED_SHARE[W.dtype],
        )
        # the squared error if B·A is a projection of W, as that of most solvers is
        likely = abs(W.squared_norm() - factors.squared_norm())
        # an error δ of the square is δ/2 of the norm, hence the factor 2
        if likely >= (sure := rounding(W.shape, W.dtype) / (2 * within) * terms):
            expanded = _expand_square(W, factors)
            if expanded >= sure:
                return math.sqrt(expanded)
        # each entry of B·A is a sum of `rank` terms
        summed = (factors.rank, factors.rank)
        if isinstance(W, Sparse):
            expanded = _expand_square(W, wide)
            if expanded >= rounding(W.shape, FLOAT64) / (2 * within) * terms:
                return math.sqrt(expanded)
        elif likely >= (sure := (rounding(summed, W.dtype) / within) ** 2 * terms):
            squared = Difference(W, factors).squared_norm()
            if squared >= sure:
                return math.sqrt(squared)
    return math.sqrt(Difference(W, wide).squared_norm())


def _expand_square(W: Matrix, factors: Factors) -> float:
    """‖W − B·A‖² = ‖W‖² − 2⟨B, WAᵀ⟩ + ⟨BᵀB, AAᵀ⟩, in the dtype of the factors or of W."""
    product = W.namespace.inner(factors.B, W.times(factors.A.T))
    return W.squared_norm() + factors.squared_norm() - 2 * product


def is_large(W: Matrix) -> bool:
    """Whether W is so large that a residual in float64 takes noticeable time."""
    return math.prod(W.shape) > FEW_ENTRIES


def distance(factors: Factors, other: Factors) -> float:
    """‖B·A − B'·A'‖_F of two pairs of one shape, summed in float64; no product is formed.

    A distance below about 10⁻⁸ of the norms is lost to rounding.
    """
    one, two = factors.astype(FLOAT64), other.astype(FLOAT64)
    # B·A − B'·A' as one product of twice the rank
    both = Factors(np.hstack([one.B, two.B]), np.vstack([one.A, -two.A]))
    return math.sqrt(both.squared_norm())
