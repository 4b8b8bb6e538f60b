"""The error of factors, ‖W − B·A‖, by the cheapest way that is sure enough."""

import math
from typing import Final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, rounding
from eckart.factors import Factors
from eckart.matrices import Difference, Matrix, Sparse

MEASURED_WITHIN: Final = {FLOAT32: 1e-4, FLOAT64: 1e-8}
"""The error is measured to this share of itself, by the rounding that can be promised."""
FEW_ENTRIES: Final = 2**21
"""Up to so many, the residual in float64 takes no time."""


def residual_norm(W: Matrix, factors: Factors, within: float | None = None) -> float:
    """‖W − B·A‖_F, to the share `within`, or to 10⁻⁴ for a float32 W and 10⁻⁸ for a float64 one.

    An error within the rounding of float64 is known to that rounding.

    With p(k) = (64 + √k)·eps, ‖W‖² − 2⟨B, WAᵀ⟩ + ⟨BᵀB, AAᵀ⟩ is wrong by at most
    p(max(rows, columns))·‖W‖², and the subtraction block by block, whose sums have `rank` terms, by
    p(rank)·‖W‖. The cheapest of three ways that is sure enough is taken: the expanded form, the
    subtraction in the dtype of W, and that in float64; for up to two million entries always the
    last. A sparse W, whose blocks would be dense, takes the expanded form in float64 before that.

    Cost:
        One product of width rank; where the error is below a fifth of ‖W‖ (10⁻³ for float64), one
        pass and a product in the dtype of W instead, and below a twelfth (10⁻⁶) in float64.
    """
    wide = factors.astype(FLOAT64)
    if factors.shape == W.shape and is_large(W):
        terms, within = (
            W.squared_norm() + factors.squared_norm(),
            within or MEASURED_WITHIN[W.dtype],
        )
        likely = abs(W.squared_norm() - factors.squared_norm())  # it for B·A a projection of W
        if likely >= (sure := rounding(W.shape, W.dtype) / (2 * within) * terms):
            expanded = _expanded(W, factors)
            if expanded >= sure:
                return math.sqrt(expanded)
        summed = (factors.rank, factors.rank)
        if isinstance(W, Sparse):
            expanded = _expanded(W, wide)
            if expanded >= rounding(W.shape, FLOAT64) / (2 * within) * terms:
                return math.sqrt(expanded)
        elif likely >= (sure := (rounding(summed, W.dtype) / within) ** 2 * terms):
            squared = Difference(W, factors).squared_norm()
            if squared >= sure:
                return math.sqrt(squared)
    return math.sqrt(Difference(W, wide).squared_norm())


def _expanded(W: Matrix, factors: Factors) -> float:
    """‖W − B·A‖² = ‖W‖² − 2⟨B, WAᵀ⟩ + ⟨BᵀB, AAᵀ⟩, in the dtype of the factors or of W."""
    product = W.namespace.inner(factors.B, W.times(factors.A.T))
    return W.squared_norm() + factors.squared_norm() - 2 * product


def is_large(W: Matrix) -> bool:
    """Whether a residual in float64 takes time."""
    return math.prod(W.shape) > FEW_ENTRIES


def distance(factors: Factors, other: Factors) -> float:
    """‖B·A − B'·A'‖_F of two pairs of one shape, by sums in float64; neither product is formed.

    What is smaller than about 10⁻⁸ of the two is not seen.
    """
    one, two = factors.astype(FLOAT64), other.astype(FLOAT64)
    both = Factors(np.hstack([one.B, two.B]), np.vstack([one.A, -two.A]))
    return math.sqrt(both.squared_norm())
