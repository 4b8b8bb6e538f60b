"""A weight with the changes of adapters added: W + Σ weight·B·A, one block of rows at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.jobs.extract.delta import widened
from eckart.storage.adapters import matrix_shape
from eckart.storage.adapters.adapter import Tensor

BLOCK: Final = 2**20
"""Entries that are added up at once: a few megabytes in float32."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What adapters do to one tensor, each part with its weight.

    Fields:
        factors: B and A, in the orientation of the tensor.
        biases: Changes of a bias.
        saved: New values, of the shape of the tensor, each of which counts with its difference
            from it.
        replacement: New values of any shape in the place of the tensor.
    """

    factors: Sequence[tuple[Factors, float]] = ()
    biases: Sequence[tuple[Array, float]] = ()
    saved: Sequence[tuple[Tensor, float]] = ()
    replacement: Tensor | None = None

    @property
    def adds(self) -> bool:
        """Whether anything is added to the tensor or to its replacement."""
        return bool(self.factors or self.biases or self.saved)

    def added(self, name: str, start: Tensor, dtype: np.dtype[Any]) -> Tensor:
        """The changed tensor, added up in float32 (float64 stays) and rounded once.

        Args:
            name: Of the tensor, for the error.
            start: The tensor, whose memory is used for the answer where the dtype is the same; or
                its replacement.
            dtype: Of the answer.

        Raises:
            MatrixError: If a number is not finite, or too large for the dtype.

        Cost:
            One pass, and a product of width rank for each of the factors; blocks of 4 MB, and a
            copy where the dtype is another.
        """
        W = start.reshape(_flat(start.shape))
        own = self.replacement is None and start.dtype == dtype
        merged = W if own else np.empty(W.shape, dtype)
        height = max(1, BLOCK // max(1, W.shape[1]))
        for first in range(0, W.shape[0], height):
            rows = slice(first, first + height)
            block = self._block(widened(W[rows]), rows)
            with np.errstate(over="ignore"):
                merged[rows] = block.astype(dtype)
            if not np.isfinite(merged[rows]).all():
                raise MatrixError(
                    f"'{name}' would hold a number that is not finite in {dtype}.",
                    hint="Write float32 or bfloat16, or check the base for NaN and infinity.",
                    code="not-finite",
                )
        return merged.reshape(start.shape)

    def _block(self, W: Array, rows: slice) -> Array:
        total = W
        for values, weight in self.saved:
            other = widened(values.reshape(_flat(values.shape))[rows])
            total = total + W.dtype.type(weight) * (other - W)
        for change, weight in self.biases:
            total = total + W.dtype.type(weight) * change.reshape(-1, 1)[rows]
        for factors, weight in self.factors:
            total = total + W.dtype.type(weight) * (factors.B[rows] @ factors.A)
        return total


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of any tensor: a single number is 1 × 1, a vector has one column."""
    return matrix_shape(shape or (1,))
