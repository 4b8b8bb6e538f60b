"""The shape of a solver of known entries, and the problem it is given."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, final, runtime_checkable

from eckart.approximations import BiasedFactors
from eckart.arrays import DType, Randomness
from eckart.completion.entries import Entries
from eckart.completion.objective import Observed
from eckart.solvers import IterativeSolver, Step
from eckart.solvers.base import Epochs


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EntriesProblem:
    """What a solver of known entries is given.

    Fields:
        entries: The known entries.
        objective: Which error counts, and the penalty.
        rank: Columns of B.
        start: Where to begin.
        randomness: Of the solver.
    """

    entries: Entries
    objective: Observed
    rank: int
    start: BiasedFactors
    randomness: Randomness

    def scale(self) -> tuple[float, float, DType]:
        """The loss of no factors at all, the highest that is sound, and the dtype of the sums."""
        nothing = self.objective.loss_of_zeros(self.entries)
        # values that all equal their mean leave nothing, which no loss can be measured by
        return nothing, nothing + self.objective.size(self.entries), self.start.dtype

    def first_step(self) -> Step:
        """The start as a step."""
        start = self.start
        return Step(number=0, loss=None, factors=lambda: start.factors, approximation=lambda: start)


@runtime_checkable
class EntriesSolver(Epochs, Protocol):
    """A solver of known entries."""

    def steps(self, problem: EntriesProblem, /) -> Iterator[Step]:
        """Endless steps from the start of the problem."""
        ...

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        ...


def fits_entries(solver: object) -> TypeGuard[EntriesSolver]:
    """Whether a solver may be one of known entries: it has epochs and is no `IterativeSolver`."""
    return isinstance(solver, EntriesSolver) and not isinstance(solver, IterativeSolver)
