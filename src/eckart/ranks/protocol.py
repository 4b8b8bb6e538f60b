"""What a rank rule is: a way to choose how many columns B has."""

from typing import Protocol, runtime_checkable

import numpy as np

from eckart.arrays import Array, DType
from eckart.errors import ArgumentError


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

    def enough(
        self, shape: tuple[int, int], dtype: DType, leading: Array, rest: float
    ) -> int | None:
        """The rank, or None if it takes more singular values to tell.

        Args:
            shape: Of the matrix.
            dtype: Of its entries.
            leading: The largest squared singular values, descending, each perhaps a little low.
            rest: The sum of all others, which a difference of ‖W‖² and these may hide.
        """
        ...


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


def known_values(singular_values: Array | None) -> Array:
    """The singular values, for a rule that reads them.

    Raises:
        ArgumentError: If there are none.
    """
    if singular_values is None:
        raise ArgumentError("This rank rule reads the singular values.", code="no-spectrum")
    return singular_values
