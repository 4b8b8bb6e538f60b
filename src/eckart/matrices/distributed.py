"""Matrices whose rows lie in parts on the workers of a Dask cluster, and never come here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol, TypeVar, final
from uuid import uuid4

import numpy as np

from eckart.arrays import Array, DType
from eckart.backends import HOST
from eckart.cluster.connection import Cluster
from eckart.cluster.sender import sending
from eckart.cluster.tree import Segment, cut, spread
from eckart.cluster.watcher import there
from eckart.cluster.work import Held, retried, summed
from eckart.errors import MatrixError
from eckart.matrices.dense import Dense
from eckart.matrices.derived import check_shape
from eckart.matrices.moments import tall_rows
from eckart.matrices.protocol import Matrix, Products, plus
from eckart.matrices.streamed import RowSource, Streamed
from eckart.progress import Report, silent

T = TypeVar("T")
GRAM_COLUMNS: Final = 2048
"""Largest number of columns for which the first pass over a streamed matrix forms WᵀW."""
PART_MEMORY: Final = 2**28
"""Bytes of the buffers of a part that is read in every pass."""
CLIENT_MEMORY: Final = 2**32
"""Bytes that thin arrays may take here."""
MOST_GATHERED: Final = 2**27
"""Bytes of a product with as many rows as W that may come here."""


class PartedRows(Protocol):
    """Rows of numbers of which any part can be opened, in any process."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        ...

    @property
    def dtype(self) -> DType:
        """Dtype of the rows as they are read, float32 or float64."""
        ...

    def part(self, first: int, last: int, turn: str = "") -> RowSource:
        """The rows from one place up to another, in a pass of some name."""
        ...

    def placed(self, send: Any, segment: Segment, at: str) -> Any:
        """A task that reads a segment into the memory of a worker."""
        ...


