"""Whether fine-tuning left a tensor as it was."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT32, HALVES

BLOCK: Final = 2**16
"""Entries that are compared at once: they fit the cache, and one that differs ends it early."""


def is_unchanged(base: npt.NDArray[Any], tuned: npt.NDArray[Any]) -> bool:
    """Whether two tensors hold the same numbers: −0 is 0, NaN equals nothing.

    Floating-point numbers of different dtypes are compared after exact widening; integers as NumPy
    compares them.

    Args:
        base: Of any shape and dtype, in C order.
        tuned: Likewise.

    Cost:
        Reads both once, at the speed of memory, until the first block of 65 536 entries that
        differs; no temporary is larger than such a block.

    Example:
        >>> is_unchanged(np.float16([0.5, -0.0]), np.float32([0.5, 0.0]))
        True
    """
    if base.shape != tuned.shape:
        return False
    left, right = base.reshape(-1), tuned.reshape(-1)
    return all(
        _are_equal(left[start : start + BLOCK], right[start : start + BLOCK])
        for start in range(0, left.size, BLOCK)
    )


def _are_equal(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> bool:
    if x.dtype == y.dtype and x.dtype in HALVES:
        # as integers: ten times as fast as NumPy's comparison of halves
        bits = x.view(np.uint16)
        if np.array_equal(bits, y.view(np.uint16)):
            infinity = np.array(np.inf, x.dtype).view(np.uint16)
            return bool((bits & 0x7FFF).max() <= infinity)
    return bool((_widened(x) == _widened(y)).all())


def _widened(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return x.astype(FLOAT32) if x.dtype in HALVES else x
