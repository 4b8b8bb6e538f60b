"""Power probes, multiplied along with the blocks of a space, and a run's failure budget."""

import math
from collections.abc import Callable
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array
from eckart.matrices import Matrix
from eckart.subspaces.bounds import RitzData, leading_squares_bound, outside_bound, project_out

FAILURE_PROBABILITY: Final = 1e-6
"""Failure probability of all tests of a run together; test j spends 10⁻⁶/(j·(j + 1))."""
PROBES_SHARE: Final = 0.5
"""Share of it for the power probes of a space; the rest is left for tests of the same run."""
TEST_KEY: Final = 0xEC4A87
"""Philox key of the tests, whose probes are independent of every solver, whatever its seed."""
LOOSE_SHARE: Final = 4e-4
"""A bound is sharp enough if it is within this share of the bound on τ_r² for ν = 0."""
UNSEEN_SHARE: Final = 0.25
"""A bound is sharp enough, too, within this share of the rounding error of the squares."""
SUM_EPS: Final = 32.0
"""Rounding error of sums of products, in eps."""


def hidden(W: Matrix) -> float:
    """Bound on the rounding error of a sum of squared singular values, 32·eps·‖W‖².

    H, S and ‖W‖² are sums of products in the dtype of W, each off by some eps·‖W‖².
    """
    return SUM_EPS * float(np.finfo(W.dtype).eps) * W.squared_norm()


