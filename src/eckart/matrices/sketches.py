"""Sketches of the rows of a matrix, for its leading directions, and probes for what is outside."""

from copy import copy
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType

SUMS_PER_DIRECTION: Final = 8
"""Number of random sums for each direction that is wanted of them."""
SUMS_IN_PARTS: Final = 4
"""The same if rows lie on a cluster, where the sums of all workers travel once."""
POWER_ITERATIONS: Final = 3
"""Number of power iterations with (SW)ᵀ(SW); they cost a fraction of products with W."""
PROBE_COLUMNS: Final = 32
"""Number of probes: a product with so few columns takes little longer than with one."""
PROBE_KEY: Final = 0xEC4A88
"""Philox key of the probes, which are independent of every solver, whatever its seed."""


@final
class Compression:
    """S·W, with one random sign in each column of S, computed while rows of W arrive in blocks.

    S·W gives initial directions; WᵀW·Ω is for a bound on the energy outside of them. The sign of a
    row depends on its place alone, so that parts of the rows may be sketched apart, and added.

    Args:
        rows: Number of rows of W.
        columns: Number of columns of W.
        height: Number of rows of S·W; at most `rows`.
        dtype: Dtype of W.
        key: Key of the signs.
        probes: Ω, of shape (columns, p), to compute WᵀW·Ω too.
        first: Place of the first row that arrives.

    Cost:
        2 operations for each entry of W, and 4·p with probes; memory height·columns numbers.

    Reference:
        Clarkson, Woodruff (2013), Low rank approximation and regression in input sparsity time.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        height: int,
        dtype: DType,
        key: int,
        probes: Array | None = None,
        first: int = 0,
    ) -> None:
        height = max(1, min(height, rows))
        self._edges = np.arange(1, height + 1) * rows // height
        self._key = key
        self._seen = first
        # the sum to which the first row belongs; those before it are of other parts
        self._begin = int(np.searchsorted(self._edges, first, side="right"))
        self.rows: Array = np.zeros((height - self._begin, columns), dtype)
        self._ones = np.zeros(height - self._begin)  # S·1
        self.probes = probes
        self._products = np.zeros((0 if probes is None else probes.shape[1], columns))

    def begun(self, first: int) -> "Compression":
        """The same sketch without rows, for those from a place on."""
        rows, columns, dtype = int(self._edges[-1]), self.rows.shape[1], self.rows.dtype
        return Compression(rows, columns, len(self._edges), dtype, self._key, self.probes, first)

    def bare(self) -> "Compression":
        """The same sketch without room for sums, from which others are begun."""
        self.rows, self._ones = self.rows[:0].copy(), self._ones[:0]
        return self

    def add(self, block: Array) -> None:
        """Add the next block of rows."""
        if self.probes is not None:
            # transposed: the faster order in BLAS, as in `Dense`
            self._products += (block @ self.probes).T @ block
        signs = random_signs(self._key, self._seen, len(block)).astype(block.dtype)
        start = 0
        while start < len(block):
            # the sum to which the next row belongs
            place = int(np.searchsorted(self._edges, self._seen, side="right"))
            count = min(len(block) - start, int(self._edges[place]) - self._seen)
            part = signs[start : start + count]
            self.rows[place - self._begin] += part @ block[start : start + count]
            self._ones[place - self._begin] += part.sum()
            start += count
            self._seen += count

    def ended(self) -> "Compression":
        """The sketch without the sums of rows that have not arrived."""
        last = int(np.searchsorted(self._edges, self._seen - 1, side="right")) + 1
        self.rows, self._ones = (
            one[: last - self._begin].copy() for one in (self.rows, self._ones)
        )
        # it goes from one process to another
        self.probes = None
        return self

    def __sizeof__(self) -> int:
        """Bytes, by which Dask decides where sketches of several workers are added."""
        return self.rows.nbytes + self._ones.nbytes + self._products.nbytes + self._edges.nbytes

    def __add__(self, later: "Compression") -> "Compression":
        """The sketch of the rows of both, those of `later` behind those of this one."""
        joined, shared = copy(self), self._begin + len(self.rows) - later._begin
        # neither is changed: a task whose result is lost adds the two again
        joined.rows, joined._ones = (
            (
                np.concatenate([one[: len(one) - shared], between, other[shared:]])
                for one, other, between in (
                    (self.rows, later.rows, self.rows[-shared:] + later.rows[:shared]),
                    (self._ones, later._ones, self._ones[-shared:] + later._ones[:shared]),
                )
            )
            if shared > 0
            else (
                np.concatenate([self.rows, later.rows]),
                np.concatenate([self._ones, later._ones]),
            )
        )
        joined._products = self._products + later._products
        joined._seen = later._seen
        return joined

    def move(self, shift: Array, scales: Array | None) -> None:
        """Replace S·W by S·(W − 1·shiftᵀ)/scales."""
        self.rows -= np.outer(self._ones, shift).astype(self.rows.dtype)
        if scales is not None:
            self.rows /= scales.astype(self.rows.dtype)

    def directions(self, width: int) -> Array:
        """Orthonormal columns near the leading right singular vectors, (columns, width or fewer).

        Cost:
            12·height·columns·width operations.
        """
        columns = self.rows.shape[1]
        largest = float(np.abs(self.rows).max(initial=0.0))
        self.rows /= self.rows.dtype.type(largest or 1.0)  # so that squares stay in range
        small = self.rows
        drawn = np.random.Generator(np.random.Philox(key=self._key + 1)).standard_normal(
            (columns, min(width, *small.shape))
        )
        X = drawn.astype(small.dtype)
        for _ in range(POWER_ITERATIONS):
            # orthonormal after each product, so that the leading direction does not take over
            X = np.linalg.qr(((small @ X).T @ small).T)[0]
        return X

    def probed(self, rows: int, sums: Array, shift: Array, probes: Array | None) -> Array | None:
        """(W − 1·shiftᵀ)ᵀ(W − 1·shiftᵀ)·Ω; `sums` holds the sums of the columns of W."""
        if probes is None:
            return None
        drawn = probes.T.astype(FLOAT64)
        # (W − 1·sᵀ)ᵀ(W − 1·sᵀ) = WᵀW − sums·sᵀ − s·(sums − rows·s)ᵀ
        moved = np.outer(drawn @ sums, shift) + np.outer(drawn @ shift, sums - rows * shift)
        return (self._products - moved).T.astype(probes.dtype)


SIGNS_AT_ONCE: Final = 256
"""Signs of one step of the counter of Philox: four words of 64 bits."""


def random_signs(key: int, first: int, count: int) -> Array:
    """Random signs of rows from a place on, which depend on the key and the place alone.

    Example:
        >>> bool((random_signs(3, 7, 900)[5:] == random_signs(3, 12, 895)).all())
        True
    """
    begin, end = first // SIGNS_AT_ONCE, -(-(first + count) // SIGNS_AT_ONCE)
    words = np.random.Philox(key=key, counter=begin).random_raw(4 * (end - begin))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    offset = first - begin * SIGNS_AT_ONCE
    return 1.0 - 2.0 * bits[offset : offset + count]


def gaussian_probes(columns: int, dtype: DType) -> Array:
    """Ω with independent normal entries, of shape (columns, 32), the same in every run."""
    generator = np.random.Generator(np.random.Philox(key=PROBE_KEY))
    return generator.standard_normal((columns, PROBE_COLUMNS)).astype(dtype)
