"""The least-squares problems of all rows for a fixed other factor, and their solvers."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final, Protocol, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.completion.entries import Compressed
from eckart.solvers.base import check_count
from eckart.threads import in_threads

PIECES: Final = 32
"""Number of pieces of about equal work into which rows are cut, for any number of threads."""
BLOCK: Final = 4096
"""Number of rows in a partial sum: fixed, so that the bits do not depend on the threads."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NormalEquations:
    """Minimise Σ w·(t − ⟨D, x⟩)² + xᵀ(gram + ridge)x − 2⟨linear, x⟩ for the x of each row.

    Fields:
        order: Entries of each row.
        targets: t of each entry before mean and offsets are subtracted; of length 0 for ones.
        weights: w of each entry; of length 0 for ones.
        mean: Mean that is subtracted from every target.
        offsets: Bias of each D, which is subtracted from its targets; of length 0 for zeros.
        table: Every D, of shape (others, width); the last number is 1 if rows have a bias.
        counts: Number of entries that refer to each D.
        gram: Array of shape (width, width), float32, shared by all rows.
        ridge: Penalty of each row, above 0; shape (rows,).
        linear: Array of shape (rows, width), or (0, width) for zeros.
    """

    order: Compressed
    targets: Array
    weights: Array
    mean: float
    offsets: Array
    table: Array
    counts: npt.NDArray[np.int64]
    gram: Array
    ridge: Array
    linear: Array

    def pieces(self) -> list[tuple[int, int]]:
        """Return ranges of rows with about equal work."""
        return cut(self.order.starts, per_row=self.table.shape[1] // 4)

    def typical_squares(self) -> Array:
        """Return the mean of D² over all entries, of shape (width,)."""
        # each D counts as often as entries refer to it
        share = self.counts / max(1, len(self.order.indices))
        sums = in_threads(
            lambda here: share[here] @ np.square(self.table[here], dtype=FLOAT64),
            blocks(len(self.table)),
        )
        return np.sum(sums, axis=0).astype(FLOAT32)

    def known(self) -> tuple[Any, ...]:
        """Return the arguments that every kernel takes first."""
        return (
            self.order.starts,
            self.order.indices,
            self.targets,
            self.weights,
            self.offsets,
            np.float32(self.mean),
            self.table,
        )


class RowSolver(Protocol):
    """A solver of the normal equations of all rows."""

    @property
    def rotates(self) -> bool:
        """Whether the factors may be rotated so that `gram` is diagonal."""
        ...

    def solve(self, equations: NormalEquations, X: Array, /) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        ...


def cut(starts: npt.NDArray[np.int64], *, per_row: int) -> list[tuple[int, int]]:
    """Cut rows into ranges of about equal work: 1 for each entry and `per_row` for each row.

    Example:
        >>> cut(np.array([0, 10, 10, 20]), per_row=0)
        [(0, 1), (1, 3)]
    """
    rows = len(starts) - 1
    work = starts + np.arange(rows + 1) * per_row
    edges = np.searchsorted(work, np.linspace(0, work[-1], PIECES + 1))
    # rows without entries at either end belong to a piece, too
    edges[0], edges[-1] = 0, rows
    return [(int(a), int(z)) for a, z in pairwise(edges) if z > a]


def blocks(rows: int) -> list[slice]:
    """Cut rows into blocks of a fixed size."""
    return [slice(start, start + BLOCK) for start in range(0, rows, BLOCK)]


def gram(X: Array) -> Array:
    """XᵀX in float64, summed over blocks of a fixed size: the same bits for any threads."""
    # each block in float32, the sum over blocks in float64
    parts = in_threads(lambda here: X[here].T @ X[here], blocks(len(X)))
    return np.asarray(np.sum(parts, axis=0, dtype=FLOAT64))


def turned(tables: Sequence[Array], E: Array) -> list[Array]:
    """Return copies of all tables with their leading columns multiplied by E.

    They are copies, so that after an interruption all tables are rotated or none.
    """
    width, small = E.shape[0], E.astype(FLOAT32)
    made = [np.empty_like(table) for table in tables]

    def turn(piece: tuple[int, slice]) -> None:
        number, here = piece
        np.matmul(tables[number][here, :width], small, out=made[number][here, :width])
        made[number][here, width:] = tables[number][here, width:]

    pieces = [(number, here) for number, table in enumerate(tables) for here in blocks(len(table))]
    in_threads(turn, pieces)
    return made


def run(
    equations: NormalEquations, rows: int, kernel: Callable[[int, int, Array], object]
) -> Array:
    """Run a kernel over pieces of the rows; return the objective of each row."""
    losses = np.zeros(rows, FLOAT64)
    in_threads(lambda piece: kernel(piece[0], piece[1], losses), equations.pieces())
    return losses


SCRATCH: Final = 2**18
"""Numbers of gathered rows that a thread keeps: 1 MB stays in its cache."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConjugateGradients:
    """A few steps of preconditioned conjugate gradients, from the result of the last sweep.

    The factors are rotated so that the Gram matrix that all rows share, α·AAᵀ, is diagonal; its
    products then cost nothing, and the diagonal of the whole system is a good preconditioner.

    Fields:
        steps: Number of steps for each row in each sweep.

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
        """True: the kernel accepts only a diagonal Gram matrix."""
        return True

    def solve(self, equations: NormalEquations, X: Array, /) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        from eckart.completion.kernels.rows import conjugate_rows

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
        """Return the name and the settings, for the recipe."""
        return {"name": "conjugate gradients", **asdict(self)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cholesky:
    """The exact solution of every row.

    Cost:
        rank² operations for each entry and rank³/3 for each row; for a row with m < ¾·rank entries,
        m²·rank + m³/3 operations.

    Reference:
        Hu, Koren, Volinsky (2008), ICDM.
    """

    @property
    def rotates(self) -> bool:
        """True: with a diagonal Gram matrix rows with few entries cost less."""
        return True

    def solve(self, equations: NormalEquations, X: Array, /) -> Array:
        """Replace X by the solution; return the value of the objective of each row."""
        from eckart.completion.kernels.rows import exact_rows

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
        """Return the name, for the recipe."""
        return {"name": "cholesky"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinateBlocks:
    """The exact solution for one block of coordinates after another, from the last sweep on.

    It suits high ranks: the small system of a block costs far less than that of the whole row, and
    the loss falls nearly as much in each sweep.

    Fields:
        width: Number of coordinates in a block.

    Cost:
        rank·width operations for each entry and rank·width²/3 for each row.

    Reference:
        Rendle et al. (2021), iALS++, arXiv 2110.14044; here all blocks of a row follow one another.
    """

    width: int = 64

    def __post_init__(self) -> None:
        check_count("width", self.width)

    @property
    def rotates(self) -> bool:
        """True: with a diagonal Gram matrix blocks are coupled by their entries only."""
        return True

    def solve(self, equations: NormalEquations, X: Array, /) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        from eckart.completion.kernels.rows import block_rows

        diagonal = np.ascontiguousarray(np.diag(equations.gram))
        kept = max(1, SCRATCH // X.shape[1])

        def kernel(first: int, last: int, losses: Array) -> None:
            block_rows(
                first, last, self.width, kept, equations.known(),
                diagonal, equations.ridge, equations.linear, X, losses,
            )  # fmt: skip

        return run(equations, len(X), kernel)

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        return {"name": "coordinate blocks", **asdict(self)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NonnegativeCoordinates:
    """Coordinate descent with no number below 0, from the result of the last sweep.

    Fields:
        bounded: Number of leading coordinates that must not be negative; a bias after them may be.
        cycles: Largest number of cycles over the coordinates of a row in each sweep.

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
        """False: a rotation may make numbers negative."""
        return False

    def solve(self, equations: NormalEquations, X: Array, /) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        from eckart.completion.kernels.rows import nonnegative_rows

        def kernel(first: int, last: int, losses: Array) -> None:
            nonnegative_rows(
                first, last, self.cycles, self.bounded, equations.known(),
                equations.gram, equations.ridge, equations.linear, X, losses,
            )  # fmt: skip

        return run(equations, len(X), kernel)

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        return {"name": "nonnegative coordinates", "cycles": self.cycles}
