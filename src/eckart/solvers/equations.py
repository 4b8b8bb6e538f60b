"""The least squares problems of all rows (or all columns) while the other factor is held fixed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.matrices.entries import Compressed
from eckart.threads import in_threads

PIECES: Final = 32
"""Rows are cut into so many pieces of equal work, whatever the number of threads."""
BLOCK: Final = 4096
"""Rows whose products are summed at a time, so that a sum does not depend on the threads."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Equations:
    """Minimise Σ w·(t − ⟨D, x⟩)² + xᵀ(gram + ridge)x − 2⟨linear, x⟩ for the x of each row.

    Fields:
        order: The entries of each row.
        targets: t of each entry before what is held fixed is subtracted; of length 0 for ones.
        weights: w of each entry; of length 0 for ones.
        mean: Held fixed.
        offsets: Held fixed for each D: its own bias; of length 0 for zeros.
        table: Every D, of shape (others, width); the last number is 1 where rows have a bias.
        counts: How many entries name each D.
        gram: Array of shape (width, width), float32, the same for all rows.
        ridge: Array of shape (rows,), above 0.
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

    def pieces(self) -> list[tuple[int, int]]:
        """Ranges of rows with about equal work."""
        return cut(self.order.starts, per_row=self.table.shape[1] // 4)

    def typical_squares(self) -> Array:
        """The mean of D² over all entries, of shape (width,)."""
        share = self.counts / max(1, len(self.order.indices))
        sums = in_threads(
            lambda here: share[here] @ np.square(self.table[here], dtype=FLOAT64),
            blocks(len(self.table)),
        )
        return np.sum(sums, axis=0).astype(FLOAT32)

    def known(self) -> tuple[Any, ...]:
        """The first arguments of every kernel."""
        return (
            self.order.starts,
            self.order.indices,
            self.targets,
            self.weights,
            self.offsets,
            np.float32(self.mean),
            self.table,
        )


class RowSolver(Protocol):
    """A way to solve equations."""

    @property
    def rotates(self) -> bool:
        """Whether the factors may be turned so that `gram` is diagonal."""
        ...

    def solve(self, equations: Equations, X: Array, /) -> Array:
        """Improve X in place; the value of each row's sum of squares and penalties."""
        ...

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        ...


def cut(starts: npt.NDArray[np.int64], *, per_row: int) -> list[tuple[int, int]]:
    """Ranges of rows with about equal work: one for each entry and `per_row` for each row.

    Example:
        >>> cut(np.array([0, 10, 10, 20]), per_row=0)[-1]
        (2, 3)
    """
    rows = len(starts) - 1
    work = starts + np.arange(rows + 1) * per_row
    edges = np.searchsorted(work, np.linspace(0, work[-1], PIECES + 1))
    edges[0], edges[-1] = 0, rows
    return [(int(a), int(z)) for a, z in pairwise(edges) if z > a]


def blocks(rows: int) -> list[slice]:
    """Blocks of rows of a fixed size."""
    return [slice(start, start + BLOCK) for start in range(0, rows, BLOCK)]


def gram(X: Array) -> Array:
    """XᵀX in float64, summed over blocks of a fixed size: the same whatever the threads."""
    parts = in_threads(lambda here: X[here].T @ X[here], blocks(len(X)))
    return np.asarray(np.sum(parts, axis=0, dtype=FLOAT64))


def turn(tables: Sequence[Array], E: Array) -> None:
    """Multiply the leading columns of every table by E, in place."""
    width = E.shape[0]
    small = E.astype(FLOAT32)

    def turned(piece: tuple[Array, slice]) -> None:
        table, here = piece
        table[here, :width] = table[here, :width] @ small

    in_threads(turned, [(table, here) for table in tables for here in blocks(len(table))])


def run(equations: Equations, rows: int, kernel: Callable[[int, int, Array], object]) -> Array:
    """Run a kernel over pieces of the rows; what it left of each row's sum."""
    losses = np.zeros(rows, FLOAT64)
    in_threads(lambda piece: kernel(piece[0], piece[1], losses), equations.pieces())
    return losses
