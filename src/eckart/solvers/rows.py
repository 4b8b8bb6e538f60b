"""How the equations of rows are solved: conjugate gradients, Cholesky, blocks, coordinates."""

from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np

from eckart.arrays import Array
from eckart.solvers.equations import Equations, run
from eckart.solvers.protocol import check_count

SCRATCH: Final = 2**18
"""Numbers of gathered rows that a thread keeps: 1 MB, which stays in its cache."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConjugateGradients:
    """A few steps of preconditioned conjugate gradients, from where the last sweep ended.

    The factors are turned so that what all rows share, α·AAᵀ, is diagonal; it costs nothing then,
    and the diagonal of the whole system is a good preconditioner.

    Fields:
        steps: For each row in each sweep.

    Cost:
        About 4·(steps + 1)·rank operations for each entry.

    Reference:
        Takács, Pilászy, Tikk (2011), RecSys; docs/mathematics/observed.md.
    """

    steps: int = 2

    def __post_init__(self) -> None:
        check_count("steps", self.steps)

    @property
    def rotates(self) -> bool:
        """True: the kernel knows a diagonal gram only."""
        return True

    def solve(self, equations: Equations, X: Array, /) -> Array:
        """Improve X in place."""
        from eckart.kernels.conjugate import conjugate_rows

        diagonal = np.ascontiguousarray(np.diag(equations.gram))
        typical = equations.typical_squares()
        kept = max(1, SCRATCH // X.shape[1])

        def kernel(first: int, last: int, losses: Array) -> None:
            conjugate_rows(
                first,
                last,
                self.steps,
                kept,
                equations.known(),
                diagonal,
                typical,
                equations.ridge,
                equations.linear,
                X,
                losses,
            )

        return run(equations, len(X), kernel)

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        return {"name": "conjugate gradients", **asdict(self)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cholesky:
    """The exact solution of every row.

    Cost:
        rank² operations for each entry and rank³/3 for each row; where a row has m < ¾·rank entries
        m²·rank and m³/3.

    Reference:
        Hu, Koren, Volinsky (2008), ICDM.
    """

    @property
    def rotates(self) -> bool:
        """True: a diagonal gram makes rows with few entries cheap."""
        return True

    def solve(self, equations: Equations, X: Array, /) -> Array:
        """Replace X."""
        from eckart.kernels.exact import exact_rows

        gram = equations.gram
        diagonal = not np.any(gram - np.diag(np.diag(gram)))

        def kernel(first: int, last: int, losses: Array) -> None:
            exact_rows(
                first,
                last,
                diagonal,
                equations.known(),
                gram,
                equations.ridge,
                equations.linear,
                X,
                losses,
            )

        return run(equations, len(X), kernel)

    def settings(self) -> dict[str, Any]:
        """Name, for the recipe."""
        return {"name": "cholesky"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinateBlocks:
    """The exact solution for one block of coordinates after another, from where the sweep began.

    For high ranks: a block's small system costs far less than that of the whole row, and the loss
    falls nearly as much in each sweep.

    Fields:
        width: Coordinates in a block.

    Cost:
        rank·width operations for each entry and rank·width²/3 for each row.

    Reference:
        Rendle et al. (2021), iALS++, arXiv 2110.14044, with the rows' blocks one after another.
    """

    width: int = 64

    def __post_init__(self) -> None:
        check_count("width", self.width)

    @property
    def rotates(self) -> bool:
        """True: blocks have nothing in common but their entries then."""
        return True

    def solve(self, equations: Equations, X: Array, /) -> Array:
        """Improve X in place."""
        from eckart.kernels.blocks import block_rows

        diagonal = np.ascontiguousarray(np.diag(equations.gram))
        kept = max(1, SCRATCH // X.shape[1])

        def kernel(first: int, last: int, losses: Array) -> None:
            block_rows(
                first, last, self.width, kept, equations.known(),
                diagonal, equations.ridge, equations.linear, X, losses,
            )  # fmt: skip

        return run(equations, len(X), kernel)

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        return {"name": "coordinate blocks", **asdict(self)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NonnegativeCoordinates:
    """Coordinate descent with no number below 0, from where the last sweep ended.

    Fields:
        bounded: How many leading numbers of each row must not be negative; a bias behind them may.
        cycles: The most cycles over the coordinates of a row in each sweep.

    Cost:
        rank² operations for each entry, and for each row in each cycle.

    Reference:
        Cichocki, Phan (2009), HALS.
    """

    bounded: int
    cycles: int = 20

    def __post_init__(self) -> None:
        check_count("cycles", self.cycles)

    @property
    def rotates(self) -> bool:
        """False: what is not negative may be so after a turn."""
        return False

    def solve(self, equations: Equations, X: Array, /) -> Array:
        """Improve X in place."""
        from eckart.kernels.nonnegative import nonnegative_rows

        def kernel(first: int, last: int, losses: Array) -> None:
            nonnegative_rows(
                first, last, self.cycles, self.bounded, equations.known(),
                equations.gram, equations.ridge, equations.linear, X, losses,
            )  # fmt: skip

        return run(equations, len(X), kernel)

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        return {"name": "nonnegative coordinates", "cycles": self.cycles}
