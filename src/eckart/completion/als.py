"""Alternating least squares over known entries."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

from eckart.approximations import BiasedFactors
from eckart.completion.base import EntriesProblem, EntriesSolver
from eckart.completion.equations import ConjugateGradients, NonnegativeCoordinates, RowSolver
from eckart.completion.sweeps import Tables
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.solvers import Solver, Step
from eckart.solvers.base import Limits, check_count
from eckart.threads import one_blas_thread


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
        solver = self._row_solver(problem)
        tables = Tables(problem.entries, problem.objective, problem.start)
        for number in itertools.count():
            # rows are spread over threads, and BLAS in each of them must not start more
            with one_blas_thread():
                loss = tables.sweep(solver)
            # the caller may keep a step while the next sweep overwrites the tables
            offset = tables.kept()
            yield Step(
                number=number,
                loss=loss,
                factors=partial(_factors, offset),
                approximation=offset,
            )

    def limits(self) -> Limits:
        """Return the epochs, and whether to stop before them."""
        return Limits(steps=self.epochs, stop_early=self.stop_early)

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


def _factors(offset: Callable[[], BiasedFactors]) -> Factors:
    return offset().factors
