"""The shape of a solver of known entries, and the problem it is given."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, final, runtime_checkable

from eckart.arrays import DType, Randomness
from eckart.matrices import Entries
from eckart.objectives import Observed
from eckart.offset import Offset
from eckart.solvers.protocol import Epochs, Iterative, Step


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedProblem:
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
    start: Offset
    randomness: Randomness

    def scale(self) -> tuple[float, float, DType]:
        """The loss of no factors at all, the highest that is sound, and the dtype of the sums."""
        nothing = self.objective.of_nothing(self.entries)
        # values that all equal their mean leave nothing, which no loss can be measured by
        return nothing, nothing + self.objective.size(self.entries), self.start.dtype

    def first_step(self) -> Step:
        """The start as a step."""
        start = self.start
        return Step(number=0, loss=None, factors=lambda: start.factors, approximation=lambda: start)


@runtime_checkable
class ObservedSolver(Epochs, Protocol):
    """A solver of known entries."""

    def steps(self, problem: ObservedProblem, /) -> Iterator[Step]:
        """Endless steps from the start of the problem."""
        ...

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        ...


def fits_entries(solver: object) -> TypeGuard[ObservedSolver]:
    """Whether a solver may be one of known entries: it stops by epochs and is not `Iterative`."""
    return isinstance(solver, ObservedSolver) and not isinstance(solver, Iterative)
