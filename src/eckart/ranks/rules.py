"""Rank rules: a number, a tolerance, a number of bytes, or singular values above noise."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np

from eckart.arguments import byte_count, check_open_unit, check_positive
from eckart.arrays import Array, DType
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import check_rank

RANK_GUESS: Final = 32
"""Rank that a search for the rank starts from; it sets the width of the first blocks."""


class RankRule(ABC):
    """A rule that chooses the rank from the shape alone."""

    __slots__ = ()

    needs_spectrum: ClassVar[bool] = False
    """Whether `choose` reads the singular values."""

    @abstractmethod
    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The rank for a matrix of this shape; `singular_values` holds all of them, descending."""

    @abstractmethod
    def describe(self) -> str:
        """Return the rule in a few words, for the recipe."""


class GrowingRule(RankRule):
    """A rule that reads the singular values, and can tell whether the leading ones suffice."""

    __slots__ = ()

    needs_spectrum: ClassVar[bool] = True

    @abstractmethod
    def enough(
        self, shape: tuple[int, int], dtype: DType, leading: Array, rest: float
    ) -> int | None:
        """The rank, or None if more singular values are needed to choose it.

        Args:
            shape: Shape of the matrix.
            dtype: Dtype of its entries.
            leading: The largest squared singular values, descending, each perhaps a little low.
            rest: Sum of all other squared singular values, given apart because the difference of
                ‖W‖² and the leading ones may lose it to rounding.
        """


def tail_errors(singular_values: Array) -> Array:
    """Best errors of all ranks: entry r is √(σ²_{r+1} + …), and entry 0 is ‖W‖.

    The array has shape (count + 1,) and is float64; the smallest squares are summed first.

    Reference:
        Eckart, Young (1936), Psychometrika 1(3).

    Example:
        >>> tail_errors(np.array([4.0, 3.0]))
        array([5., 3., 0.])
    """
    squares = np.square(singular_values.astype(np.float64))
    # from the small end, so that a large σ₁ does not swallow the tail
    return np.sqrt(np.append(np.cumsum(squares[::-1])[::-1], 0.0))


def known_values(singular_values: Array | None) -> Array:
    """Return the singular values, for a rule that reads them.

    Raises:
        ArgumentError: If they are None.
    """
    if singular_values is None:
        raise ArgumentError("This rank rule reads the singular values.", code="no-spectrum")
    return singular_values


@final
@dataclass(frozen=True, slots=True)
class GivenRank(RankRule):
    """The rank that a user gave.

    Raises:
        ArgumentError: If the rank is below 1.

    Example:
        >>> GivenRank(2).choose((4, 4), np.dtype("float64"), None)
        2
    """

    rank: int

    def __post_init__(self) -> None:
        # the shape is not known yet, so only the lower limit counts
        check_rank(self.rank, most=self.rank, what="anything")

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """Return the rank, if the matrix has at least as many rows and columns."""
        del dtype, singular_values
        rows, columns = shape
        check_rank(self.rank, most=min(shape), what=f"a {rows} × {columns} matrix")
        return int(self.rank)

    def describe(self) -> str:
        """Return the rule in words, with its rank."""
        return f"rank {self.rank}"


@final
@dataclass(frozen=True, slots=True)
class WithinTolerance(GrowingRule):
    """The smallest rank with ‖W − B·A‖ ≤ tolerance·‖W‖.

    Raises:
        ArgumentError: If the tolerance is not between 0 and 1.

    Example:
        >>> WithinTolerance(0.3).choose((2, 2), np.dtype("float64"), np.array([4.0, 1.0]))
        1
    """

    tolerance: float

    def __post_init__(self) -> None:
        check_open_unit("tolerance", self.tolerance)

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The first rank whose tail √(σ²_{r+1} + …) is within the tolerance; at least 1."""
        del shape, dtype
        errors = tail_errors(known_values(singular_values))
        # not <: a matrix of zeros has the error 0 at every rank
        within = np.flatnonzero(errors <= self.tolerance * errors[0])
        # factors have at least one column
        return max(1, int(within[0]))

    def enough(
        self, shape: tuple[int, int], dtype: DType, leading: Array, rest: float
    ) -> int | None:
        """The first rank whose tail σ²_{r+1} + … is within the tolerance; at least 1."""
        del shape, dtype
        tails = rest + np.append(np.cumsum(leading[::-1])[::-1], 0.0)  # from the small end
        within = np.flatnonzero(tails[1:] <= self.tolerance**2 * tails[0])
        return int(within[0]) + 1 if within.size else None

    def describe(self) -> str:
        """Return the rule in words, with its tolerance."""
        return f"tolerance {self.tolerance:g}"


@final
@dataclass(frozen=True, slots=True)
class WithinBytes(RankRule):
    """The largest rank whose two factors take at most `most_bytes`.

    Raises:
        ArgumentError: If `most_bytes` is below 1.

    Example:
        >>> WithinBytes(64).choose((4, 4), np.dtype("float32"), None)
        2
    """

    most_bytes: int

    def __post_init__(self) -> None:
        if self.most_bytes < 1:
            raise ArgumentError(
                f"The budget is {self.most_bytes} bytes.",
                hint="Give at least 1 byte.",
                code="budget-too-small",
            )

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """most_bytes / ((rows + columns)·bytes per number), at most min(rows, columns)."""
        del singular_values
        column_bytes = sum(shape) * dtype.itemsize
        rank = min(self.most_bytes // column_bytes, *shape)
        if rank < 1:
            raise MatrixError(
                f"Factors of rank 1 already take {column_bytes} bytes, "
                f"the budget is {self.most_bytes}.",
                hint=f"Give a budget of at least {column_bytes} bytes.",
                code="budget-too-small",
            )
        return rank

    def describe(self) -> str:
        """Return the rule in words, with its number of bytes."""
        return f"at most {self.most_bytes} bytes"


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
        check_positive("threshold", self.threshold)

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
    if isinstance(rank, str) and rank == "auto":
        return NoiseThreshold()
    # True is an int in Python, and no rank
    if isinstance(rank, int | np.integer) and not isinstance(rank, bool):
        return GivenRank(int(rank))
    raise ArgumentError(
        f"The rank is {rank!r}.", hint='Give a whole number, or "auto".', code="rank-not-whole"
    )
