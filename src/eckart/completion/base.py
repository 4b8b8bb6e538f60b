"""The kind of solvers of known entries, their problem, its error, and units of the entries."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar, final

import numpy as np
import numpy.typing as npt

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.arrays import FLOAT32, FLOAT64, Array, DType, Randomness
from eckart.completion.entries import Entries
from eckart.completion.objective import Observed
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.solvers import Solver, Step
from eckart.threads import in_threads

T = TypeVar("T")
PIECES: Final = 32
"""Number of pieces of about equal work into which rows are cut, for any number of threads."""


def same(by: T) -> T:
    """The solver itself, which works here."""
    return by


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EntriesProblem:
    """The input of a solver of known entries.

    Fields:
        entries: The known entries.
        objective: Error that counts, and the penalty.
        rank: Number of columns of B.
        start: Initial factors and biases.
        randomness: Source of the random numbers of the solver.
        rows_by: Takes the solver of the rows to one that works where the rows are to be solved.
    """

    entries: Entries
    objective: Observed
    rank: int
    start: BiasedFactors
    randomness: Randomness
    rows_by: Callable[[Any], Any] = same

    def scale(self) -> tuple[float, float, DType]:
        """Return the loss of zero factors, the highest sound loss, and the dtype of the sums."""
        nothing = self.objective.loss_of_zeros(self.entries)
        # if all values equal their mean, `nothing` is 0 and no loss can be compared with it
        return nothing, nothing + self.objective.size(self.entries), self.start.dtype

    def first_step(self) -> Step:
        """Return the start as a step."""
        return make_step(0, None, self.start)

    def require_ratings(self, solver: str) -> None:
        """Refuse an objective that only alternating least squares can fit.

        Raises:
            ArgumentError: If the objective has more than ratings and biases.
        """
        if not self.objective.for_ratings_only:
            raise ArgumentError(
                f"{solver} fits ratings, without an unobserved weight, non-negativity, implicit "
                "features or attributes.",
                hint="Use AlternatingLeastSquares() for those.",
                code="needs-als",
            )


class EntriesSolver(Solver):
    """A solver of known entries, which improves the factors and biases of a start without end."""

    __slots__ = ()

    @abstractmethod
    def steps(self, problem: EntriesProblem, /) -> Iterator[Step]:
        """Yield steps without end from the start of the problem."""


def make_step(
    number: int,
    loss: float | None,
    fitted: BiasedFactors | Callable[[], BiasedFactors],
    samples: Callable[[], PosteriorSamples] | None = None,
) -> Step:
    """Return a step with factors and biases, or a function that forms them, and its samples."""
    form = (lambda: fitted) if isinstance(fitted, BiasedFactors) else fitted
    return Step(
        number=number, loss=loss, factors=lambda: form().factors, approximation=samples or form
    )


def cut(
    starts: npt.NDArray[np.int64], *, per_row: int, pieces: int = PIECES
) -> list[tuple[int, int]]:
    """Cut rows into ranges of about equal work: 1 for each entry and `per_row` for each row.

    Example:
        >>> cut(np.array([0, 10, 10, 20]), per_row=0)
        [(0, 1), (1, 3)]
    """
    rows = len(starts) - 1
    work = starts + np.arange(rows + 1) * per_row
    edges = np.searchsorted(work, np.linspace(0, work[-1], pieces + 1))
    # rows without entries at either end belong to a piece, too
    edges[0], edges[-1] = 0, rows
    return [(int(a), int(z)) for a, z in pairwise(edges) if z > a]


def known_error(
    entries: Entries, objective: Observed, offset: BiasedFactors
) -> tuple[float, float]:
    """Return Σ w·(W − ŷ)² and Σ w·W² over the known entries, in float64."""
    from eckart.completion.kernels.products import squared_errors

    order = entries.by_rows
    sums, squares = np.zeros((2, entries.shape[0]))
    # a row for each column of W, so that a kernel reads along memory
    table = np.ascontiguousarray(offset.factors.A.T, FLOAT32)
    B = np.ascontiguousarray(offset.factors.B, FLOAT32)
    column_bias, row_bias = (bias.astype(FLOAT32) for bias in (offset.column_bias, offset.row_bias))
    known = (order.starts, order.indices, objective.targets(order), objective.weights(order),
             column_bias, np.float32(offset.mean), table)  # fmt: skip
    in_threads(
        lambda piece: squared_errors(*piece, *known, B, row_bias, sums, squares),
        cut(order.starts, per_row=1),
    )
    return math.fsum(sums), math.fsum(squares)


def spread(values: Array) -> float:
    """A power of 4 near the standard deviation of values; its root is exact too.

    Example:
        >>> spread(np.array([1.0, 5.0])), spread(np.array([0.0, 99.0]))
        (1.0, 64.0)
    """
    found = float(np.std(values, dtype=FLOAT64))
    return 4.0 ** round(np.log(found) / np.log(4)) if found > 0 else 1.0


def in_units(entries: Entries, unit: float) -> Entries:
    """Return the entries with their values divided by the unit."""
    if unit == 1:
        return entries
    order = entries.by_rows
    values = order.values / np.float32(unit)
    return Entries.of_rows(order.counts, order.indices, values, entries.weights, entries.shape)


def scale_factors(offset: BiasedFactors, unit: float) -> BiasedFactors:
    """Return the biased factors for entries that are `unit` times as large."""
    if unit == 1:
        return offset
    root, factors = np.sqrt(unit), offset.factors
    return BiasedFactors(
        offset.mean * unit,
        offset.row_bias * FLOAT32.type(unit),
        offset.column_bias * FLOAT32.type(unit),
        Factors(factors.B * FLOAT32.type(root), factors.A * FLOAT32.type(root)),
    )
