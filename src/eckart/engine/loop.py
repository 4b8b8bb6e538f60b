"""The loop over the steps of a solver, and the rule by which it ends."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, Protocol, final

import numpy as np

from eckart.arrays import DType
from eckart.engine.result import Outcome, Record
from eckart.errors import ArgumentError
from eckart.solvers import SinglePass, Solver, Step, SubspaceSolver
from eckart.solvers.ritz import is_complete, is_near

CONVERGED_GAIN: Final = 1e-6
"""Gain of the last window of steps, as a share of the loss, up to which it has converged."""
FEWEST_STEPS: Final = 20
"""Least number of steps before convergence is judged: windows of four steps."""
WINDOWS: Final = 5
"""Number of windows into which the history is divided."""
SETTLED_GAIN: Final = 1e-3
"""Relative reduction of the error that is not worth further passes."""
SLOWEST_RATIO: Final = 0.95
"""Largest ratio of successive gains in the forecast: its sum stays finite."""
FORECAST_STEPS: Final = 3
"""Number of steps from which the next gain is forecast: two may mislead."""
STALLED_STEPS: Final = 10
"""Number of steps without progress after which a run has stalled."""
STALLED_RATIO: Final = 0.9
"""Ratio of the excess to that before these steps, above which there was no progress."""
PATIENT_STEPS: Final = 24
"""Number of steps to wait for a requested residual, which a flat spectrum may never give."""
DIVERGED_RATIO: Final = 100.0
"""Loss, in multiples of the highest sound one, above which a run has diverged."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """Result of the loop: the outcome, and its last sound step or the start."""

    outcome: Outcome
    rank: int
    step: Step
    loss: float | None  # ‖W − B·A‖²_F of a step with Ritz data; None if it has none
    history: tuple[Record, ...]


class StoppableProblem(Protocol):
    """The part of a problem (for a whole matrix or known entries) that the stopping rule needs."""

    @property
    def rank(self) -> int:
        """Number of columns of B."""
        ...

    def scale(self) -> tuple[float, float, DType]:
        """Return the loss of zero factors, the highest sound loss, and the dtype of the sums."""
        ...

    def first_step(self) -> Step | None:
        """Return the start as a step, or None."""
        ...


@final
class Loop:
    """The loop over the steps of one solver on one problem; a certificate may ask for more steps.

    It keeps the history, and decides after each step whether it ends here.
    """

    def __init__(
        self,
        solver: Solver,
        problem: StoppableProblem,
        time_limit: float | None,
        on_step: Callable[[Step], None] | None,
    ) -> None:
        self._solver, self._limits = solver, solver.limits()
        self._problem, self._steps = problem, solver.steps(problem)
        self._time_limit, self._on_step = time_limit, on_step
        self._is_over = False
        self._history: list[Record] = []
        self._sound: Step | None = None
        self._last: list[tuple[float | None, float | None]] = []  # loss and gain of three steps
        self._excesses: list[float] = []
        self._larger_outside: bool | None = None
        self._squared_norm, self._highest, self._dtype = problem.scale()
        self._began = time.perf_counter()

    def run(self) -> LoopResult:
        """Take steps until the solver ends, a limit is reached, or the loss diverges."""
        try:
            while True:
                outcome = self._step()
                if outcome is not None:
                    return self._result(outcome)
        except KeyboardInterrupt:
            return self._result(Outcome.INTERRUPTED)

    def further(self) -> LoopResult | None:
        """Take one more step; return its result, or None if there is none or a limit is reached."""
        if self._is_over:
            return None
        outcome = self._step()
        if outcome not in (Outcome.SETTLED, Outcome.UNPROVEN, None):
            return None
        return self._result(outcome or Outcome.SETTLED)

    def _step(self) -> Outcome | None:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            step = next(self._steps, None)
        if step is None:
            self._is_over = True
            if isinstance(self._solver, SubspaceSolver):
                return Outcome.WHOLE
            return Outcome.SKETCHED if isinstance(self._solver, SinglePass) else Outcome.EXACT
        outcome = self.judge(step)
        # factors of a diverged step may hold NaN, which `Factors` refuses
        if self._on_step is not None and outcome is not Outcome.DIVERGED:
            self._on_step(step)
        return outcome

    def judge(self, step: Step) -> Outcome | None:
        """Enter a step in the history; return the outcome if the loop ends here, else None."""
        seconds = time.perf_counter() - self._began
        if has_diverged(step.loss, self._highest):
            return Outcome.DIVERGED
        self._sound = step
        self._last = [*self._last[-2:], (step.loss, step.gain)]
        if step.excess is not None:
            self._excesses.append(step.excess)
        if step.larger_outside is not None:
            self._larger_outside = step.larger_outside
        self._history.append(Record(step=step.number, loss=step.loss, seconds=seconds))
        outcome = self._verdict()
        if outcome is not None:
            return outcome
        if self._time_limit is not None and seconds >= self._time_limit:
            return Outcome.TIME_LIMIT
        return None

    def _result(self, outcome: Outcome) -> LoopResult:
        """Return the result of the loop, at its last sound step or at the start.

        Raises:
            ArgumentError: If the first step has no sound loss, and there is no start.
            KeyboardInterrupt: If the loop was interrupted before there were any factors.
        """
        step = self._sound or self._problem.first_step()
        if step is None and outcome is Outcome.DIVERGED:
            raise ArgumentError(
                "The loss of the solver is not finite, or far above that of zeros, at its first "
                "step.",
                hint="Give another solver.",
                code="diverged",
            )
        if step is None:
            raise KeyboardInterrupt
        return LoopResult(
            outcome=outcome,
            rank=step.rank or self._problem.rank,
            # formed at most once, because forming them may take a pass over W
            step=replace(step, factors=cache(step.factors)),
            loss=None if step.evidence is None else step.loss,
            history=tuple(self._history),
        )

    def _verdict(self) -> Outcome | None:
        """Judge the history by the limits of the solver; None if the loop goes on."""
        limits = self._limits
        if limits.steps is None:
            return None
        if isinstance(self._solver, SubspaceSolver):
            reached = self._reached()
        else:  # an iteration is judged by its losses
            converged = has_converged(self._history, self._squared_norm, self._dtype)
            reached = Outcome.CONVERGED if converged else None
        if limits.stop_early and reached is not None:
            return reached
        if len(self._history) >= limits.steps:
            return Outcome.EPOCH_LIMIT if limits.stop_early else Outcome.EPOCHS_DONE
        return None

    def _reached(self) -> Outcome | None:
        """Judge a subspace: its directions are as accurate as asked for, or its error is small.

        The error is small if it is estimated to be at most 0.1 % above the best. It is small, too,
        if further products would gain that little and nothing outside the space is known to be
        larger than what is kept: by the forecast, or because the estimate did not fall and nothing
        was gained in ten steps. Directions that a flat spectrum does not separate are waited for
        during 24 steps only.
        """
        step = self._sound
        if step is None:
            return None
        flat = is_complete(step) and gains_little(self._last, self._squared_norm, self._dtype)
        small = Outcome.SETTLED if is_near(step) else Outcome.UNPROVEN if flat else None
        wanted = self._limits.residual
        if wanted is not None:
            exact = step.residual is not None and step.residual <= wanted
            if exact and (step.excess is None or is_near(step) or is_complete(step)):
                return Outcome.RESOLVED
            if len(self._history) < PATIENT_STEPS:
                return None
        if small is None and has_stalled(self._excesses):
            still = self._larger_outside is False and is_still(
                self._history, self._squared_norm, self._dtype
            )
            return Outcome.UNPROVEN if still else Outcome.STALLED
        return small


def has_converged(history: list[Record], squared_norm: float, dtype: DType) -> bool:
    """Whether the last fifth of the steps hardly lowered the loss.

    It must have gained at most one part in a million of the loss (or the rounding error of the
    loss), and no more than the fifth before it, so that a run that begins to leave a saddle goes
    on. A window that grows with the run suits a loss that falls by a factor in each step as well as
    one that falls like 1/step.
    """
    count = len(history)
    if count < FEWEST_STEPS:
        return False
    window = count // WINDOWS
    now, before, earlier = (_loss(history[-1 - k * window]) for k in range(3))
    # the rounding error of a loss that is a difference of sums near ‖W‖²
    shown = 4 * float(np.finfo(dtype).eps) * squared_norm
    gain = before - now
    return gain <= max(CONVERGED_GAIN * now, shown) and gain <= max(earlier - before, shown)


def gains_little(
    last: Sequence[tuple[float | None, float | None]],
    squared_norm: float,
    dtype: DType,
) -> bool:
    """Whether all further passes over W together would lower the error by less than 0.1 %.

    The gain g of the last pass predicts a reduction c·g by the next block, where c is the ratio of
    the last reduction to the gain before it. Gains with a ratio ρ from step to step then bring
    c·g/(1 − ρ) in all; a ratio that rises is assumed to rise further. Three steps are needed; a
    loss that is all rounding has settled at once. The error is the root of the loss, so its
    relative change is half that of the loss.
    """
    losses = [loss for loss, _ in last[-3:] if loss is not None]
    gains = [gain for _, gain in last[-3:] if gain is not None]
    if not losses or len(losses) != len(gains):
        return False
    shown = 8 * float(np.finfo(dtype).eps) * squared_norm
    wanted = max(shown, 2 * SETTLED_GAIN * losses[-1])
    if losses[-1] <= shown:
        return True
    if len(gains) < FORECAST_STEPS:
        return False
    # a gain of 0 gives no ratio to forecast by
    if not all(gains[:-1]):
        return gains[-1] <= wanted
    brought = max(0.0, losses[-2] - losses[-1]) / gains[-2]
    falling = gains[-1] / gains[-2]
    falling *= max(1.0, falling * gains[-3] / gains[-2])
    return brought * gains[-1] / (1 - min(falling, SLOWEST_RATIO)) <= wanted


def has_stalled(excesses: Sequence[float]) -> bool:
    """Whether the estimated excess of the error fell by less than a tenth in the last ten steps.

    By then random directions have joined the space if any were missing, so that the remaining
    excess is rounding.

    Example:
        >>> has_stalled([0.5] * 11), has_stalled([0.9**n for n in range(30)])
        (True, False)
    """
    if len(excesses) <= STALLED_STEPS:
        return False
    return min(excesses[-STALLED_STEPS:]) > STALLED_RATIO * min(excesses[:-STALLED_STEPS])


def is_still(history: Sequence[Record], squared_norm: float, dtype: DType) -> bool:
    """Whether ten steps together lowered the error by at most 0.1 %, and that is above rounding.

    Example:
        >>> steady = [Record(step=i, loss=1.0, seconds=0.0) for i in range(11)]
        >>> is_still(steady, 10.0, np.dtype("float64")), is_still(steady, 1e15, np.dtype("float64"))
        (True, False)
    """
    if len(history) <= STALLED_STEPS:
        return False
    before, now = _loss(history[-1 - STALLED_STEPS]), _loss(history[-1])
    wanted = 2 * SETTLED_GAIN * now
    return before - now <= wanted and 8 * float(np.finfo(dtype).eps) * squared_norm <= wanted


def has_diverged(loss: float | None, highest_sound: float) -> bool:
    """Whether a loss is not finite, or over a hundred times both the first loss and ‖W‖²."""
    # not >, so that NaN counts as diverged
    return loss is not None and not loss <= DIVERGED_RATIO * highest_sound


def _loss(record: Record) -> float:
    return math.inf if record.loss is None else record.loss


def in_units(
    on_step: Callable[[Step], None] | None, exponent: int
) -> Callable[[Step], None] | None:
    """Return a callback that gives `on_step` the steps of 2^exponent·W in the unit of W."""
    if on_step is None or exponent == 0:
        return on_step
    factor = 2.0**-exponent

    def called(step: Step) -> None:
        loss = None if step.loss is None else step.loss * factor * factor
        on_step(replace(step, loss=loss, factors=lambda: step.factors().scaled(factor)))

    return called
