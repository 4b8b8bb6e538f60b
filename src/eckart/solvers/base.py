"""The shape of a solver: settings that turn a problem into steps."""

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
    """What a solver is given: the working matrix of an objective, a rank, where to begin.

    Fields:
        W: Matrix of shape (rows, columns).
        rank: Columns of B; a first guess where there is a rule.
        start: First factors, given to an `IterativeSolver` solver only.
        rule: Chooses the rank from the leading singular values; for a `SubspaceSolver` solver only.
        randomness: Of the solver.
        first: Directions near the leading ones of WᵀW, of shape (columns, k), where whoever
            measured W has some already.
        probes: Probes to multiply along with the blocks, where whoever measured W has some already.
    """

    W: Matrix
    rank: int
    start: Factors | None
    rule: GrowingRule | None = None
    randomness: Randomness = field(default_factory=lambda: np.random.Generator(np.random.Philox(0)))
    first: Array | None = None
    probes: PowerProbes | None = None

    def scale(self) -> tuple[float, float, DType]:
        """The loss of no factors at all, the highest that is sound, and the dtype of the sums."""
        squared_norm = self.W.squared_norm()
        if self.start is None:
            return squared_norm, squared_norm, self.W.dtype
        first_loss = residual_norm(self.W, self.start) ** 2
        return squared_norm, max(squared_norm, first_loss), self.W.dtype

    def first_step(self) -> "Step | None":
        """The start as a step, where there is one."""
        start = self.start
        return None if start is None else Step(number=0, loss=None, factors=lambda: start)


Approximation: TypeAlias = Factors | BiasedFactors | PosteriorSamples
"""What an objective fits."""


def check_count(name: str, number: int) -> None:
    """Refuse a setting that counts something and is no whole number, or below 1.

    Raises:
        ArgumentError: With the code "bad-" and the name.
    """
    if check_whole(name, number) < 1:
        raise ArgumentError(
            f"The number of {name} is {number}.", hint="Give at least 1.", code=f"bad-{name}"
        )


def start_of(problem: Problem) -> Factors:
    """The first factors of a problem.

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
        number: From 0.
        loss: ‖W − B·A‖²_F at these factors, or None where the solver does not know it.
        factors: Forms the factors; costs nothing until it is called.
        singular_values: All singular values of W, where the solver has them.
        gain: By how much the last pass over W lowered the loss, where the solver knows.
        evidence: Forms what the solver knows of W for the certificate, where it knows more.
        rank: Of the factors, where the solver has chosen it.
        residual: The largest ‖WᵀWv − σ²v‖/σ₁² of the leading directions, where it is asked for.
        directions: Forms orthonormal rows A, near the leading right singular vectors of W, and what
            is at most their σ², where the solver has them without a further product.
        approximation: Forms what the objective fits, where that is more than the factors.
        excess: An estimate of the share by which the error is above the best possible one, rather
            too large, where the solver has one.
        least_excess: The same for the least that can lie outside the space of the solver; None
            where that is not known.
        larger_outside: Whether a direction outside that space is known to be larger than the last
            that is kept; None where nothing is known.
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
        """The steps towards a solution; one step for a closed form, no end for an iteration."""
        ...

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        ...


@runtime_checkable
class Epochs(Protocol):
    """A solver whose loss says when it has converged. Its stopping rule is data, read elsewhere."""

    @property
    def epochs(self) -> int:
        """The most steps to take."""
        ...

    @property
    def stop_early(self) -> bool:
        """Whether to stop before that, once the loss has converged."""
        ...


@runtime_checkable
class IterativeSolver(Epochs, Protocol):
    """A solver that begins at given factors."""

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """As `Solver.steps`."""
        ...

    def settings(self) -> dict[str, Any]:
        """As `Solver.settings`."""
        ...

    def settled(self, problem: Problem, /) -> "IterativeSolver":
        """The same solver with every setting that was left out chosen from the problem."""
        ...

    def suggested_rate(self, problem: Problem, /) -> str:
        """What to do when the loss of this problem has diverged: one sentence with a number."""
        ...


@runtime_checkable
class SubspaceSolver(Protocol):
    """A solver whose space widens from step to step, so that its loss never rises."""

    @property
    def blocks(self) -> int:
        """The most steps to take."""
        ...

    @property
    def stop_early(self) -> bool:
        """Whether to stop before that, once further steps would gain too little."""
        ...

    @property
    def residual(self) -> float | None:
        """The residual of the singular directions to stop at, in place of the error of B·A."""
        ...
