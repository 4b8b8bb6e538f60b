"""The kind of solvers of known entries, and their problem."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from eckart.approximations import BiasedFactors
from eckart.arrays import DType, Randomness
from eckart.completion.entries import Entries
from eckart.completion.objective import Observed
from eckart.solvers import Solver, Step
from eckart.solvers.base import Limits


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


class EntriesSolver(Solver):
    """A solver of known entries, which improves the factors and biases of a start without end."""

    __slots__ = ()

    @abstractmethod
    def steps(self, problem: EntriesProblem, /) -> Iterator[Step]:
        """Yield steps without end from the start of the problem."""

    @abstractmethod
    def limits(self) -> Limits:
        """Return when the loop over the steps ends."""
