"""A few rows that stand for all: sums of consecutive rows of W, each row times a random number."""

from typing import Final, final

import numpy as np

from eckart.arrays import Array, DType, Randomness

ROOM: Final = 8
"""Sums for each direction that is wanted of them."""
TURNS: Final = 3
"""Products with (SW)ᵀ(SW); they cost a fraction of those with W."""


@final
class Compression:
    """S·W with one Gaussian number in each column of S, while the rows of W arrive in blocks.

    Args:
        rows: Of W.
        columns: Of W.
        height: Rows of S·W; at most `rows` are made.
        dtype: Of W.
        randomness: Of the numbers.

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
        """Take in the next rows."""
        numbers = np.asarray(self._randomness.standard_normal(len(block))).astype(block.dtype)
        start = 0
        while start < len(block):
            place = int(np.searchsorted(self._edges, self._seen, side="right"))
            count = min(len(block) - start, int(self._edges[place]) - self._seen)
            part = numbers[start : start + count]
            self.rows[place] += part @ block[start : start + count]
            self._ones[place] += part.sum()
            start += count
            self._seen += count

    def move(self, shift: Array, scales: Array | None) -> None:
        """Go over to S·(W − 1·shiftᵀ)/scales."""
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
            X = np.linalg.qr(((small @ X).T @ small).T)[0]
        return X
