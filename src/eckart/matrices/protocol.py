"""The protocol of matrices that can be factored."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from eckart.arrays import Array, DType
from eckart.backends import Namespace

T = TypeVar("T")


def plus(one: Any, other: Any) -> Any:
    """The sum of two results of a pass."""
    return one + other


@runtime_checkable
class Matrix(Protocol):
    """A matrix of shape (rows, columns), known by its products and its blocks of rows.

    Rows are outputs, users or samples; columns are inputs, items or features. An implementation
    does not change after its construction.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        ...

    @property
    def dtype(self) -> DType:
        """Dtype of the products and the blocks, float32 or float64."""
        ...

    @property
    def namespace(self) -> Namespace:
        """Array module and device of the products and the blocks."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of W as it is stored (for a sparse matrix, of its entries and their indices)."""
        ...

    @property
    def passes(self) -> int:
        """Number of times W was read from end to end so far."""
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
        """Iterate over dense blocks of `rows` consecutive rows; the last may be lower. One pass.

        By default the matrix chooses a height at which a block takes about two megabytes.
        """
        ...

    def squared_norm(self) -> float:
        """‖W‖²_F, summed in float64. At most one pass; the result is kept."""
        ...


BLOCK_BYTES = 2 * 2**20
"""Bytes of a block of rows: 2 MiB stay in the cache of a core."""


def block_rows(columns: int) -> int:
    """Number of rows of `columns` float64 numbers in a block of 2 MiB, which stays in the cache."""
    return max(1, BLOCK_BYTES // (8 * max(1, columns)))


class Products(ABC):
    """Base of a matrix: what follows from its products and its blocks of rows.

    Fields:
        shape: Shape (rows, columns).
        dtype: Dtype of the products and the blocks, float32 or float64.
        namespace: Array module and device of the products and the blocks.
        nbytes: Bytes of W as it is stored.
        first_row: Place of the first row, if this is a part of the rows of a matrix.
        is_streamed: Whether a pass takes long, since rows are read from files or lie on a cluster.
        is_in_parts: Whether the rows lie in parts on a cluster: nothing here has them all.
    """

    shape: tuple[int, int]
    dtype: DType
    namespace: Namespace
    nbytes: int
    first_row: int = 0
    is_streamed: bool = False
    is_in_parts: bool = False
    _squared_norm: float | None = None

    @abstractmethod
    def times(self, X: Array, /) -> Array:
        """The product with X, of shape (rows, k)."""

    @abstractmethod
    def transposed_times(self, Y: Array, /) -> Array:
        """The product of the transpose with Y, of shape (columns, k)."""

    @abstractmethod
    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over dense blocks of consecutive rows."""

    def gram_times(self, X: Array, /) -> Array:
        """The product of the Gram matrix with X, of shape (columns, k). Two passes."""
        return self.transposed_times(self.times(X))

    def summed(self, over: Callable[..., T], *thin: Any, add: Callable[[T, T], T] = plus) -> T:
        """The result of a pass over the rows: of the whole, or the sum of those of its parts.

        Args:
            over: Function of a matrix and of what `thin` holds; what it returns can be added, in
                the order of the rows, which changes neither. It may be called in another process.
            thin: Arrays, and anything else, that every part needs.
            add: What adds two results.
        """
        del add  # there is one part
        return over(self, *thin)

    def first_rows(self, count: int) -> Array:
        """A few of the first rows, in the memory of the host."""
        return self.namespace.get(next(iter(self.row_blocks(count))))

    def squared_norm(self) -> float:
        """The squared Frobenius norm, summed in float64 and kept."""
        if self._squared_norm is None:
            squares = (self.namespace.squares(block) for block in self.row_blocks())
            # fsum, so that thousands of blocks add no rounding error
            self._squared_norm = math.fsum(squares)
        return self._squared_norm

    def __matmul__(self, X: Array) -> Array:
        return self.times(X)


class View(Products):
    """Base of a matrix that is formed from another only in its products.

    Shape, dtype, namespace, bytes and passes are those of the other.

    Args:
        source: W, of shape (rows, columns).
    """

    def __init__(self, source: Matrix) -> None:
        self.source = source
        self.shape, self.dtype = source.shape, source.dtype
        self.namespace, self.nbytes = source.namespace, source.nbytes
        self.is_streamed = is_streamed(source)
        self.is_in_parts = getattr(source, "is_in_parts", False)

    @cached_property
    def maker(self) -> Callable[[Matrix], "View"]:
        """A function that forms the same matrix from part of the rows of the source."""
        raise NotImplementedError(f"{type(self).__name__} is not formed in parts")

    def summed(self, over: Callable[..., T], *thin: Any, add: Callable[[T, T], T] = plus) -> T:
        """The result of a pass: that of the source, from whose parts those of this are formed."""
        if not self.is_in_parts:
            return over(self, *thin)
        source: Any = self.source
        return source.summed(_through, self.maker, over, *thin, add=add)

    @property
    def passes(self) -> int:
        """Number of passes over W so far."""
        return self.source.passes


def _through(
    part: Matrix, maker: Callable[[Matrix], View], over: Callable[..., T], *thin: Any
) -> T:
    return over(maker(part), *thin)


def is_streamed(W: Matrix) -> bool:
    """Whether a pass over W takes long, since rows are read from files or lie on a cluster."""
    return getattr(W, "is_streamed", False)


def summed(W: Matrix, over: Callable[..., T], *thin: Any, add: Callable[[T, T], T] = plus) -> T:
    """`Products.summed` of a matrix of any kind."""
    return W.summed(over, *thin, add=add) if isinstance(W, Products) else over(W, *thin)


def transposed_by_blocks(W: Matrix, blocks: Iterable[Array], Y: Array) -> Array:
    """Wᵀ·Y in memory, from blocks of rows: products in the dtype of W, their sum in float64."""
    total, start = np.zeros((Y.shape[1], W.shape[1])), 0
    for block in blocks:
        total += Y[start : start + len(block)].astype(W.dtype, copy=False).T @ block
        start += len(block)
    return total.T.astype(W.dtype)


def summed_grams(W: Matrix, blocks: Iterable[Array]) -> Array:
    """Σ XᵀX over blocks X of rows: each product in the dtype of W, the sum in float64."""
    total = np.zeros((W.shape[1], W.shape[1]))
    for block in blocks:
        total += W.namespace.get(block.T @ block)
    return total


def add_each(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    """Add two results of a pass part by part."""
    return tuple(x + y for x, y in zip(one, other, strict=True))
