"""The transpose of a matrix, never made."""

from collections.abc import Iterator
from typing import final

import numpy as np

from eckart.arrays import Array
from eckart.matrices.protocol import block_rows
from eckart.matrices.view import View


@final
class Transposed(View):
    """Wᵀ as a `Matrix`.

    Args:
        source: W, of shape (columns, rows) of this one.

    Cost:
        That of the other product with W; a block of rows costs a product of as many columns.

    Example:
        >>> from eckart.matrices import Dense
        >>> Transposed(Dense([[1.0, 2.0]])).times(np.ones((1, 1))).T
        array([[1., 2.]])
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.source.shape
        return columns, rows

    def times(self, X: Array, /) -> Array:
        """Wᵀ·X."""
        return self.source.transposed_times(X)

    def transposed_times(self, Y: Array, /) -> Array:
        """W·Y."""
        return self.source.times(Y)

    def gram_times(self, X: Array, /) -> Array:
        """W·(Wᵀ·X)."""
        return self.source.times(self.source.transposed_times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Dense blocks of consecutive columns of W, as rows."""
        count, length = self.shape
        height = rows or block_rows(length)
        for start in range(0, count, height):
            chosen = np.eye(count, min(height, count - start), -start)
            yield self.source.times(self.namespace.put(chosen, self.dtype)).T

    def squared_norm(self) -> float:
        """‖W‖²_F."""
        return self.source.squared_norm()

    __matmul__ = times
