"""The random tests of one run, and what they may have failed by together."""

import math
from collections.abc import Callable
from typing import Final, final

import numpy as np

from eckart.matrices import Matrix
from eckart.subspaces.bounds import Evidence, leading_squares_bound, outside_bound

FAILURE: Final = 1e-6
"""Of all tests of a run together: test j spends FAILURE/(j·(j + 1))."""
CARRIED: Final = 0.5
"""Its share for probes that are multiplied along with a space, where a run may make tests too."""
PROBE_KEY: Final = 0xEC4A87
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
class Probing:
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

    def leading_squares(self, W: Matrix, evidence: Evidence, rank: int) -> float:
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
        self, W: Matrix, evidence: Evidence, is_sharp: Callable[[float], bool]
    ) -> float:
        """A bound ν on ‖W(I − VVᵀ)‖²: the last one, if that is sharp still, or that of a test."""
        grown = evidence.restarts == self._restarts
        if grown and is_sharp(self._outside):
            return self._outside
        self.tests += 1
        randomness = np.random.Generator(np.random.Philox(key=PROBE_KEY + self.tests))
        failure = self._allowed / (self.tests * (self.tests + 1))
        found = outside_bound(W, evidence.V, failure, randomness, enough=is_sharp)
        self._outside = min(found, self._outside) if grown else found
        self._restarts = evidence.restarts
        return self._outside
