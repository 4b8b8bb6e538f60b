"""How many columns: the rank rules. Arithmetic only; nothing here touches W."""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np

from eckart.arrays import Array, DType
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import check_rank


class RankRule(Protocol):
    """A way to choose the rank from the shape and, where it asks for them, the singular values."""

    @property
    def needs_spectrum(self) -> bool:
        """Whether `choose` reads the singular values."""
        ...

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The rank for a matrix of this shape; `singular_values` are all of them, descending."""
        ...

    def describe(self) -> str:
        """The rule in a few words, for the recipe."""
        ...


@runtime_checkable
class GrowingRule(Protocol):
    """A rule that can say from the leading singular values alone that they are enough."""

    def enough(self, shape: tuple[int, int], leading: Array, total: float) -> int | None:
        """The rank, or None if it takes more singular values to tell.

        Args:
            shape: Of the matrix.
            leading: The largest squared singular values, descending, each perhaps a little low.
            total: ‖W‖²_F, the sum of all squared singular values.
        """
        ...


@final
@dataclass(frozen=True, slots=True)
class GivenRank:
    """The rank that the user named.

    Raises:
        ArgumentError: If it is below 1.

    Example:
        >>> GivenRank(2).choose((4, 4), np.dtype("float64"), None)
        2
    """

    rank: int

    def __post_init__(self) -> None:
        check_rank(self.rank, most=self.rank, what="anything")

    @property
    def needs_spectrum(self) -> bool:
        """No."""
        return False

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The named rank, if the matrix has as many rows and columns."""
        del dtype, singular_values
        rows, columns = shape
        check_rank(self.rank, most=min(shape), what=f"a {rows} × {columns} matrix")
        return int(self.rank)

    def describe(self) -> str:
        """Rank and number."""
        return f"rank {self.rank}"


@final
@dataclass(frozen=True, slots=True)
class WithinTolerance:
    """The smallest rank with ‖W − B·A‖ ≤ tolerance·‖W‖.

    Raises:
        ArgumentError: If the tolerance is not between 0 and 1.

    Example:
        >>> WithinTolerance(0.3).choose((2, 2), np.dtype("float64"), np.array([4.0, 1.0]))
        1
    """

    tolerance: float

    def __post_init__(self) -> None:
        _check_open_unit("tolerance", self.tolerance)

    @property
    def needs_spectrum(self) -> bool:
        """Yes."""
        return True

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The first rank whose tail √(σ²_{r+1} + …) is within the tolerance; at least 1."""
        del shape, dtype
        errors = tail_errors(_known(singular_values))
        within = np.flatnonzero(errors <= self.tolerance * errors[0])
        return max(1, int(within[0]))

    def enough(self, shape: tuple[int, int], leading: Array, total: float) -> int | None:
        """The first rank whose tail ‖W‖² − (σ₁² + … + σ_r²) is within the tolerance; at least 1."""
        del shape
        left = total - np.cumsum(leading)
        within = np.flatnonzero(left <= self.tolerance**2 * total)
        return int(within[0]) + 1 if within.size else None

    def describe(self) -> str:
        """Tolerance and number."""
        return f"tolerance {self.tolerance:g}"


@final
@dataclass(frozen=True, slots=True)
class WithinBytes:
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

    @property
    def needs_spectrum(self) -> bool:
        """No."""
        return False

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The bytes / ((rows + columns)·bytes of a number), at most min(rows, columns)."""
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
        """Bytes."""
        return f"at most {self.most_bytes} bytes"


@final
@dataclass(frozen=True, slots=True)
class NoiseThreshold:
    """As many columns as there are singular values above the noise (`rank="auto"`).

    The threshold is ω(β)·median(σ), with β = min/max of rows and columns and
    ω(β) ≈ 0.56β³ − 0.95β² + 1.82β + 1.43: the best hard threshold for white noise of unknown
    strength.

    Reference:
        Gavish, Donoho (2014), IEEE Transactions on Information Theory 60(8), equation 5.
    """

    @property
    def needs_spectrum(self) -> bool:
        """Yes."""
        return True

    def choose(self, shape: tuple[int, int], dtype: DType, singular_values: Array | None) -> int:
        """The count of singular values above the threshold; at least 1."""
        del dtype
        known = _known(singular_values)
        return max(1, int(np.count_nonzero(known > noise_threshold(shape, known))))

    def enough(self, shape: tuple[int, int], leading: Array, total: float) -> int | None:
        """The count above the threshold for the noise that the rest amounts to; at least 1.

        With r values above it the noise is σ̂² = (‖W‖² − σ₁² − … − σ_r²)/((rows − r)·(columns − r))
        and the threshold λ(β)·√max·σ̂, so r is raised from 0 until the next value is below its own
        threshold. One more value than r must be known.
        """
        left = total - np.append(0.0, np.cumsum(leading))
        for rank, value in enumerate(leading):
            if value <= _known_noise_threshold(shape, rank, float(left[rank])) ** 2:
                return max(1, rank)
        return None

    def explain(self, shape: tuple[int, int], leading: Array, total: float) -> str:
        """The threshold, and between which singular values it falls."""
        values = np.sqrt(np.maximum(leading, 0.0))
        if len(leading) >= min(shape):
            threshold = noise_threshold(shape, values)
            rank = max(1, int(np.count_nonzero(values > threshold)))
        else:
            rank = self.enough(shape, leading, total) or len(leading)
            threshold = _known_noise_threshold(shape, rank, total - float(leading[:rank].sum()))
        below = f", number {rank + 1} is {values[rank]:.4g}" if rank < len(values) else ""
        return (
            f"Rank {rank} was chosen because noise alone would reach {threshold:.4g}: "
            f"singular value number {rank} is {values[rank - 1]:.4g}{below}."
        )

    def describe(self) -> str:
        """The rule's name."""
        return "singular values above the noise (Gavish and Donoho)"


