"""When the loop of `factorize` ends."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, final

import numpy as np

from eckart.arrays import Array, DType
from eckart.certificates import residual_norm
from eckart.factorization.outcome import Outcome
from eckart.factorization.result import Record
from eckart.factors import Factors
from eckart.offset import Offset
from eckart.samples import Samples
from eckart.solvers import Iterative, ObservedProblem, ObservedSolver, Problem, Step, Widening
from eckart.subspaces import Evidence

CONVERGED_WITHIN: Final = 1e-6
FEWEST_STEPS: Final = 20
WINDOWS: Final = 5
SETTLED_WITHIN: Final = 1e-3
SLOWEST: Final = 0.95
DOUBTED: Final = 1.2
OVERSEEN: Final = 5
UNDERSEEN: Final = 8
FORESEEN_BY: Final = 3
"""Steps that foretell the next where a proof costs nothing: two may mislead."""
DIVERGED_ABOVE: Final = 100.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Where the loop ended: the last sound step, or the start, and how it came there."""

    outcome: Outcome
    rank: int
    factors: Callable[[], Factors]
    approximation: Callable[[], Offset | Samples] | None
    history: tuple[Record, ...]
    singular_values: Array | None
    evidence: Callable[[], Evidence] | None
    directions: Callable[[], tuple[Array, Array]] | None = None

    @property
    def loss(self) -> float | None:
        """‖W − B·A‖²_F, where the solver has it, with its evidence, from its own products."""
        return self.history[-1].loss if self.evidence is not None else None


@final
class Watch:
    """Keeps the history of one loop and says when it ends."""

    def __init__(
        self, solver: object, problem: Problem | ObservedProblem, time_limit: float | None
    ) -> None:
        self._solver = solver
        self._problem = problem
        self._rides = isinstance(problem, Problem) and problem.riding is not None
        self._time_limit = time_limit
        self._history: list[Record] = []
        self._sound: Step | None = None
        self._last: list[tuple[float | None, float | None]] = []  # loss and gain of three steps
        self._squared_norm, self._highest, self._dtype = _scale(problem)
        self._began = time.perf_counter()

    def judge(self, step: Step) -> Outcome | None:
        """Enter a step in the history; the outcome if the loop ends here, else None."""
        seconds = time.perf_counter() - self._began
        if has_diverged(step.loss, self._highest):
            return Outcome.DIVERGED
        self._sound = step
        self._last = [*self._last[-2:], (step.loss, step.gain)]
        self._history.append(Record(step=step.number, loss=step.loss, seconds=seconds))
        outcome = self._verdict()
        if outcome is not None:
            return outcome
        if self._time_limit is not None and seconds >= self._time_limit:
            return Outcome.TIME_LIMIT
        return None

    def finished(self) -> Outcome:
        """The outcome of a solver that ended by itself."""
        if isinstance(self._solver, Widening):
            return Outcome.WHOLE
        knows_all = self._sound is not None and self._sound.singular_values is not None
        return Outcome.EXACT if knows_all else Outcome.SKETCHED

    def ending(self, outcome: Outcome) -> Ending:
        """The end of the loop, at its last sound step or at the start.

        Raises:
            KeyboardInterrupt: If it was interrupted before there were any factors.
        """
        step = self._sound or _first(self._problem)
        if step is None:
            raise KeyboardInterrupt
        return Ending(
            outcome=outcome,
            rank=step.rank or self._problem.rank,
            factors=cache(step.factors),
            approximation=step.approximation,
            history=tuple(self._history),
            singular_values=step.singular_values,
            evidence=step.evidence,
            directions=step.directions,
        )

    def _verdict(self) -> Outcome | None:
        """What the stopping rule of the solver says of the history."""
        solver, history, dtype = self._solver, self._history, self._dtype
        if isinstance(solver, Iterative | ObservedSolver):
            converged = has_converged(history, self._squared_norm, dtype)
            most, reached = solver.epochs, Outcome.CONVERGED
        elif isinstance(solver, Widening):
            converged = self._is_settled(solver)
            most = solver.blocks
            reached = Outcome.SETTLED if solver.residual is None else Outcome.RESOLVED
        else:
            return None
        if solver.stop_early and converged:
            return reached
        if len(history) >= most:
            return Outcome.EPOCH_LIMIT if solver.stop_early else Outcome.EPOCHS_DONE
        return None

    def _is_settled(self, solver: Widening) -> bool:
        """Whether the directions are as exact as the solver says, or else the error is."""
        if solver.residual is None:
            proven = None if self._sound is None else self._sound.excess
            if proven is not None and proven <= SETTLED_WITHIN:
                return True
            if self._rides and len(self._last) < FORESEEN_BY:
                return False
            foreseen = None if self._sound is None else self._sound.foreseen
            return has_settled(self._last, self._squared_norm, self._dtype, foreseen)
        known = None if self._sound is None else self._sound.residual
        return known is not None and known <= solver.residual


