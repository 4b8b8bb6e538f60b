"""The protocols of solvers: settings that turn a problem into steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

import numpy as np

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.arguments import check_whole
from eckart.arrays import Array, DType, Randomness
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.objectives import residual_norm
from eckart.ranks import GrowingRule
from eckart.subspaces import PowerProbes, RitzData


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The input of a solver: the working matrix of an objective, a rank and a start.

    Fields:
        W: Matrix of shape (rows, columns).
        rank: Number of columns of B; a first guess if there is a rule.
        start: Initial factors; for an `IterativeSolver` only.
        rule: Rule that chooses the rank from the leading singular values; for a `SubspaceSolver`
            only.
        randomness: Source of the random numbers of the solver.
        first: Directions near the leading eigenvectors of WᵀW, of shape (columns, k), if a pass
            over W found some already.
        probes: Probes to multiply along with the blocks, if a pass over W made some already.
    """

    W: Matrix
    rank: int
    start: Factors | None
    rule: GrowingRule | None = None
    randomness: Randomness = field(default_factory=lambda: np.random.Generator(np.random.Philox(0)))
    first: Array | None = None
    probes: PowerProbes | None = None

    def scale(self) -> tuple[float, float, DType]:
        """Return the loss of zero factors, the highest sound loss, and the dtype of the sums."""
        squared_norm = self.W.squared_norm()
        if self.start is None:
            return squared_norm, squared_norm, self.W.dtype
        # a start may be far worse than zero factors, and is no divergence
        first_loss = residual_norm(self.W, self.start) ** 2
        return squared_norm, max(squared_norm, first_loss), self.W.dtype

    def first_step(self) -> "Step | None":
        """Return the start as a step, or None."""
        start = self.start
        return None if start is None else Step(number=0, loss=None, factors=lambda: start)


Approximation: TypeAlias = Factors | BiasedFactors | PosteriorSamples
"""The result of fitting an objective."""


def check_count(name: str, number: int) -> None:
    """Refuse a count that is no whole number, or below 1.

    Raises:
        ArgumentError: If it is; the code is "bad-" and the name.
    """
    if check_whole(name, number) < 1:
        raise ArgumentError(
            f"The number of {name} is {number}.", hint="Give at least 1.", code=f"bad-{name}"
        )


def start_of(problem: Problem) -> Factors:
    """Return the initial factors of a problem.

    Raises:
        ArgumentError: If there are none.
    """
    if problem.start is None:
        raise ArgumentError(
            "This solver begins at given factors.", hint="Give a start.", code="no-start"
        )
    return problem.start


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a solver.

    Fields:
        number: Number of the step, from 0.
        loss: ‖W − B·A‖²_F at these factors, or None if the solver does not know it.
        factors: Function that forms the factors; it costs nothing until it is called.
        singular_values: All singular values of W, if the solver has them.
        gain: Reduction of the loss by the last pass over W, if the solver knows it.
        evidence: Function that forms Ritz data of W for the certificate, if the solver has any.
        rank: Rank of the factors, if the solver has chosen it.
        residual: Largest residual ‖WᵀWv − σ²v‖/σ² of the leading directions, if it is asked for.
        directions: Function that forms orthonormal rows A, near the leading right singular vectors
            of W, and lower bounds on their σ², if the solver has them without a further product.
        approximation: Function that forms the result of the objective, if it is more than factors.
        excess: Estimate of the relative excess of the error over the best possible one, rather too
            large, if the solver has one.
        least_excess: The excess for the lower bound on the norm outside the space of the solver;
            None if that is not known.
        larger_outside: Whether a direction outside that space is known to be larger than the last
            one that is kept; None if nothing is known.
    """

    number: int
    loss: float | None
    factors: Callable[[], Factors]
    singular_values: Array | None = None
    gain: float | None = None
    evidence: Callable[[], RitzData] | None = None
    rank: int | None = None
    residual: float | None = None
    directions: Callable[[], tuple[Array, Array]] | None = None
    approximation: Callable[[], BiasedFactors | PosteriorSamples] | None = None
    excess: float | None = None
    least_excess: float | None = None
    larger_outside: bool | None = None


class Solver(Protocol):
    """A frozen dataclass of settings that yields steps; it never prints and never stops a run."""

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield steps towards a solution: one for a closed form, endlessly for an iteration."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        ...


@runtime_checkable
class Epochs(Protocol):
    """A solver whose loss shows when it has converged; `StoppingRule` reads these limits."""

    @property
    def epochs(self) -> int:
        """Largest number of steps."""
        ...

    @property
    def stop_early(self) -> bool:
        """Whether to stop earlier, once the loss has converged."""
        ...


def epochs_of(solver: object) -> int | None:
    """Return the largest number of steps of a solver, or None if it has no such limit."""
    return solver.epochs if isinstance(solver, Epochs) else None


@runtime_checkable
class IterativeSolver(Epochs, Protocol):
    """A solver that starts from given factors."""

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield steps without end, as described in `Solver.steps`."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        ...

    def settled(self, problem: Problem, /) -> "IterativeSolver":
        """Return the solver with defaults filled in from the problem."""
        ...

    def suggested_rate(self, problem: Problem, /) -> str:
        """Return one sentence that names a learning rate for this problem, after a divergence."""
        ...


@runtime_checkable
class SubspaceSolver(Protocol):
    """A solver whose subspace grows from step to step, so that its loss never rises."""

    @property
    def blocks(self) -> int:
        """Largest number of steps."""
        ...

    @property
    def stop_early(self) -> bool:
        """Whether to stop earlier, once further steps would gain too little."""
        ...

    @property
    def residual(self) -> float | None:
        """Residual of the singular directions to stop at, in place of the error of B·A, or None."""
        ...
