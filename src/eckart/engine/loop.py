"""The loop over the steps of a solver, and further steps that only sharpen the certificate."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final, final

import numpy as np

from eckart.arrays import Array
from eckart.certificates import (
    SMALL,
    Certificate,
    carried_bound,
    certify,
    clearest_bound,
    probable_bound,
    spectrum,
)
from eckart.engine.result import Outcome
from eckart.engine.stopping import LoopResult, StoppableProblem, StoppingRule
from eckart.matrices import Matrix
from eckart.solvers import Solver, Step
from eckart.solvers.ritz import SURELY
from eckart.subspaces import FailureBudget


@final
class Loop:
    """The loop over the steps of one solver on one problem; a certificate may ask for more."""

    def __init__(
        self,
        steps: Iterator[Step],
        rule: StoppingRule,
        on_step: Callable[[Step], None] | None,
    ) -> None:
        self._steps, self._rule = steps, rule
        self._on_step = on_step
        self._ended = False

    def run(self) -> LoopResult:
        """Take steps until the solver ends, the stopping rule says so, or the loss diverges."""
        try:
            while True:
                outcome = self._step()
                if outcome is not None:
                    return self._rule.ending(outcome)
        except KeyboardInterrupt:
            return self._rule.ending(Outcome.INTERRUPTED)

    def further(self) -> LoopResult | None:
        """Take one more step; return its result, or None if there is none or a limit is reached."""
        if self._ended:
            return None
        outcome = self._step()
        if outcome not in (Outcome.SETTLED, Outcome.UNPROVEN, None):
            return None
        return self._rule.ending(outcome or Outcome.SETTLED)

    def _step(self) -> Outcome | None:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            step = next(self._steps, None)
        if step is None:
            self._ended = True
            return self._rule.finished()
        outcome = self._rule.judge(step)
        # factors of a diverged step may hold NaN, which `Factors` refuses
        if self._on_step is not None and outcome is not Outcome.DIVERGED:
            self._on_step(step)
        return outcome


def run_loop(
    solver: Solver,
    problem: StoppableProblem,
    time_limit: float | None,
    on_step: Callable[[Step], None] | None,
) -> tuple[Loop, LoopResult]:
    """Run a solver on a problem; return the loop, which can take further steps, and its result."""
    rule = StoppingRule(solver, problem, time_limit)
    loop = Loop(solver.steps(problem), rule, on_step)
    return loop, loop.run()


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


MOST_STEPS: Final = 6
"""Most further steps for a certificate."""
HOPEFUL: Final = 0.9
"""Ratio of successive gaps up to which another step is worth its products."""
NEAR_ROUNDING: Final = 1.1
"""Ratio of the gap to the one that rounding alone leaves, up to which no step is worth its cost."""
PROVEN: Final = 2e-2
"""Largest certified gap that needs no further step if no accuracy is asked for."""
GOOD_ENOUGH: Final = 1e-3
"""Largest certified gap of a success if no accuracy is asked for."""


def prove(
    W: Matrix,
    loop: Loop,
    ending: LoopResult,
    values: Array | None,
    accuracy: float | None,
    probing: FailureBudget,
    *,
    bound: bool,
) -> tuple[Certificate, Array | None, LoopResult]:
    """Return the certificate, the singular values used, and the result of the loop after both.

    All of them belong to the working matrix, whose error is the one of the objective.

    While the gap is above the accuracy that is asked for, a subspace solver takes further steps, as
    long as they narrow the gap: the bound is sharp only once every singular value near that of the
    rank is inside the space, which takes longer than a small error.
    """
    if values is None:
        values = ending.singular_values
    if not bound or ending.outcome in (Outcome.DIVERGED, Outcome.INTERRUPTED):
        return certify(W, ending.factors(), loss=ending.loss, bound=False), values, ending
    try:
        if values is None and min(W.shape) <= SMALL:
            values = spectrum(W)
        if values is None and ending.evidence is not None:
            ending = (
                _proven_further(W, loop, ending)
                if accuracy is None
                else _widened(W, loop, ending, accuracy, probing)
            )
        evidence = None if ending.evidence is None else ending.evidence()
        proof = certify(
            W, ending.factors(), values, evidence=evidence, probing=probing, loss=ending.loss
        )
    except KeyboardInterrupt:
        # Ctrl-C during the certificate: the factors are complete, so they are returned
        ending = replace(ending, outcome=Outcome.INTERRUPTED)
        return certify(W, ending.factors(), bound=False), values, ending
    return proof, values, replace(ending, outcome=_outcome(ending, proof, values, accuracy))


def _proven_further(W: Matrix, loop: Loop, ending: LoopResult) -> LoopResult:
    """Take one more step if that is likely to certify a result that is near the best.

    That is the case if the probes bound the gap above 2 % only, but estimate it below 1 %.
    """
    if ending.outcome is not Outcome.SETTLED:
        return ending
    if _gap_by(partial(carried_bound, W), ending) <= PROVEN:
        return ending
    likely = _gap_by(partial(carried_bound, W, likely=True), ending)
    return (likely <= SURELY and loop.further()) or ending


def _widened(
    W: Matrix, loop: Loop, ending: LoopResult, wanted: float, probing: FailureBudget
) -> LoopResult:
    """Take as many more steps as narrow the gap to the accuracy that was asked for.

    The bound of the power probes costs no product; separate random tests are made only once it
    narrows no more.
    """
    # no bound is sharper than rounding allows, whatever lies outside the space
    wanted = max(wanted, NEAR_ROUNDING * _gap_by(partial(clearest_bound, W), ending))
    if math.isinf(wanted):
        return ending
    ending, gap = _narrowed(loop, ending, wanted, partial(carried_bound, W))
    if gap <= wanted:
        return ending
    return _narrowed(loop, ending, wanted, partial(probable_bound, W, probing=probing))[0]


def _narrowed(
    loop: Loop, ending: LoopResult, wanted: float, bound: Callable[..., float | None]
) -> tuple[LoopResult, float]:
    """Take more steps until the gap is small or hardly falls; return the result and the gap."""
    gap, last = _gap_by(bound, ending), math.inf
    for _ in range(MOST_STEPS):
        if gap <= wanted or gap > HOPEFUL * last:
            break
        further = loop.further()
        if further is None:
            break
        ending, last = further, gap
        gap = _gap_by(bound, ending)
    return ending, gap


def _gap_by(bound: Callable[..., float | None], ending: LoopResult) -> float:
    """The gap from the loss of the solver, which is accurate enough to decide about a step."""
    if ending.evidence is None or ending.loss is None:
        return 0.0
    best = bound(rank=ending.rank, evidence=ending.evidence())
    return math.inf if not best else max(0.0, math.sqrt(ending.loss) / best - 1)


def _gap(proof: Certificate) -> float:
    return math.inf if proof.gap is None else proof.gap


def _outcome(
    ending: LoopResult, proof: Certificate, values: Array | None, accuracy: float | None
) -> Outcome:
    """The outcome of the run, given its certificate.

    A gap from all singular values is exact; one from products is an upper bound.
    """
    gap, outcome = _gap(proof), ending.outcome
    if gap <= (accuracy or GOOD_ENOUGH) and (accuracy is not None or outcome.grade == "short"):
        return Outcome.ACCURATE
    if accuracy is not None:
        return Outcome.INACCURATE
    if outcome is Outcome.UNPROVEN and gap <= SURELY:
        return Outcome.SETTLED
    ended = outcome in {Outcome.CONVERGED, Outcome.SKETCHED}
    if ended and values is not None and gap > SURELY:
        return Outcome.FAR
    return outcome
