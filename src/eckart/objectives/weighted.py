"""Errors weighted by what W will be multiplied with."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

import numpy as np

from eckart.arguments import check_number
from eckart.arrays import FLOAT32, FLOAT64, Array, rounding
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors
from eckart.matrices import Matrix, Product
from eckart.namespaces import as_working, namespace_of

DAMPING: Final = 1e-4


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted:
    """The squared error of the answers, ‖(W − B·A)·G^½‖²_F, for inputs with second moments G.

    With inputs x as rows of X and G = XᵀX this is the error of W·x summed over all of them: what
    a weight loses where it is used. The moments are damped by a share of their mean, so that
    directions which no input had are not forgotten altogether, and so that G^½ can be undone.

    Fields:
        moments: G, symmetric and positive, of shape (columns, columns).
        damping: Added to the diagonal, as a share of the mean of its entries.

    Raises:
        ArgumentError: If the moments are not square, symmetric, finite and positive, or the damping
            is not above 0.

    Cost:
        One symmetric eigenvalue problem of the columns; products with W cost one with G^½ more.

    Example:
        >>> from eckart.matrices import Dense
        >>> objective = Weighted(moments=np.diag([4.0, 1.0]), damping=1e-12)
        >>> round(objective.working(Dense([[1.0, 1.0]])).squared_norm(), 6)
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
            raise _refused("The moments are not a symmetric matrix of finite numbers.")
        object.__setattr__(self, "moments", moments)
        if not np.trace(moments) > 0 or np.diag(moments).min() < 0:
            raise _refused("The moments are not positive.")
        if not 0 < check_number("damping", self.damping) < np.inf:
            raise _refused(f"The damping is {self.damping}.")

    def working(self, W: Matrix, /) -> Matrix:
        """W·G^½.

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

    def lifted(self, factors: Factors, /) -> Factors:
        """B and A·G^½."""
        put = factors.namespace.put
        return Factors(factors.B, factors.A @ put(self._power(0.5), factors.dtype))

    def restored(self, factors: Factors, /) -> Factors:
        """B and A·G^−½."""
        put = factors.namespace.put
        return Factors(factors.B, factors.A @ put(self._power(-0.5), factors.dtype))

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe; the moments themselves are not in it."""
        return {"name": "weighted", "damping": self.damping}

    def _power(self, exponent: float) -> Array:
        """(G + damping·mean)^exponent, symmetric."""
        damped, E = self._directions
        return (E * damped**exponent) @ E.T

    @cached_property
    def _directions(self) -> tuple[Array, Array]:
        """The damped eigenvalues of G and its eigenvectors.

        Raises:
            ArgumentError: If one is below 0 by more than rounding.
        """
        moments = np.asarray(self.moments, FLOAT64)
        values, E = np.linalg.eigh((moments + moments.T) / 2)
        if values[0] < -_rounding(moments) * values[-1]:
            raise _refused("The moments are not positive: some inputs would have negative squares.")
        mean = float(np.trace(moments)) / len(moments)
        return np.maximum(values, 0.0) + self.damping * mean, E


def _is_symmetric(moments: Array) -> bool:
    least = _rounding(moments) * float(np.abs(moments).max(initial=0.0))
    return bool((np.abs(moments - moments.T) <= least).all())


def _rounding(moments: Array) -> float:
    """That of sums in float32, in which moments are often made, whatever they are kept in."""
    return rounding((len(moments), len(moments)), FLOAT32)


def _refused(what: str) -> ArgumentError:
    return ArgumentError(what, hint="Give XᵀX of inputs X.", code="bad-moments")
