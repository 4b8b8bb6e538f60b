"""The random tests of one run, and what they may have failed by together."""

import math
from typing import Final, final

import numpy as np

from eckart.matrices import Matrix
from eckart.subspaces.bounds import Evidence, outside_bound

FAILURE: Final = 1e-6
"""Of all tests of a run together: test j spends FAILURE/(j·(j + 1))."""
PROBE_KEY: Final = 0xEC4A87
"""The probes are drawn apart from every solver, whatever its seed."""
SHARP_ENOUGH: Final = 0.5
"""Share of the r-th Ritz value below which what lies outside hardly loosens the bound."""
USABLE: Final = 0.8
"""Share below which another test is not worth its products."""


@final
class Probing:
    """The random tests of one run: what they may have failed by, and the bound they left.

    Test j draws fresh probes and may fail with probability 10⁻⁶/(j·(j + 1)). What it finds to lie
    outside a space bounds what lies outside every wider one, so a space that has only grown needs
    no new test.
    """

    def __init__(self) -> None:
        self.tests = 0
        self._outside = math.inf
        self._restarts = -1

    @property
    def failure(self) -> float:
        """Of all tests up to now together."""
        return FAILURE * (1 - 1 / (self.tests + 1))

    def outside(self, W: Matrix, evidence: Evidence, rank: int) -> float:
        """A bound ν on ‖W(I − VVᵀ)‖²; a new test where the last is of no use for this rank."""
        last = float(np.linalg.eigvalsh(evidence.H)[-rank])
        if evidence.restarts == self._restarts and self._outside <= USABLE * last:
            return self._outside
        self.tests += 1
        randomness = np.random.Generator(np.random.Philox(key=PROBE_KEY + self.tests))
        failure = FAILURE / (self.tests * (self.tests + 1))
        found = outside_bound(W, evidence.V, failure, randomness, wanted=SHARP_ENOUGH * last)
        grown = evidence.restarts == self._restarts
        self._outside = min(found, self._outside) if grown else found
        self._restarts = evidence.restarts
        return self._outside
