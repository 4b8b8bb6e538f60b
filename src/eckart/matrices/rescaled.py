"""Rescaling of matrices whose squares would leave the range of their dtype."""

import math
from collections.abc import Iterator
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.matrices.protocol import Matrix, View
from eckart.matrices.standardised import Standardised

DECADES: Final = {FLOAT32: 6, FLOAT64: 60}
"""Exponents n: ‖W‖ between 10^−n and 10^n needs no rescaling, because products WᵀW·X, and
directions a millionth as long as the longest, stay far from both ends of the range."""

MOST: Final = 100
"""Largest exponent of two by which vectors near 1 are multiplied before a product."""


@final
class Rescaled(View):
    """2^exponent·W, never formed: the other factor is rescaled, and then the product.

    Multiplying by a power of two changes no digit. It is done in two steps, neither of which leaves
    the range, so that products with the smallest and largest float32 numbers keep their digits.

    Args:
        source: W, of shape (rows, columns).
        exponent: Exponent of two.

    Cost:
        The cost of the products with W.

    Example:
        >>> from eckart.matrices.dense import Dense
        >>> float(Rescaled(Dense([[3.0, 4.0]]), -1).squared_norm())
        6.25
    """

    def __init__(self, source: Matrix, exponent: int) -> None:
        super().__init__(source)
        self.exponent = exponent
        first = max(-MOST, min(exponent, MOST))
        self._first, self._rest = 2.0**first, 2.0 ** (exponent - first)

    def times(self, X: Array, /) -> Array:
        """2^exponent·W·X, of shape (rows, k)."""
        return self.source.times(X * self._first) * self._rest

    def transposed_times(self, Y: Array, /) -> Array:
        """2^exponent·Wᵀ·Y, of shape (columns, k)."""
        return self.source.transposed_times(Y * self._first) * self._rest

    def gram_times(self, X: Array, /) -> Array:
        """4^exponent·Wᵀ·(W·X), of shape (columns, k)."""
        return self.transposed_times(self.times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over rescaled blocks of consecutive rows."""
        for block in self.source.row_blocks(rows):
            yield block * self._first * self._rest

    def squared_norm(self) -> float:
        """‖2^exponent·W‖²_F."""
        return self.source.squared_norm() * self._first**2 * self._rest**2

    __matmul__ = times


def rescaled(W: Matrix) -> tuple[Matrix, int]:
    """Return W scaled to ‖W‖ near 1, and the exponent of two; W itself if it needs no scaling.

    Example:
        >>> from eckart.matrices.dense import Dense
        >>> rescaled(Dense(np.full((2, 2), 1e-20, np.float32)))[1]
        65
    """
    norm = math.sqrt(W.squared_norm())
    if norm == 0 or not math.isfinite(norm) or abs(math.log10(norm)) <= DECADES[W.dtype]:
        return W, 0
    # frexp gives norm = m·2^e with ½ ≤ m < 1
    exponent = -int(np.frexp(norm)[1])
    # a standardised matrix changes its scales, and costs no further product
    own = isinstance(W, Standardised)
    return W.rescaled(exponent) if own else Rescaled(W, exponent), exponent
