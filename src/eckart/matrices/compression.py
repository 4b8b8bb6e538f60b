"""Sketches of W while its rows pass: random sums of consecutive rows, and probes for a bound."""

from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType, Randomness

ROOM: Final = 8
"""Number of random sums for each direction that is wanted of them."""
TURNS: Final = 3
"""Number of power iterations with (SW)ᵀ(SW); they cost a fraction of products with W."""


@final
class Compression:
    """S·W, with one Gaussian entry in each column of S, computed while rows of W arrive in blocks.

    Args:
        rows: Number of rows of W.
        columns: Number of columns of W.
        height: Number of rows of S·W; at most `rows`.
        dtype: Dtype of W.
        randomness: Source of the Gaussian entries.

    Cost:
        2 operations for each entry of W; memory height·columns numbers.

    Reference:
        Clarkson, Woodruff (2013), Low rank approximation and regression in input sparsity time.
    """

    def __init__(
        self, rows: int, columns: int, height: int, dtype: DType, randomness: Randomness
    ) -> None:
        height = max(1, min(height, rows))
        self._edges = np.arange(1, height + 1) * rows // height
        self._randomness = randomness
        self._seen = 0
        self.rows: Array = np.zeros((height, columns), dtype)
        self._ones = np.zeros(height)  # S·1

    def add(self, block: Array) -> None:
        """Add the next block of rows."""
        numbers = np.asarray(self._randomness.standard_normal(len(block))).astype(block.dtype)
        start = 0
        while start < len(block):
            # the sum to which the next row belongs
            place = int(np.searchsorted(self._edges, self._seen, side="right"))
            count = min(len(block) - start, int(self._edges[place]) - self._seen)
            part = numbers[start : start + count]
            self.rows[place] += part @ block[start : start + count]
            self._ones[place] += part.sum()
            start += count
            self._seen += count

    def move(self, shift: Array, scales: Array | None) -> None:
        """Replace S·W by S·(W − 1·shiftᵀ)/scales."""
        self.rows -= np.outer(self._ones, shift).astype(self.rows.dtype)
        if scales is not None:
            self.rows /= scales.astype(self.rows.dtype)

    def directions(self, width: int) -> Array:
        """Orthonormal columns near the leading right singular vectors, (columns, width or fewer).

        Cost:
            12·height·columns·width operations.

        Example:
            >>> made = Compression(6, 2, 3, np.dtype(float), np.random.default_rng(0))
            >>> made.add(np.outer(np.arange(1.0, 7.0), [3.0, 4.0]))
            >>> np.abs(made.directions(1)[:, 0]).round(9).tolist()
            [0.6, 0.8]
        """
        columns = self.rows.shape[1]
        largest = float(np.abs(self.rows).max(initial=0.0))
        self.rows /= self.rows.dtype.type(largest or 1.0)  # so that squares stay in range
        small = self.rows
        drawn = self._randomness.standard_normal((columns, min(width, *small.shape)))
        X = np.asarray(drawn).astype(small.dtype)
        for _ in range(TURNS):
            # orthonormal after each product, so that the leading direction does not take over
            X = np.linalg.qr(((small @ X).T @ small).T)[0]
        return X


PROBES: Final = 32
"""Number of probes: a product with so few columns takes little longer than with one."""
PROBE_KEY: Final = 0xEC4A88
"""Philox key of the probes, which are independent of every solver, whatever its seed."""


@final
class Sketching:
    """S·W for initial directions, and WᵀW·Ω for a bound on the energy outside of them.

    Args:
        compression: Compression that receives the rows of W.
        width: Number of directions that are wanted of it.
        probes: Ω, of shape (columns, p); None omits WᵀW·Ω.
    """

    def __init__(self, compression: Compression, width: int, probes: Array | None) -> None:
        self._compression = compression
        self._width = width
        self._probes = probes
        self._products = None if probes is None else np.zeros(probes.T.shape)

    def add(self, block: Array) -> None:
        """Add the next block of rows."""
        self._compression.add(block)
        if self._probes is not None and self._products is not None:
            # transposed: the faster order in BLAS, as in `Dense`
            self._products += (block @ self._probes).T @ block

    def first(self, shift: Array, scales: Array | None) -> Array:
        """Orthonormal columns near the leading directions of (W − 1·shiftᵀ)/scales."""
        self._compression.move(shift, scales)
        return self._compression.directions(self._width)

    def probed(self, rows: int, sums: Array, shift: Array) -> Array | None:
        """(W − 1·shiftᵀ)ᵀ(W − 1·shiftᵀ)·Ω; `sums` holds the sums of the columns of W."""
        if self._probes is None or self._products is None:
            return None
        drawn = self._probes.T.astype(FLOAT64)
        # (W − 1·sᵀ)ᵀ(W − 1·sᵀ) = WᵀW − sums·sᵀ − s·(sums − rows·s)ᵀ
        moved = np.outer(drawn @ sums, shift) + np.outer(drawn @ shift, sums - rows * shift)
        return (self._products - moved).T.astype(self._probes.dtype)


def gaussian_probes(columns: int, dtype: DType) -> Array:
    """Ω with independent normal entries, of shape (columns, 32), the same in every run."""
    generator = np.random.Generator(np.random.Philox(key=PROBE_KEY))
    return generator.standard_normal((columns, PROBES)).astype(dtype)