@final
class FailureBudget:
    """The random tests of one run: their total failure probability, and their bound.

    Test j draws fresh probes and fails with probability at most 10⁻⁶/(j·(j + 1)), or a share of it.
    A bound on the norm outside a space holds for every wider space, so a space that has only grown
    needs no new test.

    Args:
        share: Share of 10⁻⁶ for these tests, if other tests of the run may fail too.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.tests = 0
        self._allowed = share * FAILURE_PROBABILITY
        self._outside = math.inf
        self._restarts = -1
        self._known: tuple[tuple[int, int, int], float] | None = None

    @property
    def failure(self) -> float:
        """Failure probability of all tests up to now together."""
        return self._allowed * (1 - 1 / (self.tests + 1))

    def leading_squares(self, W: Matrix, evidence: RitzData, rank: int) -> float:
        """An upper bound on σ₁² + … + σ_r²; a new test is made if the last one leaves it loose."""
        key = (evidence.restarts, evidence.width, rank)
        if self._known is None or self._known[0] != key:
            total = W.squared_norm()
            best = total - leading_squares_bound(evidence, rank, 0.0, total)
            enough = (1 - LOOSE_SHARE) * best - UNSEEN_SHARE * hidden(W)

            def is_sharp(outside: float) -> bool:
                left = total - leading_squares_bound(evidence, rank, outside, total)
                return left >= enough

            outside = self._bound_outside(W, evidence, is_sharp)
            self._known = key, leading_squares_bound(evidence, rank, outside, total)
        return self._known[1]

    def _bound_outside(
        self, W: Matrix, evidence: RitzData, is_sharp: Callable[[float], bool]
    ) -> float:
        """A bound ν on ‖W(I − VVᵀ)‖²: the last one if it is still sharp, or that of a new test."""
        # after a restart the space does not hold the tested one
        grown = evidence.restarts == self._restarts
        if grown and is_sharp(self._outside):
            return self._outside
        self.tests += 1
        # a key of its own for each test, since V may depend on the tests before
        randomness = np.random.Generator(np.random.Philox(key=TEST_KEY + self.tests))
        failure = self._allowed / (self.tests * (self.tests + 1))
        found = outside_bound(W, evidence.V, failure, randomness, enough=is_sharp)
        # a bound for a narrower space holds for a wider one, too
        self._outside = min(found, self._outside) if grown else found
        self._restarts = evidence.restarts
        return self._outside


PROBE_KEY: Final = 0xEC4A89
"""Philox key of the power probes, independent of every solver, whatever its seed."""


KEPT_LENGTH: Final = 0.1
"""Share of its length that a column keeps in a projection, below which it lost a digit."""
TELLING_POWERS: Final = 2
"""Number of powers after which probes are near the largest direction outside the space."""
INDEPENDENT_SQUARE: Final = 1e-6
"""Squared relative length up to which directions of the columns count as dependent."""


@final
class PowerProbes:
    """A few columns X that are multiplied along in every product WᵀW·[Q, X], beside a block Q.

    Let V₁ ⊂ V₂ ⊂ … be the bases of the space, Π_j = I − V_jV_jᵀ and A_j = Π_j·WᵀW·Π_j, and Ω
    Gaussian columns that are independent of every V_j. The columns are M·Ω with M = A_k···A₁, or
    M = A_k···A₁·WᵀW if the first product was made before there was a space; M has q factors. Then
    ‖M‖ ≥ ν^q with ν = ‖A_k‖ = ‖W(I − VVᵀ)‖² (spectral), and three figures follow:

    * `bound`: with u the leading left singular vector of M, uᵀMΩ is ‖M‖ times p independent normal
      numbers, so that ‖M‖² ≤ ‖MΩ‖²/x fails with the probability that χ² of p degrees of freedom is
      below x. After j products that is 5·10⁻⁷/(j·(j + 1)·2^j): after each product the estimate may
      have decided whether random directions joined the space, and the bound covers every course.
    * `estimate`: ⟨Mω_i, Mω_j⟩² has the expectation tr((MᵀM)²) ≥ ν^(4q) for i ≠ j, so that the mean
      over all pairs estimates ν from above, by a factor that tends to 1 as q grows. It needs no
      constant for a failure probability; a lone direction is underestimated by a factor f with the
      probability that a mean of squares of p normal numbers is below f^(2q).
    * `least`: the largest Ritz value of A_k in the span of the columns, a lower bound on ν.

    A restart drops directions from the space, so the products begin again from Ω.

    Fields:
        power: q, the number of factors of M.

    Args:
        columns: Ω or WᵀW·Ω, of shape (columns, p) with p ≥ 2.
        power: Number of factors they hold already, 0 or 1.

    Cost:
        p more columns in each product; no pass.

    Reference:
        docs/mathematics/certificate.md has the proof; Kong, Valiant (2017), Annals of Statistics
        45(5), for the moments of a spectrum from pairs of columns.
    """

    def __init__(self, columns: Array, power: int = 0) -> None:
        self._first, self._first_power = columns, power
        self._products = power
        self.begin()

    def begin(self) -> None:
        """Return to Ω, for a new space that does not hold the last one."""
        self._columns, self.power = self._first, self._first_power
        self._logarithm, self._ritz = 0.0, 0.0

    @property
    def failure(self) -> float:
        """Probability that any bound up to now is wrong."""
        return PROBES_SHARE * FAILURE_PROBABILITY * (1 - 1 / (self._products + 1))

    @property
    def count(self) -> int:
        """Number of columns."""
        return self._columns.shape[1]

    def beside(self, W: Matrix, V: Array, Q: Array) -> Array:
        """Return the columns, outside V and Q, to multiply beside a block Q.

        Since the last product they are outside V except for rounding of much longer parts; if
        little else is left, they are projected once more.
        """
        before, X = math.inf, self._columns
        longest = self._longest(W, X)
        while longest < KEPT_LENGTH * before:
            before = longest
            X = project_out(project_out(X, V), Q)
            longest = self._longest(W, X)
        # the common length is kept as a logarithm, because powers leave the range
        self._logarithm += math.log(longest)
        # one factor for all columns, because their lengths relative to each other count
        self._columns = X / longest
        return self._columns

    def take(self, W: Matrix, product: Array, V: Array) -> None:
        """Store the product of WᵀW with the columns of `beside`; V holds the block now."""
        X, self._columns = self._columns, project_out(product, V)
        self.power += 1
        self._products += 1
        self._ritz = largest_ritz(W.namespace.gram(X, X), W.namespace.gram(X, self._columns))

    def outside(self, W: Matrix) -> tuple[float | None, float]:
        """Return `least` (None before the second power: it is far too small) and `estimate`."""
        return self.least() if self.power >= TELLING_POWERS else None, self.estimate(W)

    def bound(self, W: Matrix) -> float:
        """An upper bound ν on ‖W(I − VVᵀ)‖² for V with the block of the last product.

        Infinite before the first product.
        """
        if self.power == 0:
            return math.inf
        j = self._products
        # 2^j courses: after each product random directions may have joined or not
        allowed = PROBES_SHARE * FAILURE_PROBABILITY / (j * (j + 1) * 2.0**j)
        from scipy.special import gammaincinv  # takes long to import, and small matrices need none

        # the quantile of χ² with p degrees of freedom
        surely = 2 * float(gammaincinv(self.count / 2, allowed))
        squared = (
            float(np.linalg.eigvalsh(W.namespace.gram(self._columns, self._columns))[-1]) / surely
        )
        return self._root(squared, 2 * self.power)

    def estimate(self, W: Matrix) -> float:
        """An estimate of ‖W(I − VVᵀ)‖², rather above it; infinite before the first product."""
        if self.power == 0:
            return math.inf
        gram = W.namespace.gram(self._columns, self._columns)
        # pairs i ≠ j only: the squares on the diagonal are biased upwards
        apart = float(np.square(gram).sum() - np.square(np.diag(gram)).sum())
        apart /= self.count * (self.count - 1)
        estimated = self._root(math.sqrt(max(apart, 0.0)), 2 * self.power)
        # the Ritz value is a lower bound, which an estimate must not be below
        return max(estimated, self._ritz)

    def least(self) -> float:
        """A lower bound on ‖W(I − VVᵀ)‖²; 0 before the first product."""
        return self._ritz

    @staticmethod
    def _longest(W: Matrix, X: Array) -> float:
        """The length of the longest column; 1 if all are zero."""
        squares = np.diag(W.namespace.gram(X, X))
        return math.sqrt(float(squares.max(initial=0.0))) or 1.0

    def _root(self, squared: float, power: int) -> float:
        """(e^(2·logarithm)·squared)^(1/power), by logarithms, because powers leave the range."""
        squared = max(squared, float(np.finfo(FLOAT64).tiny))
        return math.exp((2 * self._logarithm + math.log(squared)) / power)


def gaussian_columns(W: Matrix, count: int) -> Array:
    """Return Ω with independent normal entries, of shape (columns, count), equal in every run."""
    generator = np.random.Generator(np.random.Philox(key=PROBE_KEY))
    return W.namespace.put(generator.standard_normal((W.shape[1], count)), W.dtype)


def largest_ritz(gram: Array, inner: Array) -> float:
    """The largest t with det(inner − t·gram) = 0, in the independent part of the columns."""
    squares, E = np.linalg.eigh(gram)
    kept = squares > INDEPENDENT_SQUARE * squares[-1]
    half = E[:, kept] / np.sqrt(squares[kept])
    projected = half.T @ inner @ half
    return float(np.linalg.eigvalsh((projected + projected.T) / 2)[-1]) if kept.any() else 0.0
