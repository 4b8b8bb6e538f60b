"""Alternating least squares over known entries, and the solvers of its rows."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np

from eckart.arrays import Array
from eckart.completion.base import EntriesProblem, EntriesSolver, make_step
from eckart.completion.sweeps import FactorTables, NormalEquations, RowSolver
from eckart.errors import ArgumentError
from eckart.solvers import Solver, Step
from eckart.solvers.base import check_count
from eckart.threads import one_blas_thread

SCRATCH_NUMBERS: Final = 2**18
"""Numbers of gathered rows that a thread keeps: 1 MB stays in its cache."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConjugateGradients(RowSolver):
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

    name: ClassVar[str] = "conjugate gradients"

    steps: int = 2

    def __post_init__(self) -> None:
        check_count("steps", self.steps)

    def shared(self, equations: NormalEquations, /) -> tuple[Array, ...]:
        """The diagonal of the Gram matrix, and the typical squares."""
        return _diagonal(equations), equations.typical_squares()

    def solve_rows(
        self, equations: NormalEquations, X: Array, shared: tuple[Array, ...], /
    ) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        from eckart.completion.kernels.rows import conjugate_rows

        return equations.run(conjugate_rows, X, (self.steps, _scratch_rows(X)), shared)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cholesky(RowSolver):
    """The exact solution of every row.

    Cost:
        rank² operations for each entry and rank³/3 for each row; for a row with m < ¾·rank entries,
        m²·rank + m³/3 operations.

    Reference:
        Hu, Koren, Volinsky (2008), ICDM.
    """

    name: ClassVar[str] = "cholesky"

    def solve_rows(
        self, equations: NormalEquations, X: Array, shared: tuple[Array, ...], /
    ) -> Array:
        """Replace X by the solution; return the value of the objective of each row."""
        from eckart.completion.kernels.rows import exact_rows

        (gram,) = shared
        # with a diagonal Gram matrix rows with few entries cost less
        is_diagonal = not np.any(gram - np.diag(np.diag(gram)))
        return equations.run(exact_rows, X, (is_diagonal,), shared)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinateBlocks(RowSolver):
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

    name: ClassVar[str] = "coordinate blocks"

    width: int = 64

    def __post_init__(self) -> None:
        check_count("width", self.width)

    def shared(self, equations: NormalEquations, /) -> tuple[Array, ...]:
        """The diagonal of the Gram matrix."""
        return (_diagonal(equations),)

    def solve_rows(
        self, equations: NormalEquations, X: Array, shared: tuple[Array, ...], /
    ) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        from eckart.completion.kernels.rows import block_rows

        return equations.run(block_rows, X, (self.width, _scratch_rows(X)), shared)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NonnegativeCoordinates(RowSolver):
    """Coordinate descent with no number below 0, from the result of the last sweep.

    Fields:
        bounded: Number of leading coordinates that must not be negative; a bias after them may be.
        cycles: Largest number of cycles over the coordinates of a row in each sweep.

    Cost:
        rank² operations for each entry, and for each row in each cycle.

    Reference:
        Cichocki, Phan (2009), HALS.
    """

    name: ClassVar[str] = "nonnegative coordinates"

    bounded: int
    cycles: int = 20

    @property
    def rotates(self) -> bool:
        """No: a rotation may make numbers negative."""
        return False

    def solve_rows(
        self, equations: NormalEquations, X: Array, shared: tuple[Array, ...], /
    ) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        from eckart.completion.kernels.rows import nonnegative_rows

        return equations.run(nonnegative_rows, X, (self.cycles, self.bounded), shared)


def _diagonal(equations: NormalEquations) -> Array:
    return np.ascontiguousarray(np.diag(equations.gram))


def _scratch_rows(X: Array) -> int:
    return max(1, SCRATCH_NUMBERS // X.shape[1])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AlternatingLeastSquares(EntriesSolver):
    """Alternating least squares: fit all rows with the columns fixed, then all columns, in turn.

    The loss never rises. Biases belong to columns of ones in the factors, so each sweep fits them
    together with the rest. Every row is a problem of its own, so the result has the same bits
    whatever the number of threads.

    Fields:
        by: Solver of the rows: `ConjugateGradients()`, `Cholesky()` or `CoordinateBlocks()`. None
            takes the first, or coordinate descent if the factors must not be negative.
        epochs: Largest number of sweeps over both sides.
        stop_early: Whether to stop before `epochs`, once the loss has converged.

    Raises:
        ArgumentError: If a field is out of its range.

    Cost:
        In each epoch, the cost of `by` for all entries, twice.

    Example:
        >>> import eckart
        >>> entries = eckart.Entries.of([0, 0, 1, 1], [0, 1, 0, 2], [5, 3, 4, 1])
        >>> run = eckart.factorize(entries, 2, solver=AlternatingLeastSquares(epochs=3))
        >>> run.outcome.name
        'EPOCHS_DONE'

    Reference:
        Zhou, Wilkinson, Schreiber, Pan (2008), AAIM; Hu, Koren, Volinsky (2008), ICDM.
    """

    name: ClassVar[str] = "als"

    by: RowSolver | None = None
    epochs: int = 15
    stop_early: bool = False

    def __post_init__(self) -> None:
        check_count("epochs", self.epochs)

    def steps(self, problem: EntriesProblem, /) -> Iterator[Step]:
        """Yield sweeps without end, each with the objective after it."""
        solver: RowSolver = problem.rows_by(self._row_solver(problem))
        tables = FactorTables(problem.entries, problem.objective, problem.start)
        for number in itertools.count():
            # rows are spread over threads, and BLAS in each of them must not start more
            with one_blas_thread():
                loss = tables.sweep(solver)
            # the caller may keep a step while the next sweep overwrites the tables
            yield make_step(number, loss, tables.snapshot())

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        by = None if self.by is None else self.by.settings()
        return {**Solver.settings(self), "by": by}

    def _row_solver(self, problem: EntriesProblem) -> RowSolver:
        if not problem.objective.nonnegative:
            return self.by or ConjugateGradients()
        if self.by is not None:
            raise ArgumentError(
                "Factors without negative numbers are found by coordinate descent only.",
                hint="Leave out how rows are solved.",
                code="nonnegative-by",
            )
        # the bias behind the factors may be negative
        return NonnegativeCoordinates(bounded=problem.rank)
