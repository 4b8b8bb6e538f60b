"""Every entry counts the same."""

from dataclasses import dataclass
from typing import Any, final

from eckart.factors import Factors
from eckart.matrices import Matrix


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entire:
    """The squared error over all entries, ‖W − B·A‖²_F.

    Example:
        >>> Entire().settings()
        {'name': 'entire'}
    """

    def working(self, W: Matrix, /) -> Matrix:
        """W itself."""
        return W

    def lifted(self, factors: Factors, /) -> Factors:
        """The factors themselves."""
        return factors

    def restored(self, factors: Factors, /) -> Factors:
        """The factors themselves."""
        return factors

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        return {"name": "entire"}
