"""The one loop over the steps of a solver."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import final

import numpy as np

from eckart.factorization.outcome import Outcome
from eckart.factorization.stopping import Ending, Watch
from eckart.solvers import Step


@final
class Loop:
    """Takes the steps of one solver on one problem, and can take more where a proof wants them."""

    def __init__(
        self,
        steps: Iterator[Step],
        watch: Watch,
        on_step: Callable[[Step], None] | None,
    ) -> None:
        self._steps, self._watch = steps, watch
        self._on_step = on_step
        self._ended = False

    def run(self) -> Ending:
        """Take steps until the solver ends, its rule or a limit says stop, or the loss diverges."""
        try:
            while True:
                outcome = self._step()
                if outcome is not None:
                    return self._watch.ending(outcome)
        except KeyboardInterrupt:
            return self._watch.ending(Outcome.INTERRUPTED)

    def further(self) -> Ending | None:
        """The ending after one step more; None where the solver has none, or a limit is reached."""
        if self._ended:
            return None
        outcome = self._step()
        if outcome not in (Outcome.SETTLED, Outcome.UNPROVEN, None):
            return None
        return self._watch.ending(outcome or Outcome.SETTLED)

    def _step(self) -> Outcome | None:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            step = next(self._steps, None)
        if step is None:
            self._ended = True
            return self._watch.finished()
        outcome = self._watch.judge(step)
        if self._on_step is not None and outcome is not Outcome.DIVERGED:
            self._on_step(step)
        return outcome


def in_units(
    on_step: Callable[[Step], None] | None, exponent: int
) -> Callable[[Step], None] | None:
    """Called with steps whose losses and factors are those of W, of a solver of 2^exponent·W."""
    if on_step is None or exponent == 0:
        return on_step
    factor = 2.0**-exponent

    def called(step: Step) -> None:
        loss = None if step.loss is None else step.loss * factor * factor
        on_step(replace(step, loss=loss, factors=lambda: step.factors().scaled(factor)))

    return called
