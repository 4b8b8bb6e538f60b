"""The learning rate, found by short runs of falling number and rising length."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, final

from eckart.errors import MatrixError

RATES: Final = 7
"""Rates that are tried first."""
STEP: Final = 10**0.5
"""Ratio of two rates that are neighbours."""
SHARE: Final = 0.25
"""Share of the steps of the run that all trials together take at most."""
FEWEST_STEPS: Final = 24
"""Steps of a trial at least: trials of 8 steps chose a rate that was ten times too high."""
KEPT: Final = 0.5
"""Share of the rates that goes on to the next round."""
LEARNT: Final = 0.1
"""Share of the loss at the start by which the best trial of a round has to lower it. A trial that
has hardly learnt shows which rate leaves the start first, not which ends lowest: on film reviews
that was one at which the whole run learnt nothing."""


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """A short run: its rate, its steps, and the loss over rows held back, None if not finite."""

    rate: float
    steps: int
    loss: float | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RateSearch:
    """The learning rate that was found, and the trials that it was found from.

    Fields:
        rate: The learning rate.
        trials: All trials, in their order.
        lowest, highest: The good range: the rates of the first round whose loss is at most a
            twentieth of the gain above the lowest.
    """

    rate: float
    trials: tuple[Trial, ...] = ()
    lowest: float | None = None
    highest: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The search as plain numbers."""
        trials = [{"rate": t.rate, "steps": t.steps, "loss": t.loss} for t in self.trials]
        good = None if self.lowest is None else [self.lowest, self.highest]
        return {"rate": self.rate, "trials": trials, "good_range": good}

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> "RateSearch":
        """The search from what `to_dict` made."""
        good = document["good_range"] or (None, None)
        return RateSearch(
            rate=float(document["rate"]),
            trials=tuple(Trial(**one) for one in document["trials"]),
            lowest=good[0],
            highest=good[1],
        )


def rounds_of(steps: int) -> list[int]:
    """Steps of a trial in each round of the search before a run of so many steps.

    Every round has half of the rates of the round before, and twice its steps, so that all rounds
    cost the same. With too few steps for a round there is none, and the default rate is taken.

    Example:
        >>> rounds_of(2000), rounds_of(100)
        ([38, 76], [])
    """
    counts = [RATES]
    while counts[-1] > 1:
        counts.append(max(1, int(KEPT * counts[-1])))
    # the last rate is alone, and is not tried again
    counts = counts[:-1]
    while counts:
        first = SHARE * steps / sum(count * 2**place for place, count in enumerate(counts))
        if first >= FEWEST_STEPS:
            return [int(first * 2**place) for place in range(len(counts))]
        counts.pop()
    return []


def find_rate(
    middle: float,
    steps: int,
    start_loss: float,
    trial: Callable[[float, int], float | None],
    is_late: Callable[[], bool] = lambda: False,
) -> RateSearch:
    """Find the learning rate by successive halving.

    The middle rate is taken unless trials have learnt something and show a better one: of the
    rates of a round that are nearly as good as the best, the one nearest to the middle.

    Args:
        middle: The rate in the middle of those that are tried, the default of the optimiser.
        steps: Steps of the run that the rate is for.
        start_loss: The loss before the first step, over the same rows as that of a trial.
        trial: Function of a rate and a number of steps that makes a run of its own, from the same
            start over the same rows, and returns its loss over rows held back; None if a loss was
            not finite.
        is_late: Whether there is no time for another trial; then the best of those that were made
            is taken, or the middle one.

    Raises:
        MatrixError: If no rate has a finite loss.

    Source: Jamieson and Talwalkar, Non-stochastic best arm identification, AISTATS 2016.
    """
    rates = [middle * STEP ** (place - RATES // 2) for place in range(RATES)]
    trials: list[Trial] = []
    found = RateSearch(rate=middle)
    for length in rounds_of(steps):
        made: list[Trial] = []
        for rate in rates:
            if is_late():
                return found
            made.append(Trial(rate, length, trial(rate, length)))
        trials += made
        known = sorted((one.loss, one.rate) for one in made if one.loss is not None)
        if not known:
            raise MatrixError(
                f"The loss is not finite at any rate from {rates[0]:.2g} to {rates[-1]:.2g}.",
                hint="Check the data, or give `learning_rate`.",
                code="not-finite",
            )
        if found.lowest is None:
            lowest, highest = _good_range(known, start_loss)
            found = RateSearch(rate=middle, lowest=lowest, highest=highest)
        found = replace(found, trials=tuple(trials))
        if start_loss - known[0][0] < LEARNT * start_loss:
            return replace(found, rate=middle)
        good = _good(known, start_loss)
        found = replace(found, rate=min(good, key=lambda rate: abs(math.log(rate / middle))))
        rates = sorted(rate for _, rate in known[: max(1, int(KEPT * len(rates)))])
    return found


def _good_range(known: list[tuple[float, float]], start_loss: float) -> tuple[float, float]:
    """The lowest and the highest of the rates that are nearly as good as the best."""
    good = _good(known, start_loss)
    return min(good), max(good)


def _good(known: list[tuple[float, float]], start_loss: float) -> list[float]:
    """The rates whose loss is at most a twentieth of the best gain above the lowest loss."""
    lowest = known[0][0]
    most = lowest + max(0.0, start_loss - lowest) / 20
    return [rate for loss, rate in known if loss <= most]
