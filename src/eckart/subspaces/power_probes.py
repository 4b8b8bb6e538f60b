"""Probes multiplied along with the blocks of a space, and what the tests of a run may fail by."""

import math
from collections.abc import Callable
from typing import Final, final

import numpy as np
from scipy.special import gammaincinv

from eckart.arrays import FLOAT64, Array
from eckart.matrices import Matrix
from eckart.subspaces.bounds import RitzData, leading_squares_bound, outside_bound

FAILURE: Final = 1e-6
"""Of all tests of a run together: test j spends FAILURE/(j·(j + 1))."""
CARRIED: Final = 0.5
"""Its share for probes that are multiplied along with a space, where a run may make tests too."""
TEST_KEY: Final = 0xEC4A87
"""The probes are drawn apart from every solver, whatever its seed."""
LOOSENED_WITHIN: Final = 4e-4
"""Where knowing that nothing lies outside would raise the bound on τ_r² by no more than this share,
what is known is sharp enough."""
NOT_SEEN: Final = 0.25
"""Nor is a sharper one worth products that would raise it by less than this share of what rounding
hides."""
LOST_DIGITS: Final = 32.0
"""Rounding of sums of products, in eps."""


def hidden(W: Matrix) -> float:
    """What rounding may have hidden of a sum of squared singular values, 32·eps·‖W‖².

    H, S and ‖W‖² are sums of products made in the dtype of W, each wrong by some eps of ‖W‖².
    """
    return LOST_DIGITS * float(np.finfo(W.dtype).eps) * W.squared_norm()


