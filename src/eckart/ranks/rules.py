"""The kinds of rank rules, and the rank from a number, a tolerance or a number of bytes."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np

from eckart.arguments import check_number, check_whole
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


def check_open_unit(name: str, number: float) -> None:
    """Refuse a number that is not between 0 and 1.

    Raises:
        ArgumentError: If it is not; the message and the code name it.
    """
    if not 0 < check_number(name, number) < 1:
        raise ArgumentError(
            f"The {name} is {number}.",
            hint=f"Give a {name} between 0 and 1.",
            code=f"bad-{name}",
        )


def byte_count(text: int | str) -> int:
    """Return the number of bytes that text such as "10MB", "2GiB" or "4096" names.

    Raises:
        ArgumentError: If the text is not a number of bytes.

    Example:
        >>> byte_count("10MB"), byte_count("2 KiB")
        (10000000, 2048)
    """
    if not isinstance(text, str):
        return check_whole("number of bytes", text)
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
