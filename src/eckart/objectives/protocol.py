"""What ≈ means: which error a solver makes small."""

from typing import Any, Protocol

from eckart.factors import Factors
from eckart.matrices import Matrix


class Objective(Protocol):
    """An error that is the Frobenius norm of W − B·A in some working coordinates."""

    def working(self, W: Matrix, /) -> Matrix:
        """The matrix whose best rank-r factors in the Frobenius norm minimise this error."""
        ...

    def lifted(self, factors: Factors, /) -> Factors:
        """Factors of W, taken to factors of the working matrix: the inverse of `restored`."""
        ...

    def restored(self, factors: Factors, /) -> Factors:
        """Factors of the working matrix, taken back to factors of W."""
        ...

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        ...
