"""The protocol of solvers of known entries, and their problem."""

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
    """The input of a solver of known entries.

    Fields:
        entries: The known entries.
        objective: Error that counts, and the penalty.
        rank: Number of columns of B.
        start: Initial factors and biases.
        randomness: Source of the random numbers of the solver.
    """

    entries: Entries
    objective: Observed
    rank: int
    start: BiasedFactors
    randomness: Randomness

    def scale(self) -> tuple[float, float, DType]:
        """Return the loss of zero factors, the highest sound loss, and the dtype of the sums."""
        nothing = self.objective.loss_of_zeros(self.entries)
        # if all values equal their mean, `nothing` is 0 and no loss can be compared with it
        return nothing, nothing + self.objective.size(self.entries), self.start.dtype

    def first_step(self) -> Step:
        """Return the start as a step."""
        start = self.start
        return Step(number=0, loss=None, factors=lambda: start.factors, approximation=lambda: start)


@runtime_checkable
class EntriesSolver(Epochs, Protocol):
    """A solver of known entries."""

    def steps(self, problem: EntriesProblem, /) -> Iterator[Step]:
        """Yield steps without end from the start of the problem."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        ...


def fits_entries(solver: object) -> TypeGuard[EntriesSolver]:
    """Whether a solver fits known entries: it has epochs and is no `IterativeSolver`."""
    return isinstance(solver, EntriesSolver) and not isinstance(solver, IterativeSolver)