@final
class FailureBudget:
    """The random tests of one run: what they may have failed by, and the bound they left.

    Test j draws fresh probes and may fail with probability 10⁻⁶/(j·(j + 1)), or a share of it. What
    it finds to lie outside a space bounds what lies outside every wider one, so a space that has
    only grown needs no new test.

    Args:
        share: Of 10⁻⁶, where other tests of the run may fail too.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.tests = 0
        self._allowed = share * FAILURE
        self._outside = math.inf
        self._restarts = -1
        self._known: tuple[tuple[int, int, int], float] | None = None

    @property
    def failure(self) -> float:
        """Of all tests up to now together."""
        return self._allowed * (1 - 1 / (self.tests + 1))

    def leading_squares(self, W: Matrix, evidence: RitzData, rank: int) -> float:
        """An upper bound on σ₁² + … + σ_r²; after a new test where the last one leaves it loose."""
        key = (evidence.restarts, evidence.width, rank)
        if self._known is None or self._known[0] != key:
            total = W.squared_norm()
            best = total - leading_squares_bound(evidence, rank, 0.0, total)
            enough = (1 - LOOSENED_WITHIN) * best - NOT_SEEN * hidden(W)

            def is_sharp(outside: float) -> bool:
                left = total - leading_squares_bound(evidence, rank, outside, total)
                return left >= enough

            outside = self._bound_outside(W, evidence, is_sharp)
            self._known = key, leading_squares_bound(evidence, rank, outside, total)
        return self._known[1]

    def _bound_outside(
        self, W: Matrix, evidence: RitzData, is_sharp: Callable[[float], bool]
    ) -> float:
        """A bound ν on ‖W(I − VVᵀ)‖²: the last one, if that is sharp still, or that of a test."""
        grown = evidence.restarts == self._restarts
        if grown and is_sharp(self._outside):
            return self._outside
        self.tests += 1
        randomness = np.random.Generator(np.random.Philox(key=TEST_KEY + self.tests))
        failure = self._allowed / (self.tests * (self.tests + 1))
        found = outside_bound(W, evidence.V, failure, randomness, enough=is_sharp)
        self._outside = min(found, self._outside) if grown else found
        self._restarts = evidence.restarts
        return self._outside


PROBE_KEY: Final = 0xEC4A89
"""Key of the probes, which are drawn apart from every solver, whatever its seed."""


LOST: Final = 0.1
"""Columns that a projection leaves less than this of have lost a digit to it."""
TELLING: Final = 2
"""Powers that probes need to be near the largest direction outside the space."""
INDEPENDENT: Final = 1e-6
"""Columns count as far as they are independent to the square root of this, in float32 a few eps."""


@final
class PowerProbes:
    """A few columns that are multiplied along in every product WᵀW·[Q, X], beside a block Q.

    Let V₁ ⊂ V₂ ⊂ … be the bases of the space, Π_j = I − V_jV_jᵀ and A_j = Π_j·WᵀW·Π_j, and Ω
    Gaussian columns of which no V_j is made. The columns are M·Ω with M = A_k···A₁, or
    M = A_k···A₁·WᵀW where the first product was made before there was a space; q factors in all.
    Then ‖M‖ ≥ ν^q with ν = ‖A_k‖ = ‖W(I − VVᵀ)‖² (spectral), and two figures follow:

    * `bound`: with u the leading left singular vector of M, uᵀMΩ is ‖M‖ times p independent normal
      numbers, so that ‖M‖² ≤ ‖MΩ‖²/x but with the probability that χ² of p degrees of freedom is
      below x. After j products that is 5·10⁻⁷/(j·(j + 1)·2^j): the estimate may have decided after
      each whether random directions joined the space, and the bound holds for every course.
    * `estimate`: ⟨Mω_i, Mω_j⟩² has the expectation tr((MᵀM)²) ≥ ν^(4q) for i ≠ j, so that the mean
      over all pairs estimates ν from above, by a factor that tends to 1 as q grows. It needs no
      constant for a failure probability; a lone direction is underestimated by a factor f with the
      probability that a mean of squares of p normal numbers is below f^(2q).
    * `least`: the largest Ritz value of A_k in the span of the columns, which ν is never below.

    After a restart, which drops directions from the space, the products begin anew.

    Fields:
        power: q, how many factors the columns hold.

    Args:
        columns: Ω or WᵀW·Ω, of shape (columns, p) with p ≥ 2.
        power: How many factors they hold already, 0 or 1.

    Cost:
        p columns more in each product; no pass.

    Reference:
        docs/mathematics/certificate.md has the proof; Kong, Valiant (2017), Annals of Statistics
        45(5), for the moments of a spectrum from pairs of columns.
    """

    def __init__(self, columns: Array, power: int = 0) -> None:
        self._first, self._first_power = columns, power
        self._products = power
        self.begin()

    def begin(self) -> None:
        """Begin anew, for a next space that does not hold the last one."""
        self._columns, self.power = self._first, self._first_power
        self._logarithm, self._ritz = 0.0, 0.0

    @property
    def failure(self) -> float:
        """The probability that any bound up to now is wrong."""
        return CARRIED * FAILURE * (1 - 1 / (self._products + 1))

    @property
    def count(self) -> int:
        """How many columns there are."""
        return self._columns.shape[1]

    def beside(self, W: Matrix, V: Array, Q: Array) -> Array:
        """The columns to multiply beside a block Q, orthonormal to V: those outside both.

        They are outside V since the last product, but for what rounding left of much longer parts:
        where that was all there is, it is taken off once more.
        """
        before, X = math.inf, self._columns
        longest = self._longest(W, X)
        while longest < LOST * before:
            before = longest
            X = _outside(_outside(X, V), Q)
            longest = self._longest(W, X)
        self._logarithm += math.log(longest)
        self._columns = X / longest
        return self._columns

    def take(self, W: Matrix, product: Array, V: Array) -> None:
        """Take in the product of WᵀW with what `beside` made, for V with the block in it."""
        X, self._columns = self._columns, _outside(product, V)
        self.power += 1
        self._products += 1
        self._ritz = _largest_ritz(W.namespace.gram(X, X), W.namespace.gram(X, self._columns))

    def least_by(self, W: Matrix, X: Array, inner: Array) -> float:
        """The same lower bound as `least` from (W·X)ᵀ(W·X) alone, for X as `beside` made it.

        It is what the next product would give, for half of it.
        """
        return _largest_ritz(W.namespace.gram(X, X), inner)

    def outside(self, W: Matrix) -> tuple[float | None, float]:
        """`least`, None before there are two powers, when it is far from the truth; `estimate`."""
        return self.least() if self.power >= TELLING else None, self.estimate(W)

    def bound(self, W: Matrix) -> float:
        """An upper bound ν on ‖W(I − VVᵀ)‖² for V with the block of the last product.

        Infinite before the first product.
        """
        if self.power == 0:
            return math.inf
        j = self._products
        allowed = CARRIED * FAILURE / (j * (j + 1) * 2.0**j)
        surely = 2 * float(gammaincinv(self.count / 2, allowed))
        squared = float(np.linalg.eigvalsh(self._gram(W))[-1]) / surely
        return self._root(squared, 2 * self.power)

    def estimate(self, W: Matrix) -> float:
        """An estimate of ‖W(I − VVᵀ)‖², rather above it; infinite before the first product."""
        if self.power == 0:
            return math.inf
        gram = self._gram(W)
        apart = float(np.square(gram).sum() - np.square(np.diag(gram)).sum())
        apart /= self.count * (self.count - 1)
        estimated = self._root(math.sqrt(max(apart, 0.0)), 2 * self.power)
        return max(estimated, self._ritz)

    def least(self) -> float:
        """A lower bound on ‖W(I − VVᵀ)‖², as near as the columns come; 0 before the first."""
        return self._ritz

    def _gram(self, W: Matrix) -> Array:
        return W.namespace.gram(self._columns, self._columns)

    @staticmethod
    def _longest(W: Matrix, X: Array) -> float:
        """The length of the longest column; 1 where all are zero."""
        squares = np.diag(W.namespace.gram(X, X))
        return math.sqrt(float(squares.max(initial=0.0))) or 1.0

    def _root(self, squared: float, power: int) -> float:
        """(e^(2·logarithm)·squared)^(1/power), in logarithms, since powers leave the range."""
        squared = max(squared, float(np.finfo(FLOAT64).tiny))
        return math.exp((2 * self._logarithm + math.log(squared)) / power)


def gaussian_columns(W: Matrix, count: int) -> Array:
    """Ω with independent normal entries, of shape (columns, count), the same in every run."""
    generator = np.random.Generator(np.random.Philox(key=PROBE_KEY))
    return W.namespace.put(generator.standard_normal((W.shape[1], count)), W.dtype)


def _largest_ritz(gram: Array, inner: Array) -> float:
    """The largest t with det(inner − t·gram) = 0, as far as the columns are independent."""
    squares, E = np.linalg.eigh(gram)
    kept = squares > INDEPENDENT * squares[-1]
    half = E[:, kept] / np.sqrt(squares[kept])
    projected = half.T @ inner @ half
    return float(np.linalg.eigvalsh((projected + projected.T) / 2)[-1]) if kept.any() else 0.0


def _outside(X: Array, V: Array) -> Array:
    return X - V @ (V.T @ X)
