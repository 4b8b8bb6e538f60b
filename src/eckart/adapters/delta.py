"""The change of one tensor: W_tuned − W_base in float32, and what rounding alone puts into it."""

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

BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)
BLOCK: Final = 2**19
"""Entries that are widened at once: a few megabytes."""
PIECE: Final = 2**16
"""Entries that are subtracted at once: they stay in the cache, and their memory with the process.
Larger pieces take four times as long, most of it for pages that the system clears each time."""
PART: Final = 2**22
"""Entries that one thread subtracts before it takes the next."""
EXPONENT_OF_ONE: Final = 127
"""In the bits of a float32."""
SURELY: Final = 3.27
"""Of the Tracy–Widom law: noise goes beyond the edge by so many widths once in a thousand times."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The change of a tensor.

    Fields:
        matrix: Of shape (rows, the other axes taken together), in float32.
        weight_norm: ‖W_tuned‖_F.
    """

    matrix: Dense
    weight_norm: float


def subtract(pair: TensorPair, base: Tensor, tuned: Tensor) -> Delta | None:
    """The change of a tensor, or None if there is none.

    Args:
        pair: Which tensor.
        base: As stored, in any dtype of weights.
        tuned: Likewise, of the same shape.

    Raises:
        MatrixError: If either holds NaN or infinity.

    Cost:
        One pass over both; the change takes four bytes for each entry, all else a few megabytes.
    """
    if is_unchanged(base, tuned):
        return None
    change = np.empty(tuned.size, FLOAT32)
    before, after = base.reshape(-1), tuned.reshape(-1)

    def part(first: int) -> tuple[float, float]:
        """One part of the change; its sum of squares, and that of the fine-tune."""
        changes = weights = 0.0
        for start in range(first, min(first + PART, change.size), PIECE):
            place = slice(start, min(start + PIECE, first + PART))
            wide = widened(after[place])
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # what is not finite is looked at below
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
            hint="Repair the checkpoint, or extract without it: --exclude.",
            code="too-large",
        )
    if not math.isfinite(squares):
        squares = math.fsum(
            float(np.square(after[start : start + PIECE].astype(FLOAT64)).sum())
            for start in range(0, after.size, PIECE)
        )
    shape = matrix_shape(pair.shape) if len(pair.shape) > 1 else (1, max(1, tuned.size))
    return Delta(matrix=Dense(change.reshape(shape)), weight_norm=math.sqrt(squares))


def digits(dtype: np.dtype[Any]) -> int:
    """Bits of the significand behind the point: w is rounded to 2^(⌊log₂|w|⌋ − digits).

    Example:
        >>> digits(BFLOAT16), digits(FLOAT32)
        (7, 23)
    """
    return int(ml_dtypes.finfo(dtype).nmant)


def noise_edge(stored: Tensor) -> float:
    """What the largest singular value of the rounding errors of a stored matrix reaches.

    A number w was rounded by an error of variance ulp(w)²/12. Errors of variances s_ij² have a norm
    of about max_i √(Σ_j s_ij²) + max_j √(Σ_i s_ij²), which is s(√rows + √columns) where they are
    all alike, and go beyond that by more than 3.27 widths of the Tracy–Widom law once in a
    thousand times.

    Args:
        stored: Array of shape (rows, columns) in the dtype that was rounded to.

    Cost:
        One pass.

    Reference:
        Marchenko, Pastur (1967); Johnstone (2001), Annals of Statistics 29(2); for unequal
        variances Bandeira, van Handel (2016), Annals of Probability 44(4).
    """
    rows, columns = stored.shape
    ulps = np.exp2(np.arange(256.0) - EXPONENT_OF_ONE - digits(stored.dtype))
    ulps[0] = 0.0  # zero, and what is as good as zero
    table = np.square(ulps) / 12
    down, across = np.zeros(columns), 0.0
    height = max(1, BLOCK // columns)
    for start in range(0, rows, height):
        bits = widened(stored[start : start + height]).astype(FLOAT32, copy=False).view(np.uint32)
        variances = table[(bits >> np.uint32(23)) & np.uint32(255)]
        down += variances.sum(axis=0)
        across = max(across, float(variances.sum(axis=1).max()))
    edge = math.sqrt(across) + math.sqrt(float(down.max()))
    width = (rows**-0.5 + columns**-0.5) ** (1 / 3) / (rows**0.5 + columns**0.5)
    return edge * math.sqrt(1 + SURELY * width)


def widened(stored: Tensor) -> Array:
    """A stored array in float32; float64 stays. Exact for halves."""
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
        hint="Repair the checkpoint, or extract without it: --exclude.",
        code="not-finite",
    )
