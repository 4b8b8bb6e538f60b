"""The normal equations of all rows, and the two tables of factors that a sweep improves."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Final, TypeVar, final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from eckart.approximations import BiasedFactors
from eckart.arrays import FLOAT32, FLOAT64, Array, inner
from eckart.completion.base import cut
from eckart.completion.entries import NONE, Compressed, Entries
from eckart.completion.objective import Attributes, Observed
from eckart.factors import Factors
from eckart.threads import in_threads

Result = TypeVar("Result")
BLOCK_ROWS: Final = 4096
"""Number of rows in a partial sum: fixed, so that the bits do not depend on the threads."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NormalEquations:
    """Minimise Σ w·(t − ⟨D, x⟩)² + xᵀ(gram + ridge)x − 2⟨linear, x⟩ for the x of each row.

    Fields:
        order: Entries of each row.
        targets: t of each entry before mean and offsets are subtracted; of length 0 for ones.
        weights: w of each entry; of length 0 for ones.
        mean: Mean that is subtracted from every target.
        offsets: Bias of each D, which is subtracted from its targets; of length 0 for zeros.
        table: Every D, of shape (others, width); the last number is 1 if rows have a bias.
        counts: Number of entries that refer to each D.
        gram: Array of shape (width, width), float32, shared by all rows.
        ridge: Penalty of each row, above 0; shape (rows,).
        linear: Array of shape (rows, width), or (0, width) for zeros.
    """

    order: Compressed
    targets: Array
    weights: Array
    mean: float
    offsets: Array
    table: Array
    counts: npt.NDArray[np.int64]
    gram: Array
    ridge: Array
    linear: Array

    def typical_squares(self) -> Array:
        """Return the mean of D² over all entries, of shape (width,)."""
        # each D counts as often as entries refer to it
        share = self.counts / max(1, len(self.order.indices))
        sums = in_threads(
            lambda here: share[here] @ np.square(self.table[here], dtype=FLOAT64),
            row_blocks(len(self.table)),
        )
        return np.sum(sums, axis=0).astype(FLOAT32)

    def in_pieces(self, kernel: Callable[[int, int, tuple[object, ...]], object]) -> None:
        """Run a kernel over pieces of the rows, with the arguments that describe the entries."""
        known = (self.order.starts, self.order.indices, self.targets, self.weights, self.offsets,
                 np.float32(self.mean), self.table)  # fmt: skip
        pieces = cut(self.order.starts, per_row=self.table.shape[1] // 4)
        in_threads(lambda piece: kernel(*piece, known), pieces)

    def run(
        self,
        kernel: Callable[..., object],
        X: Array,
        settings: tuple[object, ...],
        shared: tuple[Array, ...],
    ) -> Array:
        """Improve X by a kernel with its settings and matrices; return the value of each row."""
        losses = np.zeros(len(X), FLOAT64)
        self.in_pieces(
            lambda first, last, known: kernel(
                first, last, *settings, known, *shared, self.ridge, self.linear, X, losses
            )
        )
        return losses


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSolver(ABC):
    """A solver of the normal equations of all rows."""

    name: ClassVar[str]

    @property
    def rotates(self) -> bool:
        """Whether the factors may be rotated so that `gram` is diagonal."""
        return True

    def solve(self, equations: NormalEquations, X: Array, /) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        return self.solve_rows(equations, X, self.shared(equations))

    def shared(self, equations: NormalEquations, /) -> tuple[Array, ...]:
        """The matrices that the equations of all rows share."""
        return (equations.gram,)

    @abstractmethod
    def solve_rows(
        self, equations: NormalEquations, X: Array, shared: tuple[Array, ...], /
    ) -> Array:
        """Do the work of `solve` with what `shared` returned, for all rows or some of them."""

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        return {"name": self.name, **asdict(self)}


def row_blocks(rows: int) -> list[slice]:
    """Cut rows into blocks of a fixed size."""
    return [slice(start, start + BLOCK_ROWS) for start in range(0, rows, BLOCK_ROWS)]


def gram(X: Array) -> Array:
    """XᵀX in float64, summed over blocks of a fixed size: the same bits for any threads."""
    # each block in float32, the sum over blocks in float64
    parts = in_threads(lambda here: X[here].T @ X[here], row_blocks(len(X)))
    return np.asarray(np.sum(parts, axis=0, dtype=FLOAT64))


def rotate(tables: Sequence[Array], E: Array) -> list[Array]:
    """Return copies of all tables with their leading columns multiplied by E.

    They are copies, so that after an interruption all tables are rotated or none.
    """
    width, small = E.shape[0], E.astype(FLOAT32)
    made = [np.empty_like(table) for table in tables]

    def rotate_block(piece: tuple[int, slice]) -> None:
        number, here = piece
        np.matmul(tables[number][here, :width], small, out=made[number][here, :width])
        made[number][here, width:] = tables[number][here, width:]

    in_threads(
        rotate_block,
        [(number, here) for number, table in enumerate(tables) for here in row_blocks(len(table))],
    )
    return made


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

    M: Attributes
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
        return self.weight * explained + self.constant_loss()

    def constant_loss(self) -> float:
        """Return the part of its loss that does not depend on X: w·‖M‖² and the penalty of C."""
        squared = float(np.square(self.M.data, dtype=FLOAT64).sum())
        return self.weight * squared + float(self.ridge @ _squares(self.C))


@final
@dataclass(slots=True, kw_only=True)
class FactorTable:
    """The factors of one side, rows or columns, with its entries and its side information.

    Fields:
        order: Entries of each row of the table.
        X: Factors, of shape (rows, rank), and behind them the bias if the objective has biases.
        information: Side information of this side.
        ridge: Penalty of each row.
        targets: Target of each entry; of length 0 for ones.
        weights: Weight of each entry; of length 0 for ones.
        has_bias: Whether this side has biases of its own.
    """

    order: Compressed
    X: Array
    information: list[SideInformation]
    ridge: Array
    targets: Array
    weights: Array
    has_bias: bool

    def penalty(self) -> float:
        """Σ ridge·‖x‖²."""
        return float(self.ridge @ _squares(self.X))


@final
class FactorTables:
    """Tables of both sides, (rows, width) and (columns, width): B and Aᵀ, biases behind them."""

    def __init__(self, entries: Entries, objective: Observed, start: BiasedFactors) -> None:
        self.objective, self.mean, self.rank = objective, start.mean, start.rank
        pattern = None
        if objective.implicit_features > 0:
            order = entries.by_rows
            ones = np.ones(len(order.values), FLOAT32)
            pattern = scipy.sparse.csr_array((ones, order.indices, order.starts), entries.shape)
        across = None if pattern is None else pattern.T.tocsr()
        below = None if start.extra_rows is None else start.extra_rows.T
        self.rows = self._table(
            entries.by_rows, entries.shape[1], start.factors.B, start.row_bias,
            pattern, objective.row_attributes, start.extra_columns,
        )  # fmt: skip
        self.rows.has_bias = objective.has_biases and objective.row_biases
        self.columns = self._table(
            entries.by_columns, entries.shape[0], start.factors.A.T, start.column_bias,
            across, objective.column_attributes, below,
        )  # fmt: skip

    def _table(
        self,
        order: Compressed,
        others: int,
        factor: Array,
        bias: Array,
        pattern: Attributes | None,
        attributes: Attributes | None,
        extra: Array | None,
    ) -> FactorTable:
        """The table of one side, beside `others` columns (or rows)."""
        objective, rank = self.objective, self.rank
        X = np.empty((len(factor), rank + objective.has_biases), FLOAT32)
        X[:, :rank] = factor
        if objective.has_biases:
            X[:, rank] = bias
        return FactorTable(
            order=order,
            X=X,
            information=_side_information(objective, pattern, attributes, extra, rank),
            ridge=objective.ridge(order, others, attributes),
            targets=objective.targets(order),
            weights=objective.weights(order),
            has_bias=objective.has_biases,
        )

    def sweep(self, solver: RowSolver) -> float:
        """Improve both sides once; return the objective after that."""
        for side in (self.rows, self.columns):
            for part in side.information:
                part.improve(side.X[:, : self.rank])
        self.improve(self.rows, self.columns, solver)
        beside = sum(part.loss(self.rows.X[:, : self.rank]) for part in self.rows.information)
        losses = self.improve(self.columns, self.rows, solver)
        constant = sum(part.constant_loss() for part in self.columns.information)
        # the losses hold the penalty of the columns; see "The loss is known" in observed.md
        return float(np.sum(losses)) + self.rows.penalty() + beside + constant

    def improve(
        self, side: FactorTable, other: FactorTable, solver: RowSolver, *, turning: bool = True
    ) -> Array:
        """Improve one side while the other is held fixed; return the objective of each of its rows.

        Both factors may be rotated by the same orthogonal matrix, which changes no prediction.
        """
        rank = self.rank
        shared = np.zeros((rank, rank))
        if self.objective.unobserved_weight > 0:
            shared += self.objective.unobserved_weight * gram(other.X[:, :rank])
        for part in side.information:
            shared += part.weight * gram(part.C)
        if turning and solver.rotates and shared.any():
            values, E = np.linalg.eigh(shared)
            # an eigenvalue that is 0 may come out negative by rounding
            shared = np.diag(np.maximum(values, 0.0))
            self._rotate(E)
        whole = np.zeros((side.X.shape[1],) * 2, FLOAT32)
        whole[:rank, :rank] = shared
        linear = np.zeros((len(side.X) if side.information else 0, side.X.shape[1]), FLOAT32)
        for part in side.information:
            linear[:, :rank] += part.weight * (part.M @ part.C)
        return self.solve(side, other, solver.solve, whole, linear)

    def solve(
        self,
        side: FactorTable,
        other: FactorTable,
        by: Callable[[NormalEquations, Array], Result],
        shared: Array | None = None,
        linear: Array | None = None,
    ) -> Result:
        """Solve the equations of a side by a given function and return its result.

        Meanwhile the bias of the other side is 1, or 0 if this side has none, which leaves it 0.
        """
        rank, width, biased = self.rank, side.X.shape[1], self.objective.has_biases
        # a copy, because the column is overwritten by ones
        biases = other.X[:, rank].copy() if biased else NONE
        if biased:
            # the column of ones that belongs to the biases of this side
            other.X[:, rank] = side.has_bias
        try:
            equations = NormalEquations(
                order=side.order,
                targets=side.targets,
                weights=side.weights,
                mean=self.mean,
                offsets=biases,
                table=other.X,
                counts=other.order.counts,
                gram=np.zeros((width, width), FLOAT32) if shared is None else shared,
                ridge=side.ridge,
                linear=np.zeros((0, width), FLOAT32) if linear is None else linear,
            )
            return by(equations, side.X)
        finally:
            if biased:
                # in `finally`, so that an interruption leaves the biases in the table
                other.X[:, rank] = biases

    def snapshot(self) -> Callable[[], BiasedFactors]:
        """Return a function that forms the factors and biases of the tables as they are now.

        Cost:
            A copy of the tables; the rest is computed when the function is called.
        """
        rank, mean, biased = self.rank, self.mean, self.objective.has_biases
        (B, more), (A, less) = (
            (side.X.copy(), [part.C.copy() for part in side.information])
            for side in (self.rows, self.columns)
        )

        def bias(X: Array) -> Array:
            return X[:, rank].copy() if biased else np.zeros(len(X), FLOAT32)

        return lambda: BiasedFactors(
            mean,
            bias(B),
            bias(A),
            Factors(B[:, :rank].copy(), A[:, :rank].copy().T),
            np.concatenate(more).T if more else None,
            np.concatenate(less) if less else None,
        )

    def _rotate(self, E: Array) -> None:
        """Multiply both factors, and those of all side information, by an orthogonal matrix."""
        sides = (self.rows, self.columns)
        parts = [part.C for side in sides for part in side.information]
        B, A, *rest = rotate([self.rows.X, self.columns.X, *parts], E)
        made = iter(rest)
        more = [[replace(part, C=next(made)) for part in side.information] for side in sides]
        self.rows.X, self.columns.X = B, A
        self.rows.information, self.columns.information = more


def _side_information(
    objective: Observed,
    pattern: Attributes | None,
    attributes: Attributes | None,
    start: Array | None,
    rank: int,
) -> list[SideInformation]:
    """Return the side information: implicit features and attributes, with initial factors."""
    given: list[tuple[Attributes, float, Array]] = []
    if pattern is not None:
        counts = np.diff(pattern.tocsc().indptr)
        given.append((pattern, objective.implicit_features, np.maximum(counts, 1.0)))
    if attributes is not None:
        M = scipy.sparse.csr_array(attributes).astype(FLOAT32)
        # attributes are known for every row, so each counts as many entries as rows
        given.append((M, objective.attribute_weight, np.full(M.shape[1], float(M.shape[0]))))
    made: list[SideInformation] = []
    first = 0
    for M, weight, counts in given:
        C = np.zeros((M.shape[1], rank), FLOAT32)
        if start is not None:
            C[:] = start[:, first : first + len(C)].T
        first += len(C)
        ridge = objective.strength * counts**objective.count_exponent
        made.append(SideInformation(M=M, C=C, weight=weight, ridge=ridge))
    return made


def _squares(X: Array) -> Array:
    return np.einsum("ij,ij->i", X, X, dtype=FLOAT64)
