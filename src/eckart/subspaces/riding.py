"""Probes that ride along with the products of a growing space, and bound what lies outside it."""

import math
from typing import final

import numpy as np
from scipy.special import gammaincinv

from eckart.arrays import FLOAT64, Array
from eckart.matrices import Matrix
from eckart.subspaces.probing import FAILURE


@final
class Riding:
    """A few columns that go along in every fused product WᵀW·[Q, X], beside a block Q of a space.

    Let V₁ ⊂ V₂ ⊂ … be the bases of the space, Π_j = I − V_jV_jᵀ and A_j = Π_j·WᵀW·Π_j, and ω a
    Gaussian vector of which no V_j is made. The columns are A_k···A₁·ω, or A_k···A₁·WᵀW·ω where the
    first product was made before there was a space; q factors in all. Then

        ‖A_k···A₁·WᵀW‖ ≥ ‖A_k‖^q,    ‖A_k‖ = ‖W(I − VVᵀ)‖²

    and with u the leading left singular vector of any M and Ω of p Gaussian columns, uᵀMΩ is ‖M‖
    times p independent normal numbers, so that ‖M‖² ≤ ‖MΩ‖²/x but with the probability that χ²
    of p degrees of freedom is below x.

    Args:
        columns: Ω or WᵀW·Ω, of shape (columns, p).
        power: How many factors they hold already, 0 or 1.

    Cost:
        As many columns more in each product; no pass.

    Reference:
        docs/mathematics/certificate.md has the proof.
    """

    def __init__(self, columns: Array, power: int) -> None:
        self._first, self._first_power = columns, power
        self._tests = 0
        self.begin()

    @property
    def failure(self) -> float:
        """The probability that any bound up to now is wrong."""
        return FAILURE * (1 - 1 / (self._tests + 1))

    def begin(self) -> None:
        """Begin anew: the next space does not hold the last one."""
        self._columns, self._power = self._first, self._first_power
        self._logarithm = 0.0

    def beside(self, W: Matrix, V: Array, Q: Array) -> Array:
        """What to multiply beside a block Q, orthonormal to V: the columns outside both."""
        X = _outside(_outside(self._columns, V), Q)
        squares = np.diag(W.namespace.gram(X, X))
        longest = math.sqrt(float(squares.max(initial=0.0))) or 1.0
        self._logarithm += math.log(longest)
        return X / longest

    def take(self, product: Array, V: Array, Q: Array) -> None:
        """The product of WᵀW with what was made for V and Q."""
        self._columns = _outside(_outside(product, V), Q)
        self._power += 1

    def bound(self, W: Matrix) -> float:
        """An upper bound ν on ‖W(I − VVᵀ)‖² for V with the block of the last product.

        The j-th of a run may fail with probability 10⁻⁶/(j·(j + 1)).
        """
        self._tests += 1
        allowed = FAILURE / (self._tests * (self._tests + 1))
        surely = 2 * float(gammaincinv(self._columns.shape[1] / 2, allowed))
        gram = W.namespace.gram(self._columns, self._columns)
        squared = max(float(np.linalg.eigvalsh(gram)[-1]), float(np.finfo(FLOAT64).tiny))
        logarithm = self._logarithm + (math.log(squared) - math.log(surely)) / 2
        return math.exp(logarithm / self._power)


def _outside(X: Array, V: Array) -> Array:
    return X - V @ (V.T @ X)
