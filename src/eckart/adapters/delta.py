"""The change of one tensor, W_tuned − W_base in float32, and the noise of rounding in it."""

import math
from dataclasses import dataclass
from typing import Any, Final, cast, final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from eckart.adapters.coverage import TensorPair
from eckart.adapters.sources import is_unchanged
from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.checkpoints.peft import matrix_shape
from eckart.errors import MatrixError
from eckart.matrices import Dense
from eckart.threads import in_threads

Tensor = npt.NDArray[Any]

BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)  # NumPy itself has no such dtype
BLOCK: Final = 2**19
"""Entries that are widened to float32 at once: a few megabytes."""
PIECE: Final = 2**16
"""Entries that are subtracted at once: they stay in the cache, and their memory with the process.
Larger pieces take four times as long, most of it for pages that the system clears each time."""
PART: Final = 2**22
"""Entries that one thread subtracts before it takes the next."""
EXPONENT_OF_ONE: Final = 127
"""Biased exponent of 1.0 in the bits of a float32."""
SURELY: Final = 3.27
"""Widths by which noise exceeds its edge once in a thousand times, by the Tracy–Widom law."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The change of a tensor.

    Fields:
        matrix: ΔW in float32, of shape (rows, product of the other axes).
        weight_norm: Frobenius norm ‖W_tuned‖_F.
    """

    matrix: Dense
    weight_norm: float


def subtract(pair: TensorPair, base: Tensor, tuned: Tensor) -> Delta | None:
    """The change of a tensor, or None if there is none.

    Args:
        pair: Names of the tensor, for errors, and its shape.
        base: The tensor of the base as stored, in any dtype of weights.
        tuned: The tensor of the fine-tune as stored, in the shape of `base`.

    Raises:
        MatrixError: If either tensor holds NaN or infinity, or the change overflows.

    Cost:
        One pass over both; the change takes four bytes for each entry, all else a few megabytes.
    """
    # most tensors of a partial fine-tune are unchanged, and need no memory for a change
    if is_unchanged(base, tuned):
        return None
    change = np.empty(tuned.size, FLOAT32)
    before, after = base.reshape(-1), tuned.reshape(-1)

    def part(first: int) -> tuple[float, float]:
        """Subtract one part; the sums of squares of the change and of the fine-tune in it."""
        changes = weights = 0.0
        for start in range(first, min(first + PART, change.size), PIECE):
            place = slice(start, min(start + PIECE, first + PART))
            wide = widened(after[place])
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # numbers that are not finite are reported below
                own = np.subtract(wide, widened(before[place]), out=change[place])
                changes += float(np.dot(own, own))
                weights += float(np.dot(wide, wide))
        return changes, weights

    sums = in_threads(part, range(0, change.size, PART))
    changes, squares = (math.fsum(side) for side in zip(*sums, strict=True))
    if not math.isfinite(changes):
        _check_finite(pair, change, base, tuned)
        raise MatrixError(
            f"The tensor '{pair.tuned}' changes by up to {np.abs(change).max():.2g}, "
            "too much for float32 to square.",
            hint="Repair the checkpoint, or extract without it: `exclude`.",
            code="too-large",
        )
    # weights near the largest float32 are legal; only their squares need float64
    if not math.isfinite(squares):
        squares = math.fsum(
            float(np.square(after[start : start + PIECE].astype(FLOAT64)).sum())
            for start in range(0, after.size, PIECE)
        )
    # a vector becomes a matrix of one row, since `Dense` has two axes
    shape = matrix_shape(pair.shape) if len(pair.shape) > 1 else (1, max(1, tuned.size))
    return Delta(matrix=Dense(change.reshape(shape)), weight_norm=math.sqrt(squares))


def digits(dtype: np.dtype[Any]) -> int:
    """Stored bits of the significand: w is rounded to a multiple of 2^(⌊log₂|w|⌋ − digits).

    Example:
        >>> digits(BFLOAT16), digits(FLOAT32)
        (7, 23)
    """
    return int(ml_dtypes.finfo(dtype).nmant)


def noise_edge(stored: Tensor) -> float:
    """An upper edge of the singular values of the rounding errors of a stored matrix.

    Rounding a number w makes an error of variance ulp(w)²/12. Errors of variances s_ij² have a
    spectral norm of about max_i √(Σ_j s_ij²) + max_j √(Σ_i s_ij²), which is s(√rows + √columns)
    where all are equal. The norm exceeds that by more than 3.27 widths of the Tracy–Widom law once
    in a thousand times.

    Args:
        stored: Array of shape (rows, columns) in the dtype that its entries were rounded to.

    Cost:
        One pass.

    Reference:
        Marchenko, Pastur (1967); Johnstone (2001), Annals of Statistics 29(2); for unequal
        variances Bandeira, van Handel (2016), Annals of Probability 44(4).
    """
    rows, columns = stored.shape
    ulps = np.exp2(np.arange(256.0) - EXPONENT_OF_ONE - digits(stored.dtype))
    ulps[0] = 0.0  # exponent 0: zero and subnormal numbers, whose rounding is negligible
    # the variance of a uniform distribution of width ulp, by exponent
    table = np.square(ulps) / 12
    down, across = np.zeros(columns), 0.0
    height = max(1, BLOCK // columns)
    for start in range(0, rows, height):
        # widening is exact, so the exponents are those of the stored numbers
        bits = widened(stored[start : start + height]).astype(FLOAT32, copy=False).view(np.uint32)
        # bits 23 to 30 of a float32 are its exponent, on which alone the ulp depends
        variances = table[(bits >> np.uint32(23)) & np.uint32(255)]
        down += variances.sum(axis=0)
        across = max(across, float(variances.sum(axis=1).max()))
    edge = math.sqrt(across) + math.sqrt(float(down.max()))
    # Johnstone (2001): the width of the largest squared singular value, relative to its centre
    width = (rows**-0.5 + columns**-0.5) ** (1 / 3) / (rows**0.5 + columns**0.5)
    return edge * math.sqrt(1 + SURELY * width)


def widened(stored: Tensor) -> Array:
    """The stored array in float32, exactly for float16 and bfloat16; float64 stays float64."""
    if stored.dtype == BFLOAT16:  # the upper half of a float32: shifting is ten times as fast
        wide = np.ascontiguousarray(stored).view(np.uint16).astype(np.uint32) << np.uint32(16)
        return cast("Array", wide.view(np.float32))
    return stored if stored.dtype == FLOAT64 else stored.astype(FLOAT32)


def _check_finite(pair: TensorPair, change: Array, base: Tensor, tuned: Tensor) -> None:
    if np.isfinite(change).all():
        return
    place = int(np.flatnonzero(~np.isfinite(change))[0])
    value = float(base.reshape(-1)[place])
    side, name = ("base", pair.base) if not math.isfinite(value) else ("fine-tune", pair.tuned)
    if math.isfinite(value):
        value = float(tuned.reshape(-1)[place])
    what = "NaN" if math.isnan(value) else "infinite"
    raise MatrixError(
        f"The tensor '{name}' of the {side} holds a number that is {what} "
        f"(entry {place}, counted from 0).",
        hint="Repair the checkpoint, or extract without it: `exclude`.",
        code="not-finite",
    )
