"""Stochastic gradient descent over known entries."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from eckart.approximations import BiasedFactors
from eckart.arguments import check_number, check_positive
from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.completion.base import (
    EntriesProblem,
    EntriesSolver,
    in_units,
    known_error,
    make_step,
    scale_factors,
)
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.solvers import Step
from eckart.solvers.base import check_count

FIRST_SIZE = 0.1
"""Standard deviation of initial factors, times rank^¼, so that B·A has one size at any rank."""
SERVED = (0.5, 32.0)
"""Range of standard deviations of entries for which the learning rate works."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StochasticGradient(EntriesSolver):
    """Gradient descent on one entry after another, in a new random order in every epoch.

        e = w·(W_ij − ŷ_ij)      B_i ← (B_i + η·e·A_j)/(1 + η·λ·n_i^(ν−1))      and so on

    To first order in η each step is one of size η/2 against the gradient of the share of that entry
    in the objective: its squared error, and the penalties of its row and column divided among their
    entries. The step is stable for any λ. Entries with a standard deviation below 1/2 or above 32
    are rescaled to a unit in which η works. It fits ratings only; the unobserved weight,
    non-negativity, implicit features and attributes need alternating least squares. It uses one
    thread; the order is drawn from the seed.

    Fields:
        learning_rate: Step size η.
        decay: Factor of η after every epoch, above 0 and at most 1.
        epochs: Largest number of passes over the entries.
        stop_early: Whether to stop before `epochs`, once the loss has converged.

    Raises:
        ArgumentError: If a field is out of its range, or the objective needs another solver.

    Cost:
        About 10·rank operations for each entry and epoch.

    Reference:
        Funk (2006); Koren, Bell, Volinsky (2009), Computer 42(8).
    """

    name: ClassVar[str] = "sgd"

    learning_rate: float = 0.01
    decay: float = 0.97
    epochs: int = 40
    stop_early: bool = False

    def __post_init__(self) -> None:
        check_positive("learning rate", self.learning_rate)
        if not 0 < check_number("decay", self.decay) <= 1:
            raise ArgumentError(
                f"The decay is {self.decay}.",
                hint="Give a number above 0 and at most 1.",
                code="bad-decay",
            )
        check_count("epochs", self.epochs)

    def steps(self, problem: EntriesProblem, /) -> Iterator[Step]:
        """Yield epochs without end, each with the objective after it."""
        from eckart.completion.kernels.products import descend

        objective, start = problem.objective, problem.start
        problem.require_ratings("Stochastic gradient descent")
        unit = _unit(problem.entries.by_rows.values)
        entries = in_units(problem.entries, unit)
        order, rows = entries.by_rows, entries.rows
        row_ridge = objective.ridge(order, 0)
        column_ridge = objective.ridge(entries.by_columns, 0)
        decays = (
            row_ridge / np.maximum(order.counts, 1),
            column_ridge / np.maximum(entries.by_columns.counts, 1),
        )
        # in units of `unit` the squared error is smaller by unit², and ‖B‖² by unit
        decays = tuple((decay / unit).astype(FLOAT32) for decay in decays)
        B, A = self._start(problem, unit)
        rate, mean = self.learning_rate, np.float32(start.mean / unit)
        for number in itertools.count():
            visits = problem.randomness.permutation(len(order.values))
            descend(
                visits, rows, order.indices, order.values, order.weights, mean,
                np.float32(rate), *decays, np.float32(unit), B, A,
            )  # fmt: skip
            rate *= self.decay
            if not objective.has_biases:
                # the kernel moves biases always
                B[:, -1] = A[:, -1] = 0
            if not (np.isfinite(B).all() and np.isfinite(A).all()):
                # `Factors` refuses numbers that are not finite; an infinite loss ends the loop
                yield Step(number=number, loss=math.inf, factors=lambda: start.factors)
                return
            fitted = scale_factors(_offset(start.mean / unit, B, A), unit)
            loss = known_error(problem.entries, objective, fitted)[0]
            loss += float(row_ridge @ _squares(B, unit)) + float(column_ridge @ _squares(A, unit))
            yield make_step(number, loss, fitted)

    def _start(self, problem: EntriesProblem, unit: float) -> tuple[Array, Array]:
        """Return B and Aᵀ with biases; both are drawn at random if the B of the start is 0."""
        start, rank = scale_factors(problem.start, 1 / unit), problem.rank
        tables: list[Array] = []
        fresh = not start.factors.B.any()
        for factor, bias in (
            (start.factors.B, start.row_bias),
            (start.factors.A.T, start.column_bias),
        ):
            table = np.empty((len(factor), rank + 1), FLOAT32)
            drawn = problem.randomness.standard_normal(factor.shape) if fresh else None
            table[:, :rank] = factor if drawn is None else drawn * (FIRST_SIZE / rank**0.25)
            table[:, rank] = bias
            tables.append(table)
        return tables[0], tables[1]


def _offset(mean: float, B: Array, A: Array) -> BiasedFactors:
    factors = Factors(B[:, :-1].copy(), A[:, :-1].T.copy())
    return BiasedFactors(mean, B[:, -1].copy(), A[:, -1].copy(), factors)


def _unit(values: Array) -> float:
    """A power of 4 (its root is exact) that brings the standard deviation into `SERVED`."""
    spread = float(np.std(values, dtype=FLOAT64))
    if not spread:
        return 1.0
    below, above = (math.log(spread / end, 4) for end in SERVED)
    return 4.0 ** (math.floor(below) if below < 0 else max(0, math.ceil(above)))


def _squares(X: Array, unit: float) -> Array:
    """Squared norm of each row of factors and bias, for entries `unit` times as large."""
    factors, bias = X[:, :-1], X[:, -1].astype(FLOAT64)
    return np.einsum("ij,ij->i", factors, factors, dtype=FLOAT64) * unit + np.square(bias * unit)
