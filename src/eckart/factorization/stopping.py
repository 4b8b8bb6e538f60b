"""When the loop of `factorize` ends."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast, final

import numpy as np

from eckart.arrays import Array, DType
from eckart.certificates import residual_norm
from eckart.factorization.outcome import Outcome
from eckart.factorization.result import Record
from eckart.factors import Factors
from eckart.solvers import Iterative, Problem, Solver, Step, Widening
from eckart.subspaces import Evidence

CONVERGED_WITHIN: Final = 1e-6
FEWEST_STEPS: Final = 20
WINDOWS: Final = 5
SETTLED_WITHIN: Final = 1e-3
SLOWEST: Final = 0.95
DOUBTED: Final = 1.2
DIVERGED_ABOVE: Final = 100.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Where the loop ended: the last sound step, or the start, and how it came there."""

    outcome: Outcome
    rank: int
    factors: Callable[[], Factors]
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

    def __init__(self, solver: Solver, problem: Problem, time_limit: float | None) -> None:
        self._solver = solver
        self._problem = problem
        self._time_limit = time_limit
        self._history: list[Record] = []
        self._sound: Step | None = None
        self._last: list[tuple[float | None, float | None]] = []  # loss and gain of three steps
        self._squared_norm = problem.W.squared_norm()
        self._highest = self._squared_norm
        if problem.start is not None:
            first_loss = residual_norm(problem.W, problem.start) ** 2
            self._highest = max(self._squared_norm, first_loss)
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
        start, sound = self._problem.start, self._sound
        if sound is None and start is None:
            raise KeyboardInterrupt
        first = Step(number=0, loss=None, factors=lambda: cast("Factors", start))
        step = sound or first
        return Ending(
            outcome=outcome,
            rank=step.rank or self._problem.rank,
            factors=step.factors,
            history=tuple(self._history),
            singular_values=step.singular_values,
            evidence=step.evidence,
            directions=step.directions,
        )

    def _verdict(self) -> Outcome | None:
        """What the stopping rule of the solver says of the history."""
        solver, history, dtype = self._solver, self._history, self._problem.W.dtype
        if isinstance(solver, Iterative):
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
            return has_settled(self._last, self._squared_norm, self._problem.W.dtype)
        known = None if self._sound is None else self._sound.residual
        return known is not None and known <= solver.residual


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
    last: Sequence[tuple[float | None, float | None]], squared_norm: float, dtype: DType
) -> bool:
    """Whether all further passes over W together would lower the error by less than 0.1 %.

    The gain g of the last pass foretells that of the next block: c·g, where c is what the block
    before brought for each unit of the gain before it. Gains that fall by a share ρ from step to
    step then bring c·g/(1 − ρ) in all; a share that rises is taken to rise on, and one that was
    seen only once is doubted by a fifth. A first step has settled where its gain is a quarter of
    what is wanted. The error is the root of the loss, so its share is half that of the loss. A loss
    that is all rounding has settled too.

    Args:
        last: Loss and gain of the steps so far; the last three count.
        squared_norm: ‖W‖²_F.
        dtype: Of W.

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
    if len(gains) == 1 or not all(gains[:-1]):
        return gains[-1] <= wanted / 4
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
