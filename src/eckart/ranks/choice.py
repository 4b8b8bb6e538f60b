"""The ranks that follow from singular values and noise, and the rule that a user asks for."""

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eckart.arguments import check_number
from eckart.arrays import Array, DType
from eckart.errors import ArgumentError
from eckart.ranks.rules import (
    GivenRank,
    GrowingRule,
    RankRule,
    WithinBytes,
    WithinTolerance,
    byte_count,
    check_open_unit,
    known_values,
    tail_errors,
)

ROUNDING_EPS: Final = 4.0
"""Rounding error of a singular value, in eps·‖W‖: the entries and the solver each add some."""


@final
@dataclass(frozen=True, slots=True)
class NoiseThreshold(GrowingRule):
    """The rank is the number of singular values above the noise (`rank="auto"`).

    The threshold is ω(β)·median(σ), with β = min/max of rows and columns and
    ω(β) ≈ 0.56β³ − 0.95β² + 1.82β + 1.43: the best hard threshold for white noise of unknown
    strength. Singular values within the rounding of the entries, which is not white, count as noise
    too.

    Reference:
        Gavish, Donoho (2014), IEEE Transactions on Information Theory 60(8), equation 5.
    """

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The number of singular values above the threshold; at least 1."""
        known = known_values(singular_values)
        least = _rounding_size(dtype, float(tail_errors(known)[0]))
        return max(1, int(np.count_nonzero(known > max(noise_threshold(shape, known), least))))

    def enough(
        self, shape: tuple[int, int], dtype: DType, leading: Array, rest: float
    ) -> int | None:
        """The number of singular values above the noise that the tail implies; at least 1.

        With r values above it the noise is σ̂² = (‖W‖² − σ₁² − … − σ_r²)/((rows − r)·(columns − r))
        and the threshold λ(β)·√max·σ̂, so r is raised from 0 until the next value is below its own
        threshold. One more value than r must be known.
        """
        # entry r is the energy beyond rank r, summed from the small end
        left = rest + np.append(np.cumsum(leading[::-1])[::-1], 0.0)
        least = _rounding_size(dtype, math.sqrt(left[0]))
        for rank, value in enumerate(leading):
            if value <= max(least, _known_noise_threshold(shape, rank, float(left[rank]))) ** 2:
                return max(1, rank)
        return None

    def explain(self, shape: tuple[int, int], dtype: DType, leading: Array, total: float) -> str:
        """Name the threshold and the singular values on either side of it."""
        values = np.sqrt(np.maximum(leading, 0.0))
        if len(leading) >= min(shape):
            rank, threshold = self.choose(shape, dtype, values), noise_threshold(shape, values)
        else:
            rank = self.enough(shape, dtype, leading, total - float(leading.sum())) or len(leading)
            threshold = _known_noise_threshold(shape, rank, total - float(leading[:rank].sum()))
        least = _rounding_size(dtype, math.sqrt(total))
        cause = "noise" if threshold > least else "rounding"
        return _explain_rank(f"{cause} alone would reach {max(threshold, least):.4g}", rank, values)

    def describe(self) -> str:
        """Return the name of the rule."""
        return "singular values above the noise (Gavish and Donoho)"


@final
@dataclass(frozen=True, slots=True)
class AboveThreshold(GrowingRule):
    """The rank is the number of singular values above a given threshold.

    The threshold may be the largest singular value that noise of a known strength has.

    Args:
        threshold: Threshold in the unit of the singular values.

    Raises:
        ArgumentError: If the threshold is not a positive number.

    Example:
        >>> AboveThreshold(2.0).choose((3, 3), np.dtype("float64"), np.array([5.0, 3.0, 1.0]))
        2
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < check_number("threshold", self.threshold) < math.inf:
            raise ArgumentError(
                f"The threshold is {self.threshold}.",
                hint="Give a positive number.",
                code="bad-threshold",
            )

    def scaled(self, factor: float) -> "AboveThreshold":
        """Return the rule for factor·W."""
        return AboveThreshold(self.threshold * factor)

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The number of singular values above the threshold; at least 1."""
        del shape, dtype
        return max(1, int(np.count_nonzero(known_values(singular_values) > self.threshold)))

    def enough(
        self, shape: tuple[int, int], dtype: DType, leading: Array, rest: float
    ) -> int | None:
        """The number above the threshold, once a value below it is known; at least 1."""
        del shape, dtype, rest
        # `leading` holds squares
        below = np.flatnonzero(leading <= self.threshold**2)
        return max(1, int(below[0])) if below.size else None

    def explain(self, shape: tuple[int, int], dtype: DType, leading: Array, total: float) -> str:
        """Name the threshold and the singular values on either side of it."""
        del shape, dtype, total
        values = np.sqrt(np.maximum(leading, 0.0))
        rank = max(1, int(np.count_nonzero(values > self.threshold)))
        return _explain_rank(f"the threshold is {self.threshold:.4g}", rank, values)

    def describe(self) -> str:
        """Return the rule in words, with its threshold."""
        return f"singular values above {self.threshold:g}"


def noise_threshold(shape: tuple[int, int], singular_values: Array) -> float:
    """ω(β)·median(σ): white noise alone has singular values up to this threshold.

    Example:
        >>> noise_threshold((2, 2), np.array([3.0, 1.0]))
        5.72
    """
    ratio = min(shape) / max(shape)
    omega = 0.56 * ratio**3 - 0.95 * ratio**2 + 1.82 * ratio + 1.43
    # rounded, so that the sum of the polynomial leaves no digits such as 2.8600000000000003
    return round(omega, 12) * float(np.median(singular_values))


def _known_noise_threshold(shape: tuple[int, int], rank: int, left: float) -> float:
    """λ(β)·√max·σ̂ for the noise σ̂ that `left`, the squares beyond the rank, implies."""
    rows, columns = shape
    ratio = min(shape) / max(shape)
    root = math.sqrt(ratio**2 + 14 * ratio + 1)
    # λ(β) of Gavish and Donoho, for noise of known strength
    factor = math.sqrt(2 * (ratio + 1) + 8 * ratio / (ratio + 1 + root))
    # degrees of freedom that a rank-r part leaves to the noise; 0 at full rank
    entries = max(1, (rows - rank) * (columns - rank))
    return factor * math.sqrt(max(shape) * max(0.0, left) / entries)


def _rounding_size(dtype: DType, norm: float) -> float:
    """Size of a computed singular value that is 0, by rounding of the entries and the solver."""
    # each entry is off by half an eps of itself, and so the matrix by that share of ‖W‖
    return ROUNDING_EPS * float(np.finfo(dtype).eps) * norm


def _explain_rank(reason: str, rank: int, values: Array) -> str:
    """Write the sentence that gives the reason and the singular values next to the threshold."""
    below = f", number {rank + 1} is {values[rank]:.4g}" if rank < len(values) else ""
    return (
        f"Rank {rank} was chosen because {reason}: "
        f"singular value number {rank} is {values[rank - 1]:.4g}{below}."
    )


def check_one_way(*ways: object) -> None:
    """Refuse anything but one of rank, tolerance, budget and ratio that is not None."""
    given = sum(way is not None for way in ways)
    if given != 1:
        raise ArgumentError(
            f"{given or 'None'} of rank, tolerance, budget and ratio "
            f"{'is' if given < 2 else 'are'} given.",
            hint="Give exactly one of the four.",
            code="rank-not-chosen" if not given else "rank-chosen-twice",
        )


def rank_rule(
    rank: int | str | AboveThreshold | None,
    tolerance: float | None,
    budget: int | str | None,
    ratio: float | None,
    nbytes: int,
) -> RankRule:
    """Return the rule for exactly one of four ways to choose the rank.

    `nbytes` are the bytes of W, of which `ratio` is a share.

    Raises:
        ArgumentError: If none or more than one is given, or the one given is out of its range.
    """
    check_one_way(rank, tolerance, budget, ratio)
    if tolerance is not None:
        return WithinTolerance(tolerance)
    if budget is not None:
        return WithinBytes(byte_count(budget))
    if ratio is not None:
        check_open_unit("ratio", ratio)
        # at least 1 byte, so that the error names the bytes that rank 1 takes
        return WithinBytes(max(1, int(ratio * nbytes)))
    if isinstance(rank, AboveThreshold):
        return rank
    # isinstance first: an array compared with a string gives an array
    return (
        NoiseThreshold() if isinstance(rank, str) and rank == "auto" else GivenRank(_as_rank(rank))
    )


def _as_rank(rank: int | str | None) -> int:
    # True is an int in Python, and no rank
    if isinstance(rank, int | np.integer) and not isinstance(rank, bool):
        return int(rank)
    raise ArgumentError(
        f"The rank is {rank!r}.", hint='Give a whole number, or "auto".', code="rank-not-whole"
    )
