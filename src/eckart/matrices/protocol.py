"""W: what can be factored."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from eckart.arrays import Array, DType
from eckart.backends import Namespace


@runtime_checkable
class Matrix(Protocol):
    """A matrix of shape (rows, columns), known by its products and its blocks of rows.

    Rows are outputs, users or samples; columns are inputs, items or features. An implementation
    never changes after it was made.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        ...

    @property
    def dtype(self) -> DType:
        """float32 or float64: the dtype of the products and the blocks."""
        ...

    @property
    def namespace(self) -> Namespace:
        """Array module and device of the products and the blocks."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that W takes as it is stored (a sparse matrix: its entries and their indices)."""
        ...

    @property
    def passes(self) -> int:
        """How often W has been read from end to end so far."""
        ...

    def times(self, X: Array, /) -> Array:
        """W·X, of shape (rows, k), for X of shape (columns, k). One pass."""
        ...

    def transposed_times(self, Y: Array, /) -> Array:
        """Wᵀ·Y, of shape (columns, k), for Y of shape (rows, k). One pass."""
        ...

    def gram_times(self, X: Array, /) -> Array:
        """Wᵀ·(W·X), of shape (columns, k), for X of shape (columns, k)."""
        ...

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Dense blocks of consecutive rows, each `rows` high but the last. One pass.

        Without `rows` the matrix chooses a height that makes a block about two megabytes.
        """
        ...

    def squared_norm(self) -> float:
        """‖W‖²_F, summed in float64. At most one pass; remembered."""
        ...


BLOCK_BYTES = 2 * 2**20


def block_rows(columns: int) -> int:
    """How many rows of `columns` float64 numbers make a block of 2 MiB, which stays in the cache.

    Example:
        >>> block_rows(2048)
        128
    """
    return max(1, BLOCK_BYTES // (8 * max(1, columns)))


class View:
    """Shape, dtype, namespace, bytes and passes of a source.

    Args:
        source: W, of shape (rows, columns).
    """

    def __init__(self, source: Matrix) -> None:
        self.source = source

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.source.shape

    @property
    def dtype(self) -> DType:
        """That of W."""
        return self.source.dtype

    @property
    def namespace(self) -> Namespace:
        """That of W."""
        return self.source.namespace

    @property
    def nbytes(self) -> int:
        """Bytes of W."""
        return self.source.nbytes

    @property
    def passes(self) -> int:
        """How often W has been read."""
        return self.source.passes
