"""The state of alternating least squares: both factors with biases, and a sweep over a side."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar, final

import numpy as np
import scipy.sparse

from eckart.approximations import BiasedFactors
from eckart.arrays import FLOAT32, FLOAT64, Array, inner
from eckart.completion.entries import NONE, Compressed, Entries
from eckart.completion.equations import NormalEquations, RowSolver, gram, turned
from eckart.completion.objective import Observed
from eckart.factors import Factors

Result = TypeVar("Result")
Kept: TypeAlias = tuple[Array, list[Array]]
"""The table of one side, and the factors of its side information."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SideInformation:
    """Side information of the rows of one side: further columns of W, all known, M ≈ X·Cᵀ.

    Fields:
        M: SciPy sparse matrix of shape (rows, attributes).
        C: Array of shape (attributes, rank), improved in place.
        weight: Weight of the squared error of M.
        ridge: Penalty of each row of C, an array of shape (attributes,).
    """

    M: Any
    C: Array
    weight: float
    ridge: Array

    def improve(self, X: Array) -> None:
        """Set C to its optimum for X; its rows share one system, except for their ridge."""
        values, E = np.linalg.eigh(self.weight * gram(X))
        right = (self.weight * (self.M.T @ X)).astype(FLOAT64) @ E
        self.C[:] = (right / (np.maximum(values, 0.0) + self.ridge[:, None])) @ E.T

    def loss(self, X: Array) -> float:
        """Return its part of the objective."""
        # ‖M − X·Cᵀ‖² without the array X·Cᵀ, of which M stores a small part
        explained = inner(gram(X), gram(self.C)) - 2 * inner(self.M @ self.C, X)
        squared = float(np.square(self.M.data, dtype=FLOAT64).sum())
        return self.weight * (squared + explained) + float(self.ridge @ _squares(self.C))


@final
class Side:
    """One side, rows or columns: its entries, its table X, and its side information."""

    def __init__(
        self,
        objective: Observed,
        order: Compressed,
        X: Array,
        others: int,
        companions: list[SideInformation],
        attributes: Any,
        *,
        biased: bool,
    ) -> None:
        self.order, self.X, self.companions = order, X, companions
        self.biased = biased
        self.ridge = objective.ridge(order, others, attributes)
        self.targets, self.weights = objective.targets(order), objective.weights(order)

    def penalty(self) -> float:
        """Σ ridge·‖x‖²."""
        return float(self.ridge @ _squares(self.X))