def _scale(problem: Problem | ObservedProblem) -> tuple[float, float, DType]:
    """The loss of no factors at all, the highest that is sound, and the dtype of the sums."""
    if isinstance(problem, ObservedProblem):
        nothing = problem.objective.of_nothing(problem.entries)
        # values that all equal their mean leave nothing, which no loss can be measured by
        return nothing, nothing + problem.objective.size(problem.entries), problem.start.dtype
    squared_norm = problem.W.squared_norm()
    if problem.start is None:
        return squared_norm, squared_norm, problem.W.dtype
    first_loss = residual_norm(problem.W, problem.start) ** 2
    return squared_norm, max(squared_norm, first_loss), problem.W.dtype


def _first(problem: Problem | ObservedProblem) -> Step | None:
    """The start as a step, where there is one."""
    start = problem.start
    if isinstance(start, Offset):
        return Step(number=0, loss=None, factors=lambda: start.factors, approximation=lambda: start)
    return None if start is None else Step(number=0, loss=None, factors=lambda: start)


def has_converged(history: list[Record], squared_norm: float, dtype: DType) -> bool:
    """Whether the last fifth of the steps has all but stopped lowering the loss.

    That is: it gained at most one part in a million of the loss (or what rounding can show of it),
    and no more than the fifth before it, so that a run that is only beginning to leave a saddle
    goes on. A window that grows with the run is as right for a loss that falls by a factor in each
    step as for one that falls like 1/step.

    Example:
        >>> flat = [Record(step=i, loss=1.0, seconds=0.0) for i in range(40)]
        >>> has_converged(flat, 1.0, np.dtype("float64"))
        True
    """
    count = len(history)
    if count < FEWEST_STEPS:
        return False
    window = count // WINDOWS
    now, before, earlier = (_loss(history[-1 - k * window]) for k in range(3))
    shown = 4 * float(np.finfo(dtype).eps) * squared_norm
    gain = before - now
    return gain <= max(CONVERGED_WITHIN * now, shown) and gain <= max(earlier - before, shown)


def has_settled(
    last: Sequence[tuple[float | None, float | None]],
    squared_norm: float,
    dtype: DType,
    foreseen: float | None = None,
) -> bool:
    """Whether all further passes over W together would lower the error by less than 0.1 %.

    The gain g of the last pass foretells that of the next block: c·g, where c is what the block
    before brought for each unit of the gain before it. Gains that fall by a share ρ from step to
    step then bring c·g/(1 − ρ) in all; a share that rises is taken to rise on, and one that was
    seen only once is doubted by a fifth. A first step has settled where its gain is a quarter of
    what is wanted, or what the solver foresees an eighth. The error is the root of the loss, so its
    share is half that of the loss. A loss that is all rounding has settled too. What a solver
    foresees itself is a guess, at the first step often a few times too small, later too large:
    there it speaks against settling only where it is five times what is wanted.

    Args:
        last: Loss and gain of the steps so far; the last three count.
        squared_norm: ‖W‖²_F.
        dtype: Of W.
        foreseen: The guess of the solver.

    Example:
        >>> has_settled([(1.0, 0.003)], 10.0, np.dtype("float64"))
        False
    """
    losses = [loss for loss, _ in last[-3:] if loss is not None]
    gains = [gain for _, gain in last[-3:] if gain is not None]
    if not losses or len(losses) != len(gains):
        return False
    shown = 8 * float(np.finfo(dtype).eps) * squared_norm
    wanted = max(shown, 2 * SETTLED_WITHIN * losses[-1])
    if losses[-1] <= shown:
        return True
    if foreseen is not None and foreseen > OVERSEEN * wanted:
        return False
    if len(gains) == 1 or not all(gains[:-1]):
        return gains[-1] <= wanted / 4 or (foreseen is not None and foreseen <= wanted / UNDERSEEN)
    brought = max(0.0, losses[-2] - losses[-1]) / gains[-2]
    falling = gains[-1] / gains[-2]
    doubt = DOUBTED
    if len(gains) > 2:
        falling, doubt = falling * max(1.0, falling * gains[-3] / gains[-2]), 1.0
    return doubt * brought * gains[-1] / (1 - min(falling, SLOWEST)) <= wanted


def has_diverged(loss: float | None, highest_sound: float) -> bool:
    """Whether a loss is not finite, or a hundred times above both the first one and ‖W‖²."""
    return loss is not None and not loss <= DIVERGED_ABOVE * highest_sound


def _loss(record: Record) -> float:
    return math.inf if record.loss is None else record.loss