@final
class Distributed(Products):
    """Rows that lie on a Dask cluster as a `Matrix`.

    A pass is a function of rows whose results add: every worker takes it over its own rows, and the
    results are added in a tree that depends on the matrix alone. Only arrays as wide as W travel.
    The rows are held by the workers if they take at most half of their memory; else they are read
    again in every pass.

    Args:
        rows: The rows.
        cluster: The cluster.
        held: Whether the rows are held; None decides by the memory of the workers.
        report: Called for each finished part of a pass.

    Raises:
        MatrixError: If there are no rows or columns.
    """

    def __init__(
        self,
        rows: PartedRows,
        cluster: Cluster,
        *,
        held: bool | None = None,
        report: Report = silent,
    ) -> None:
        height, columns = self.shape = check_shape(rows.shape)
        self.rows, self.cluster, self.report = rows, cluster, report
        self.dtype, self.namespace = rows.dtype, HOST
        self.nbytes = height * columns * rows.dtype.itemsize
        self.is_streamed = self.is_in_parts = True
        self.passes, self.memory = 0, CLIENT_MEMORY
        self.segments = cut(height, self.nbytes, sum(cluster.threads.values()))
        self.rereads = not (cluster.holds(self.nbytes) if held is None else held)
        self._held = Held(cluster)

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return self.dtype.itemsize

    @property
    def is_squared(self) -> bool:
        """Whether the first pass forms WᵀW."""
        return self.shape[1] <= min(GRAM_COLUMNS, self.most_columns)

    @property
    def piece_rows(self) -> int:
        """Number of rows of a piece, but of the last one."""
        first = self.segments[0].edges
        return first[1] - first[0]

    @property
    def most_columns(self) -> int:
        """Number of columns for which WᵀW and its decomposition take under half of the memory."""
        return int((self.memory / 2 / 6 / 8) ** 0.5)

    def summed(self, over: Callable[..., T], *thin: Any, add: Callable[[T, T], T] = plus) -> T:
        """The sum of the results of a pass over the parts."""
        self.passes += 1

        def once() -> T:  # the rows of a worker that has died are read again by another one
            parts, owners = self._opened(f"{uuid4().hex}")
            pass_ = _Over(over)
            return summed(self.cluster, parts, self.segments, owners, pass_, thin, add, self.report)

        return retried(once)

    def first_rows(self, count: int) -> Array:
        """A few of the first rows."""
        with sending(self.cluster) as send:
            last = min(count, self.shape[0])
            return send.result(send.task(_read, self.rows.part(0, last)))

    def times(self, X: Array, /) -> Array:
        """W·X, of shape (rows, k), if it is small.

        Raises:
            MatrixError: If it has more than 128 MB.
        """
        self.check_gathered(X.shape[1])
        # in one order, in which a product is rounded in one way
        return self.summed(_times, np.ascontiguousarray(X, dtype=self.dtype), add=_below)

    def check_gathered(self, width: int) -> None:
        """Refuse a product with `width` columns that is too large to come here.

        Raises:
            MatrixError: If it is.
        """
        nbytes = self.shape[0] * width * self.dtype.itemsize
        if nbytes > MOST_GATHERED:
            raise MatrixError(
                f"B, of {self.shape[0]} rows, would take {nbytes / 1e6:.0f} MB here.",
                hint="Use the command `eckart factor` with a cluster: its workers write a .zarr.",
                code="too-large",
            )

    def transposed_times(self, Y: Array, /) -> NoReturn:
        """Refused: Y would have as many rows as W."""
        del Y
        self._refuse("A product with the transpose")

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Refused: the rows do not come here."""
        del rows
        self._refuse("A walk over the rows")

    def gram_times(self, X: Array, /) -> Array:
        """Wᵀ·(W·X), of shape (columns, k). One pass."""
        own = X.astype(self.dtype, copy=False)
        return self.summed(_gram_times, own).T.astype(self.dtype)

    def squared_norm(self) -> float:
        """‖W‖²_F, summed in float64 and kept."""
        if self._squared_norm is None:
            self._squared_norm = self.summed(_squared_norm)
        return self._squared_norm

    def close(self) -> None:
        """Release the rows that the workers hold."""
        self._held.close()

    def _opened(self, turn: str) -> tuple[list[Any], list[str]]:
        """What the rows of each segment are read from, and the worker that does it."""
        owners = spread(len(self.segments), list(there(self.cluster).items()))
        if self.rereads:
            parts = [
                _Source(self.rows.part(one.first, one.last, turn), one.first)
                for one in self.segments
            ]
            return parts, owners

        def place(send: Any, number: int, at: str) -> Any:
            return self.rows.placed(send, self.segments[number], at)

        return self._held.parts(self.segments, owners, place)

    def _refuse(self, what: str) -> NoReturn:
        raise MatrixError(
            f"{what} would bring a matrix here that lies on a cluster.",
            hint="Leave the solver out, or choose krylov.",
            code="on-a-cluster",
        )


@final
@dataclass(frozen=True, slots=True)
class _Source:
    """Rows of a segment that are read anew, and the place of the first one."""

    source: RowSource
    first: int


@final
@dataclass(frozen=True, slots=True)
class _Over:
    """A pass over one piece of a segment."""

    over: Callable[..., Any]

    def __call__(self, part: Any, first: int, last: int, *thin: Any) -> Any:
        if isinstance(part, _Source):
            rows: Any = part.source
            piece: Any = Streamed(
                rows.part(first - part.first, last - part.first), memory=PART_MEMORY
            )
        else:
            rows, start = part
            piece = Dense(rows[first - start : last - start])
        piece.first_row = first
        return self.over(piece, *thin)


def loaded(source: RowSource, first: int) -> tuple[Array, int]:
    """The rows of a segment in memory, and the place of the first one."""
    return _read(source), first


def _read(source: RowSource) -> Array:
    whole, start = np.empty(source.shape, source.dtype), 0
    reader = source.open()
    try:
        while start < len(whole):
            count = reader.read(whole[start:])
            if count <= 0:
                raise MatrixError(
                    f"The rows end {len(whole) - start} before they should.",
                    hint="Check that the input was written whole, and does not change.",
                    code="damaged-file",
                )
            start += count
    finally:
        reader.close()
    return whole


def _times(W: Matrix, X: Array) -> Array:
    return W.times(X)


def _below(one: Array, other: Array) -> Array:
    return np.concatenate([one, other])


def _gram_times(W: Matrix, X: Array) -> Array:
    total = np.zeros((X.shape[1], W.shape[1]))
    # tall blocks, since their sum in float64 takes as long as products with a few rows
    for block in W.row_blocks(tall_rows(W.shape[1])):
        total += (block @ X).T @ block
    return total


def _squared_norm(W: Matrix) -> float:
    return W.squared_norm()
