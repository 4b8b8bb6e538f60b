"""A matrix whose entries are so large or small that their squares leave the range of its dtype."""

import math
from collections.abc import Iterator
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.matrices.protocol import Matrix, View
from eckart.matrices.standardised import Standardised

DECADES: Final = {FLOAT32: 6, FLOAT64: 60}
"""‖W‖ between 10^−n and 10^n needs no rescaling: products WᵀW·X, and directions a millionth as long
as the longest, stay far from both ends of the range."""

MOST: Final = 100
"""Of the exponent of two by which vectors near 1 are multiplied before a product."""


@final
class Rescaled(View):
    """2^exponent·W, which is never formed: what is multiplied with W is rescaled, then the product.

    Multiplying by a power of two changes no digit. It is done in two steps, neither of which leaves
    the range, so that products with the smallest and largest numbers of float32 keep theirs too.

    Args:
        source: W, of shape (rows, columns).
        exponent: Of two.

    Cost:
        That of the products with W.

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
        """The product with X, of shape (rows, k)."""
        return self.source.times(X * self._first) * self._rest

    def transposed_times(self, Y: Array, /) -> Array:
        """The product of the transpose with Y, of shape (columns, k)."""
        return self.source.transposed_times(Y * self._first) * self._rest

    def gram_times(self, X: Array, /) -> Array:
        """The product of the transpose with that with X, of shape (columns, k)."""
        return self.transposed_times(self.times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Blocks of consecutive rows, rescaled."""
        for block in self.source.row_blocks(rows):
            yield block * self._first * self._rest

    def squared_norm(self) -> float:
        """‖·‖²_F."""
        return self.source.squared_norm() * self._first**2 * self._rest**2

    __matmul__ = times


def rescaled(W: Matrix) -> tuple[Matrix, int]:
    """W with ‖W‖ near 1, and the exponent of two that it was multiplied by; W where it is not far.

    Example:
        >>> from eckart.matrices.dense import Dense
        >>> rescaled(Dense(np.full((2, 2), 1e-20, np.float32)))[1]
        65
    """
    norm = math.sqrt(W.squared_norm())
    if norm == 0 or not math.isfinite(norm) or abs(math.log10(norm)) <= DECADES[W.dtype]:
        return W, 0
    exponent = -int(np.frexp(norm)[1])
    own = isinstance(W, Standardised)
    return W.rescaled(exponent) if own else Rescaled(W, exponent), exponent