@final
class Tables:
    """Tables of both sides, (rows, width) and (columns, width): B and Aᵀ, biases behind them."""

    def __init__(self, entries: Entries, objective: Observed, start: BiasedFactors) -> None:
        self.objective, self.mean, self.rank = objective, start.mean, start.rank
        self.biased = objective.has_biases
        B = self._table(start.factors.B, start.row_bias)
        A = self._table(start.factors.A.T, start.column_bias)
        rows, columns = entries.shape
        down, across = entries.by_rows, entries.by_columns
        pattern = _pattern(down, columns) if objective.implicit_features > 0 else None
        more = _companions(
            objective, pattern, objective.row_attributes, start.extra_columns, self.rank
        )
        turned = None if pattern is None else pattern.T.tocsr()
        below = None if start.extra_rows is None else start.extra_rows.T
        less = _companions(objective, turned, objective.column_attributes, below, self.rank)
        own = self.biased and objective.row_biases
        self.rows = Side(objective, down, B, columns, more, objective.row_attributes, biased=own)
        self.columns = Side(
            objective, across, A, rows, less, objective.column_attributes, biased=self.biased
        )

    def _table(self, factor: Array, bias: Array) -> Array:
        table = np.empty((len(factor), self.rank + self.biased), FLOAT32)
        table[:, : self.rank] = factor
        if self.biased:
            table[:, self.rank] = bias
        return table

    def sweep(self, solver: RowSolver) -> float:
        """Improve both sides once; return the objective after that."""
        for side in (self.rows, self.columns):
            for companion in side.companions:
                companion.improve(side.X[:, : self.rank])
        self.improve(self.rows, self.columns, solver)
        beside = sum(part.loss(self.rows.X[:, : self.rank]) for part in self.rows.companions)
        losses = self.improve(self.columns, self.rows, solver)
        constant = sum(
            part.weight * float(np.square(part.M.data, dtype=FLOAT64).sum())
            + float(part.ridge @ _squares(part.C))
            for part in self.columns.companions
        )
        # the losses hold the penalty of the columns; see "The loss is known" in observed.md
        return float(np.sum(losses)) + self.rows.penalty() + beside + constant

    def improve(self, side: Side, other: Side, solver: RowSolver, *, turning: bool = True) -> Array:
        """Improve one side while the other is held fixed; return the objective of each of its rows.

        Both factors may be rotated by the same orthogonal matrix, which changes no prediction.
        """
        rank = self.rank
        shared = np.zeros((rank, rank))
        if self.objective.unobserved_weight > 0:
            shared += self.objective.unobserved_weight * gram(other.X[:, :rank])
        for part in side.companions:
            shared += part.weight * gram(part.C)
        if turning and solver.rotates and shared.any():
            values, E = np.linalg.eigh(shared)
            # an eigenvalue that is 0 may come out negative by rounding
            shared = np.diag(np.maximum(values, 0.0))
            self._turn(E)
        whole = np.zeros((side.X.shape[1],) * 2, FLOAT32)
        whole[:rank, :rank] = shared
        linear = np.zeros((len(side.X) if side.companions else 0, side.X.shape[1]), FLOAT32)
        for part in side.companions:
            linear[:, :rank] += part.weight * (part.M @ part.C)
        return self.solve(side, other, solver.solve, whole, linear)

    def solve(
        self,
        side: Side,
        other: Side,
        by: Callable[[NormalEquations, Array], Result],
        shared: Array | None = None,
        linear: Array | None = None,
    ) -> Result:
        """Solve the equations of a side by a given function and return its result.

        Meanwhile the bias of the other side is 1, or 0 if this side has none, which leaves it 0.
        """
        rank, width = self.rank, side.X.shape[1]
        # a copy, because the column is overwritten by ones
        held = other.X[:, rank].copy() if self.biased else NONE
        if self.biased:
            # the column of ones that belongs to the biases of this side
            other.X[:, rank] = side.biased
        try:
            equations = NormalEquations(
                order=side.order,
                targets=side.targets,
                weights=side.weights,
                mean=self.mean,
                offsets=held,
                table=other.X,
                counts=other.order.counts,
                gram=np.zeros((width, width), FLOAT32) if shared is None else shared,
                ridge=side.ridge,
                linear=np.zeros((0, width), FLOAT32) if linear is None else linear,
            )
            return by(equations, side.X)
        finally:
            if self.biased:
                # in `finally`, so that an interruption leaves the biases in the table
                other.X[:, rank] = held

    def offset(self) -> BiasedFactors:
        """Return a copy of the factors and biases as they are now."""
        return self.kept()()

    def kept(self) -> Callable[[], BiasedFactors]:
        """Return a function that forms the factors and biases of the tables as they are now.

        Cost:
            A copy of the tables; the rest is computed when the function is called.
        """
        sides = [
            (side.X.copy(), [part.C.copy() for part in side.companions])
            for side in (self.rows, self.columns)
        ]
        return partial(self._formed, *sides)

    def _formed(
        self, rows: tuple[Array, list[Array]], columns: tuple[Array, list[Array]]
    ) -> BiasedFactors:
        """Form biased factors from tables and the factors of their side information."""
        (B, row_bias), (A, column_bias) = (self._parts(X) for X, _ in (rows, columns))
        more, less = rows[1], columns[1]
        return BiasedFactors(
            self.mean,
            row_bias,
            column_bias,
            Factors(B, A.T),
            np.concatenate(more).T if more else None,
            np.concatenate(less) if less else None,
        )

    def _parts(self, X: Array) -> tuple[Array, Array]:
        """Split a table into factors and biases."""
        rank = self.rank
        return X[:, :rank].copy(), X[:, rank].copy() if self.biased else np.zeros(len(X), FLOAT32)

    def _turn(self, E: Array) -> None:
        """Multiply both factors, and those of all side information, by an orthogonal matrix."""
        sides = (self.rows, self.columns)
        parts = [part.C for side in sides for part in side.companions]
        B, A, *rest = turned([self.rows.X, self.columns.X, *parts], E)
        made = iter(rest)
        more = [[replace(part, C=next(made)) for part in side.companions] for side in sides]
        self.rows.X, self.columns.X = B, A
        self.rows.companions, self.columns.companions = more


def _companions(
    objective: Observed, pattern: Any, attributes: Any, start: Array | None, rank: int
) -> list[SideInformation]:
    """Return the side information: implicit features and attributes, with initial factors."""
    given = []
    if pattern is not None:
        counts = np.diff(pattern.tocsc().indptr)
        given.append((pattern, objective.implicit_features, np.maximum(counts, 1.0)))
    if attributes is not None:
        M = scipy.sparse.csr_array(attributes).astype(FLOAT32)
        # attributes are known for every row, so each counts as many entries as rows
        given.append((M, objective.attribute_weight, np.full(M.shape[1], float(M.shape[0]))))
    made, first = [], 0
    for M, weight, counts in given:
        C = np.zeros((M.shape[1], rank), FLOAT32)
        if start is not None:
            C[:] = start[:, first : first + len(C)].T
        first += len(C)
        ridge = objective.strength * counts**objective.count_exponent
        made.append(SideInformation(M=M, C=C, weight=weight, ridge=ridge))
    return made


def _pattern(order: Compressed, columns: int) -> Any:
    ones = np.ones(len(order.values), FLOAT32)
    shape = (len(order.starts) - 1, columns)
    return scipy.sparse.csr_array((ones, order.indices, order.starts), shape=shape)


def _squares(X: Array) -> Array:
    return np.einsum("ij,ij->i", X, X, dtype=FLOAT64)
