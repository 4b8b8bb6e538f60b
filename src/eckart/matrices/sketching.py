"""What the pass that measures a streamed W makes of it besides, where WᵀW is too large."""

from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType
from eckart.matrices.compression import Compression

PROBES: Final = 32
"""A product with so few columns takes little longer than with one."""
PROBE_KEY: Final = 0xEC4A88
"""The probes are drawn apart from every solver, whatever its seed."""


@final
class Sketching:
    """S·W, for directions to begin with, and WᵀW·Ω, for a bound on what lies outside of them.

    Args:
        compression: Of W.
        width: Directions that are wanted of it.
        probes: Ω, of shape (columns, p); None makes no WᵀW·Ω.
    """

    def __init__(self, compression: Compression, width: int, probes: Array | None) -> None:
        self._compression = compression
        self._width = width
        self._probes = probes
        self._products = None if probes is None else np.zeros(probes.T.shape)

    def add(self, block: Array) -> None:
        """Take in the next rows."""
        self._compression.add(block)
        if self._probes is not None and self._products is not None:
            self._products += (block @ self._probes).T @ block

    def first(self, shift: Array, scales: Array | None) -> Array:
        """Orthonormal columns near the leading directions of (W − 1·shiftᵀ)/scales."""
        self._compression.move(shift, scales)
        return self._compression.directions(self._width)

    def probed(self, rows: int, sums: Array, shift: Array) -> Array | None:
        """(W − 1·shiftᵀ)ᵀ(W − 1·shiftᵀ)·Ω, where `sums` are those of the columns of W."""
        if self._probes is None or self._products is None:
            return None
        drawn = self._probes.T.astype(FLOAT64)
        moved = np.outer(drawn @ sums, shift) + np.outer(drawn @ shift, sums - rows * shift)
        return (self._products - moved).T.astype(self._probes.dtype)


def gaussian_probes(columns: int, dtype: DType) -> Array:
    """Ω with independent normal entries, of shape (columns, 32), the same in every run."""
    generator = np.random.Generator(np.random.Philox(key=PROBE_KEY))
    return generator.standard_normal((columns, PROBES)).astype(dtype)
