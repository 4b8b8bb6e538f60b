"""Adding the changes of adapters to a weight, W + Σ weight·B·A, one block of rows at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import ml_dtypes
import numpy as np

from eckart.adapters.delta import widened
from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.checkpoints import stored_dtype
from eckart.checkpoints.peft import matrix_shape
from eckart.checkpoints.peft.adapter import Tensor
from eckart.errors import MatrixError
from eckart.factors import Factors

BLOCK: Final = 2**18
"""Entries of one block of rows: a megabyte in float32."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The changes of one tensor by adapters, each with the weight of its adapter.

    Fields:
        factors: Factors B and A, oriented as the tensor is stored.
        biases: Changes of a bias.
        saved: Saved values in the shape of the tensor, which count with their difference from it.
        replacement: Values of any shape that replace the tensor, or None.
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
            name: Name of the tensor, for the error message.
            start: The tensor, which is overwritten if its dtype is `dtype`; or its replacement,
                which is not.
            dtype: Dtype of the result.

        Raises:
            MatrixError: If a number is not finite or overflows the dtype.

        Cost:
            One pass, and one product with each pair of factors. Three blocks of 1 MB, and a copy
            of the tensor if its dtype changes.
        """
        W = start.reshape(_flat(start.shape))
        own = self.replacement is None and start.dtype == dtype
        merged = W if own else np.empty(W.shape, dtype)
        # checked before the rounding, which would turn a large number into infinity
        most = _largest(dtype)
        height = max(1, BLOCK // max(1, W.shape[1]))
        kind = FLOAT64 if start.dtype == FLOAT64 else FLOAT32
        # the blocks are reused: allocating them anew costs more time than the sum
        total, product = np.empty((2, min(height, W.shape[0]), W.shape[1]), kind)
        for first in range(0, W.shape[0] if W.size else 0, height):
            rows = slice(first, first + height)
            block = total[: len(W[rows])]
            np.copyto(block, widened(W[rows]))
            self._add(block, rows, product[: len(block)])
            # not > most: a comparison with NaN is false, and NaN has to be refused too
            if not max(float(block.max()), -float(block.min())) <= most:
                raise MatrixError(
                    f"'{name}' would hold a number that is not finite in {dtype}.",
                    hint="Write float32 or bfloat16, or check the base for NaN and infinity.",
                    code="not-finite",
                )
            merged[rows] = block.astype(dtype, copy=False)
        return merged.reshape(start.shape)

    def _add(self, total: Array, rows: slice, product: Array) -> None:
        """Add all changes to some rows of the tensor; `product` is memory for one more block."""
        if self.saved:
            # W + Σ w·(S − W) = (1 − Σ w)·W + Σ w·S, which needs no copy of W
            total *= total.dtype.type(1 - math.fsum(weight for _, weight in self.saved))
        for values, weight in self.saved:
            total += total.dtype.type(weight) * widened(values.reshape(_flat(values.shape))[rows])
        for change, weight in self.biases:
            total += total.dtype.type(weight) * change.reshape(-1, 1)[rows]
        for factors, weight in self.factors:
            # the weight goes on the rows of B, which are smaller than the product
            np.matmul(total.dtype.type(weight) * factors.B[rows], factors.A, out=product)
            total += product


def _largest(dtype: np.dtype[Any]) -> float:
    """The largest number of a floating-point dtype of weights, infinity for other dtypes."""
    stored = stored_dtype(dtype)
    is_weight = stored is not None and stored.is_weight
    return float(ml_dtypes.finfo(dtype).max) if is_weight else math.inf


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns of a tensor as a matrix; a vector has one column, a scalar is 1 × 1."""
    return matrix_shape(shape or (1,))
