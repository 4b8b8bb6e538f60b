"""Solving rows on a Dask cluster: each worker holds the entries of some rows, and solves those."""

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np

from eckart.arrays import Array
from eckart.cluster import Held, connected, mapped, retried, spread, there
from eckart.completion.base import cut, same
from eckart.completion.entries import NONE, Compressed
from eckart.completion.sweeps import NormalEquations, RowSolver

PARTS_PER_THREAD: Final = 4
"""Parts of the rows for each thread of the workers, so that none waits long for the last."""


@contextmanager
def rows_on(cluster: object) -> Generator[Callable[[RowSolver], RowSolver], None, None]:
    """A function that takes a solver of rows to one on a cluster, or to itself if there is none.

    Args:
        cluster: As in `factorize`; None solves the rows here.

    Raises:
        ClusterError: If there is no such cluster.
    """
    if cluster is None:
        yield same
        return
    with connected(cluster) as found, closing(Held(found)) as held:
        yield lambda by: RowsOnCluster(by=by, held=held)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RowsOnCluster(RowSolver):
    """A solver of rows whose work is done by the workers of a cluster.

    The entries of a part of the rows go to a worker once, and again if it dies. In each half of a
    sweep the table of the other side goes to every worker, and the solved rows come back. Every row
    is a problem of its own, so the result has the bits of one machine, on any number of workers.

    Fields:
        by: Solver of the rows.
        held: What the workers hold.

    Cost:
        In each half of a sweep 4·(workers·others + 2·rows)·width bytes are moved. The entries are
        here, at the scheduler and on the workers: in each of them 8 to 12 bytes for each, twice.
    """

    name: ClassVar[str] = "rows on a cluster"

    by: RowSolver
    held: Held

    @property
    def rotates(self) -> bool:
        """Whether the solver of the rows allows it."""
        return self.by.rotates

    def settings(self) -> dict[str, Any]:
        """Those of the solver of the rows: where it works changes nothing in the result."""
        return self.by.settings()

    def solve(self, equations: NormalEquations, X: Array, /) -> Array:
        """Improve X in place; return the value of the objective of each row."""
        return self.solve_rows(equations, X, self.by.shared(equations))

    def solve_rows(
        self, equations: NormalEquations, X: Array, shared: tuple[Array, ...], /
    ) -> Array:
        """Do the work of `solve` with what the solver of the rows shares."""
        cluster, starts = self.held.cluster, equations.order.starts
        count = PARTS_PER_THREAD * sum(cluster.threads.values())
        pieces = cut(starts, per_row=equations.table.shape[1] // 4, pieces=count)
        own = [(X[a:z], equations.ridge[a:z], _some(equations.linear, a, z)) for a, z in pieces]
        thin = (self.by, equations.table, equations.offsets, equations.mean, *shared)

        def place(send: Any, number: int, at: str) -> Any:
            return send.part(_Rows, *_entries(equations, *pieces[number]), at=at)

        def once() -> list[tuple[Array, Array]]:
            owners = spread(len(pieces), list(there(cluster).items()))
            parts, holders = self.held.parts(equations.order, owners, place)
            each = [(part, *some) for part, some in zip(parts, own, strict=True)]
            return mapped(cluster, holders, _solved, each, thin)

        losses = np.empty(len(X))
        for (a, z), (solved, found) in zip(pieces, retried(once), strict=True):
            X[a:z], losses[a:z] = solved, found
        return losses


@final
class _Rows:
    """The entries of some rows, in the memory of a worker."""

    def __init__(self, starts: Any, indices: Any, targets: Array, weights: Array) -> None:
        starts, indices, self.targets, self.weights = map(_own, (starts, indices, targets, weights))
        self.order = Compressed(starts=starts, indices=indices, values=NONE, weights=NONE)

    def __sizeof__(self) -> int:
        return self.order.nbytes + self.targets.nbytes + self.weights.nbytes


def _entries(equations: NormalEquations, a: int, z: int) -> tuple[Any, Any, Array, Array]:
    """The entries of the rows from one place up to another."""
    order = equations.order
    first, last = int(order.starts[a]), int(order.starts[z])
    return (
        order.starts[a : z + 1] - first,
        order.indices[first:last],
        _some(equations.targets, first, last),
        _some(equations.weights, first, last),
    )


def _some(array: Array, first: int, last: int) -> Array:
    """A part of an array, if there is one: of length 0 it stands for a number."""
    return array[first:last] if len(array) else array


def _own(array: Any) -> Any:
    """An array that a kernel may read and write: what arrives may allow neither."""
    return np.require(array, requirements=["C", "A", "W"])


def _solved(
    rows: _Rows,
    X: Array,
    ridge: Array,
    linear: Array,
    by: RowSolver,
    table: Array,
    offsets: Array,
    mean: float,
    *shared: Array,
) -> tuple[Array, Array]:
    """Solve some rows; return them, and the value of the objective of each."""
    equations = NormalEquations(
        order=rows.order,
        targets=rows.targets,
        weights=rows.weights,
        mean=mean,
        offsets=_own(offsets),
        table=_own(table),
        counts=np.zeros(0, np.int64),  # what they are for is in `shared`
        gram=np.zeros((0, 0), np.float32),
        ridge=_own(ridge),
        linear=_own(linear),
    )
    solved = np.array(X)
    return solved, by.solve_rows(equations, solved, tuple(map(_own, shared)))
