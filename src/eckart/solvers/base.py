"""The kinds of solvers: settings that turn a problem into steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeAlias, final

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
    """The input of a solver: the transformed matrix of an objective, a rank and a start.

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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the loop over the steps of a solver ends.

    Fields:
        steps: Largest number of steps; None for a solver that ends by itself.
        stop_early: Whether to stop before that, once further steps would gain too little.
        residual: Residual of the singular directions to stop at, in place of the error of B·A.
    """

    steps: int | None = None
    stop_early: bool = True
    residual: float | None = None

    @classmethod
    def of(cls, solver: object) -> "Limits":
        """The limits in the fields of a solver: `epochs` or `blocks`, `stop_early`, `residual`."""
        return cls(
            steps=getattr(solver, "epochs", getattr(solver, "blocks", None)),
            stop_early=getattr(solver, "stop_early", True),
            residual=getattr(solver, "residual", None),
        )


@dataclass(frozen=True, slots=True)
class Solver(ABC):
    """A frozen dataclass of settings that yields steps; it never prints and never stops a run."""

    name: ClassVar[str]
    """Name of the solver in recipes."""

    @abstractmethod
    def steps(self, problem: Any, /) -> Iterator[Step]:
        """Yield steps towards a solution: one for a closed form, endlessly for an iteration."""

    def limits(self) -> Limits:
        """Return when the loop over the steps ends, by the fields that `Limits.of` reads."""
        return Limits.of(self)

    def suggested_rate(self, problem: Any, /) -> str:
        """Return one sentence on what to do about a loss that grew without bound."""
        del problem
        return "Leave the solver out, or give it smaller steps."

    def settings(self) -> dict[str, Any]:
        """Return the name and the fields, for the recipe."""
        return {"name": self.name, **asdict(self)}


class DirectSolver(Solver):
    """A solver of a whole matrix that ends by itself, after one step."""

    __slots__ = ()


class IterativeSolver(Solver):
    """A solver of a whole matrix that improves given factors without end."""

    __slots__ = ()

    @abstractmethod
    def resolved(self, problem: Problem, /) -> "IterativeSolver":
        """Return the solver with defaults filled in from the problem."""


class SubspaceSolver(Solver):
    """A solver of a whole matrix whose subspace grows, so that its loss never rises."""

    __slots__ = ()


@final
@dataclass(frozen=True, slots=True)
class ForeignSolver(Solver):
    """A solver that is derived from none of these classes.

    Fields:
        given: Any object with `steps` and `settings`; `epochs` or `blocks`, the largest number of
            steps, and `stop_early` limit it.
    """

    given: Any

    def steps(self, problem: Any, /) -> Iterator[Step]:
        """Yield the steps of the object."""
        return self.given.steps(problem)

    def limits(self) -> Limits:
        """Return the limits that the object has."""
        return Limits.of(self.given)

    def settings(self) -> dict[str, Any]:
        """Return the settings of the object."""
        return self.given.settings()


def as_solver(given: object) -> Solver:
    """Return a solver as one of these classes.

    Raises:
        ArgumentError: If the object has no `steps` or no `settings`, or begins at given factors and
            is not derived from `IterativeSolver`.
    """
    if isinstance(given, Solver):
        return given
    if hasattr(given, "suggested_rate"):
        raise ArgumentError(
            f"The solver {type(given).__name__} needs given factors, but is no IterativeSolver.",
            hint="Derive it from eckart.solvers.IterativeSolver.",
            code="bad-solver",
        )
    if not (hasattr(given, "steps") and hasattr(given, "settings")):
        raise ArgumentError(
            f"The solver is {given!r}, which is none.",
            hint="Give one such as eckart.ExactSVD() or eckart.BlockKrylov(), or leave it out.",
            code="bad-solver",
        )
    return ForeignSolver(given)


def epochs_of(solver: Solver | None) -> int | None:
    """Return the number of steps that a solver takes if nothing stops it; None if that is open."""
    if solver is None or isinstance(solver, SubspaceSolver):
        return None
    return solver.limits().steps