def noise_threshold(shape: tuple[int, int], singular_values: Array) -> float:
    """ω(β)·median(σ): singular values below it are what white noise alone would show.

    Example:
        >>> noise_threshold((2, 2), np.array([3.0, 1.0]))
        5.72
    """
    ratio = min(shape) / max(shape)
    omega = 0.56 * ratio**3 - 0.95 * ratio**2 + 1.82 * ratio + 1.43
    return round(omega, 12) * float(np.median(singular_values))


def _known_noise_threshold(shape: tuple[int, int], rank: int, left: float) -> float:
    """λ(β)·√max·σ̂ for the noise σ̂ that `left`, the squares beyond the rank, amounts to."""
    rows, columns = shape
    ratio = min(shape) / max(shape)
    root = math.sqrt(ratio**2 + 14 * ratio + 1)
    factor = math.sqrt(2 * (ratio + 1) + 8 * ratio / (ratio + 1 + root))
    entries = max(1, (rows - rank) * (columns - rank))
    return factor * math.sqrt(max(shape) * max(0.0, left) / entries)


def tail_errors(singular_values: Array) -> Array:
    """Entry r is √(σ²_{r+1} + … ), the best error of any pair of rank r; entry 0 is ‖W‖.

    Shape (count + 1,), float64; the smallest are summed first.

    Reference:
        Eckart, Young (1936), Psychometrika 1(3).

    Example:
        >>> tail_errors(np.array([4.0, 3.0]))
        array([5., 3., 0.])
    """
    squares = np.square(singular_values.astype(np.float64))
    return np.sqrt(np.append(np.cumsum(squares[::-1])[::-1], 0.0))


def rank_rule(
    rank: int | str | None,
    tolerance: float | None,
    budget: int | str | None,
    ratio: float | None,
    nbytes: int,
) -> RankRule:
    """The rule for exactly one of four ways to choose the rank.

    Args:
        rank: A number, or "auto".
        tolerance: Relative error.
        budget: Bytes of the factors, or text such as "10MB".
        ratio: Share of the bytes of W.
        nbytes: Bytes of W.

    Raises:
        ArgumentError: If none or more than one is given, or the one given is out of its range.
    """
    given = [way for way in (rank, tolerance, budget, ratio) if way is not None]
    if len(given) != 1:
        raise ArgumentError(
            f"{len(given) or 'None'} of rank, tolerance, budget and ratio "
            f"{'is' if len(given) < 2 else 'are'} given.",
            hint="Give exactly one of the four.",
            code="rank-not-chosen" if not given else "rank-chosen-twice",
        )
    if tolerance is not None:
        return WithinTolerance(tolerance)
    if budget is not None:
        return WithinBytes(byte_count(budget))
    if ratio is not None:
        _check_open_unit("ratio", ratio)
        return WithinBytes(max(1, int(ratio * nbytes)))
    return NoiseThreshold() if rank == "auto" else GivenRank(_whole(rank))


def byte_count(text: int | str) -> int:
    """The bytes that a text such as "10MB", "2GiB" or "4096" names.

    Raises:
        ArgumentError: If it cannot be read.

    Example:
        >>> byte_count("10MB"), byte_count("2 KiB")
        (10000000, 2048)
    """
    if isinstance(text, int):
        return text
    number = text.strip().rstrip("BbIiKkMmGgTt ")
    unit = text.strip()[len(number) :].strip().lower()
    scales = {"": 1, "b": 1}
    for power, letter in enumerate("kmgt", start=1):
        scales |= {
            letter: 1000**power,
            f"{letter}b": 1000**power,
            f"{letter}ib": 1024**power,
        }
    try:
        size = float(number) * scales[unit]
    except (ValueError, KeyError):
        size = math.nan
    if not math.isfinite(size):
        raise ArgumentError(
            f"'{text}' is not a number of bytes.",
            hint="Write it like 10MB or 512KiB.",
            code="bad-bytes",
        )
    return int(size)


def _whole(rank: int | str | None) -> int:
    if isinstance(rank, int | np.integer) and not isinstance(rank, bool):
        return int(rank)
    raise ArgumentError(
        f"The rank is {rank!r}.", hint='Give a whole number, or "auto".', code="rank-not-whole"
    )


def _known(singular_values: Array | None) -> Array:
    if singular_values is None:
        raise ArgumentError("This rank rule reads the singular values.", code="no-spectrum")
    return singular_values


def _check_open_unit(name: str, number: float) -> None:
    if not 0 < number < 1:
        raise ArgumentError(
            f"The {name} is {number}.",
            hint=f"Give a {name} between 0 and 1.",
            code=f"bad-{name}",
        )
