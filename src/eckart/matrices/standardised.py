"""Matrices whose columns are centred and scaled in their products."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness, as_randomness
from eckart.backends import HOST, sure_range
from eckart.errors import MatrixError
from eckart.matrices.dense import Dense, as_matrix
from eckart.matrices.derived import check_entries, out_of_range
from eckart.matrices.distributed import GRAM_COLUMNS, Distributed
from eckart.matrices.moments import (
    FAR_RATIO,
    Moments,
    moments_of,
    scaled_gram,
    sparse_moments,
    streamed_moments,
    tall_rows,
)
from eckart.matrices.protocol import (
    Matrix,
    View,
    add_each,
    summed,
    summed_grams,
    transposed_by_blocks,
)
from eckart.matrices.sketches import (
    SUMS_IN_PARTS,
    SUMS_PER_DIRECTION,
    Compression,
    gaussian_probes,
)
from eckart.matrices.sparse import Sparse
from eckart.matrices.streamed import Streamed

SKETCH_MEMORY_SHARE: Final = 0.25
"""Share of the memory of a streamed W; it is freed before a subspace is built."""


@final
class Standardised(View):
    """(W − 1·meansᵀ)·diag(1/scales), never formed as a whole.

    Args:
        source: W, of shape (rows, columns).
        moments: Moments of W, as `measured` computes them.
        explicit: Whether every block is centred and scaled before it is multiplied.

    Cost:
        The cost of products with W. Except for a sparse W, `gram_times` is one pass over blocks of
        rows. Means far larger than the deviations are subtracted from each block, so that no digit
        is lost to them; others are subtracted from the small products.
    """

    def __init__(self, source: Matrix, moments: Moments, *, explicit: bool = False) -> None:
        super().__init__(source)
        self.moments = moments
        with np.errstate(over="ignore"):
            shift = moments.means if moments.scales is None else moments.means / moments.scales
            far = source.shape[0] * float(np.square(shift).sum())
        # whether a fused product walks over blocks: centred blocks of a sparse W would be dense
        self.is_by_blocks = not isinstance(source, Sparse) and source.namespace is HOST
        far_off = explicit or far > FAR_RATIO * moments.energy or self._are_wild()
        # blocks of a streamed matrix may be overwritten, so centring them costs no copy
        rereads = getattr(source, "rereads", isinstance(source, Streamed))
        self._explicit = rereads or (self.is_by_blocks and far_off)

    @cached_property
    def maker(self) -> Callable[[Matrix], "Standardised"]:
        """A function that forms the same matrix from part of the rows of the source."""
        bare = replace(self.moments, gram=None, first=None, probed=None)
        return partial(Standardised, moments=bare, explicit=self._explicit)

    def times(self, X: Array, /) -> Array:
        """The product of this matrix with X, of shape (rows, k)."""
        if self._explicit:
            return np.concatenate([block @ self._put(X) for block in self._buffered()])
        return self.source.times(self._scale(X)) - self._offset(X)

    def transposed_times(self, Y: Array, /) -> Array:
        """The product of its transpose with Y, of shape (columns, k)."""
        if self._explicit:
            return transposed_by_blocks(self, self._buffered(), Y)
        ones = self._put(np.ones((1, len(Y))))
        product = self.source.transposed_times(Y) - self._put(self._means()).T @ (ones @ Y)
        return self._divide(product)

    def gram_times(self, X: Array, /) -> Array:
        """The product of its Gram matrix with X, of shape (columns, k)."""
        return self.gram_products(X, 0)[0] if self.is_by_blocks else super().gram_times(X)

    def gram_products(self, X: Array, count: int) -> tuple[Array, Array]:
        """Do the work of the function `gram_products` in one pass over blocks of rows."""
        total, sums, inner = self.summed(_product_sums, X, count, add=add_each)
        if self._explicit:
            return total.T.astype(self.dtype), inner
        total -= sums[:, np.newaxis] * self._means()
        return self._divide(total.T).astype(self.dtype), inner

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over centred and scaled blocks; a streamed one is valid until the next only."""
        if isinstance(self.source, Streamed):
            for block in self.source.row_blocks(rows):
                yield self._standardise(block, block)
            return
        for block in self.source.row_blocks(rows or tall_rows(self.shape[1])):
            yield self._standardise(block, None)

    def _buffered(self) -> Iterator[Array]:
        """Iterate over the blocks in one buffer: each is valid only until the next."""
        if isinstance(self.source, Streamed):
            yield from self.row_blocks()
            return
        height = tall_rows(self.shape[1])
        buffer = np.empty((min(height, self.shape[0]), self.shape[1]), self.dtype)
        for block in self.source.row_blocks(height):
            yield self._standardise(block, buffer[: len(block)])

    def _standardise(self, block: Array, out: Array | None) -> Array:
        """Centre and scale a block; in float64 if the scales leave the range of its dtype."""
        scales = self.moments.scales
        if scales is not None and self._leaves_range():
            moved = self._put((block - self.moments.means) / scales)
            if out is None:
                return moved
            out[:] = moved
            return out
        moved = np.subtract(block, self._put(self._means()), out=out)
        if scales is not None:
            moved *= self._put(1 / scales[np.newaxis])
        return moved

    def gram_of(self, X: Array, /) -> Array:
        """Xᵀ·Wᵀ·W·X in float64, of shape (k, k): half the operations of `gram_times`. One pass."""
        if not self.is_by_blocks:
            Y = self.times(X)
            return self.namespace.gram(Y, Y)
        return self.summed(_inner_sums, X)

    def products_by_blocks(self, X: Array) -> Iterator[tuple[Array, Array]]:
        """Iterate over blocks of W (centred and scaled if means are far) and of the product."""
        if self._explicit:
            own = self._put(X)
            yield from ((block, block @ own) for block in self._buffered())
            return
        # the mean is subtracted from the thin product, not from W
        narrow, offset = np.asfortranarray(self._scale(X)), self._offset(X)
        for block in self.source.row_blocks(tall_rows(self.shape[1])):
            Y = block @ narrow
            Y -= offset
            yield block, Y

    def rescaled(self, exponent: int) -> "Standardised":
        """Return 2^exponent times this matrix."""
        moments, factor = self.moments, 2.0**exponent
        # a division by scale/2^exponent multiplies by 2^exponent
        scales = np.ones(self.shape[1]) if moments.scales is None else moments.scales
        changed = replace(
            moments,
            scales=scales / factor,
            energy=moments.energy * factor * factor,
            gram=None if moments.gram is None else moments.gram * factor * factor,
            probed=None if moments.probed is None else moments.probed * factor * factor,
        )
        return Standardised(self.source, changed, explicit=True)

    @property
    def has_rows(self) -> bool:
        """Whether rows can be picked at random, because W is in the memory of the host."""
        return isinstance(self.source, Sparse | Dense) and self.namespace is HOST

    def few_rows(self, count: int, randomness: Randomness) -> "Standardised":
        """Return `count` rows, one at random from each stretch of rows, as a matrix of their own.

        It works only if `has_rows` is true.
        """
        rows = self.shape[0]
        edges = np.arange(count + 1) * rows // count
        # one of each stretch, so that rows in an order, such as time, are sampled evenly
        chosen = edges[:-1] + (randomness.random(count) * np.diff(edges)).astype(np.intp)
        source: Any = self.source
        matrix: Matrix = (
            Sparse(source.stored[chosen])
            if isinstance(source, Sparse)
            else Dense(source.array[chosen])
        )
        moments = replace(self.moments, energy=self.moments.energy * count / rows)
        if moments.means.any():  # the small products rely on the means of the rows themselves
            sums = matrix.transposed_times(np.ones((count, 1), self.dtype))
            moments = replace(moments, means=sums[:, 0].astype(FLOAT64) / count)
        return Standardised(matrix, moments)

    def covariance(self, height: int | None = None) -> Array:
        """The Gram matrix, summed over blocks in float64. One pass."""
        means, scales = self.moments.means, self.moments.scales
        total = self.summed(_grams_of_blocks, height)
        if self._explicit:
            return total
        # (W − 1·mᵀ)ᵀ(W − 1·mᵀ) = WᵀW − rows·m·mᵀ
        total -= self.shape[0] * np.outer(means, means)
        return scaled_gram(total, scales)

    def blocks_for_gram(self, height: int | None) -> Iterator[Array]:
        """Blocks whose Gram matrices add up to the sum that `covariance` finishes."""
        if self._explicit:
            return self._buffered()
        return self.source.row_blocks(height or tall_rows(self.shape[1]))

    def squared_norm(self) -> float:
        """The energy from the moments: ‖(W − 1·meansᵀ)/scales‖²_F."""
        return self.moments.energy

    @property
    def is_finite(self) -> bool:
        """Whether the sums over the entries are finite."""
        moments = self.moments
        return bool(np.isfinite(moments.energy) and np.isfinite(moments.means).all())

    def check(self) -> None:
        """Refuse a matrix whose sums are not finite.

        Raises:
            MatrixError: If a sum is not finite (an entry that causes it is named), or the entries
                are so small that their squares underflow.
        """
        if not self.is_finite:
            check_entries(self.source)
            raise out_of_range(self._largest())
        least = float(np.finfo(FLOAT64).tiny)  # squares are summed in float64
        if self.moments.energy > math.prod(self.shape) * least:
            return
        largest = self._largest()  # constant columns have no energy either, and are sound
        if 0 < largest < math.sqrt(least / float(np.finfo(FLOAT64).eps)):
            raise out_of_range(largest)

    def _largest(self) -> float:
        """The largest absolute value of an entry of W. One pass."""
        return summed(self.source, _largest, add=max)

    def _are_wild(self) -> bool:
        """Whether squares of entries leave the range of the dtype before columns are scaled."""
        scales = self.moments.scales
        if scales is None:
            return False
        (low, high), squares = sure_range(self.dtype), np.square(scales)
        return bool(squares.min() < low or squares.max() * self.shape[0] > high)

    def _leaves_range(self) -> bool:
        """Whether 1/scale of a column overflows the dtype."""
        scales = self.moments.scales
        return scales is not None and bool(1 / scales.min() > np.finfo(self.dtype).max)

    def _means(self) -> Array:
        return self.moments.means[np.newaxis]

    def _put(self, X: Array) -> Array:
        return self.namespace.put(X, self.dtype)

    def _scale(self, X: Array) -> Array:
        """diag(1/scales)·X."""
        return self._divide(self._put(X))

    def _divide(self, X: Array) -> Array:
        scales = self.moments.scales
        if self._leaves_range():
            raise MatrixError(
                f"The entries are too small for products in {self.dtype}.",
                hint="Convert the matrix to float64.",
                code="out-of-range",
            )
        return X if scales is None else X / self._put(scales[:, np.newaxis])

    def _offset(self, X: Array) -> Array:
        """meansᵀ·diag(1/scales)·X, which is subtracted from every row of the product."""
        return self._put(self._means()) @ self._scale(X)


def standardised(
    W: object,
    /,
    *,
    centre: bool = True,
    scale: bool = False,
    width: int = 0,
    seed: Any = None,
    whole: bool = True,
) -> Standardised:
    """Subtract the means of the columns of W, and divide the columns by their deviations.

    Args:
        W: Matrix, or anything that `as_matrix` reads.
        centre: Whether to subtract the means.
        scale: Whether to divide by the standard deviations of a sample (ddof 1); a constant column
            is not divided.
        width: Number of leading directions to find in the pass over a streamed W that is too wide
            for WᵀW.
        seed: A `numpy.random.Generator` for these directions.
        whole: False finds the directions even if W is not too wide.

    Raises:
        MatrixError: If W is no matrix of finite numbers.

    Cost:
        One pass.

    Example:
        >>> W = standardised([[1.0, 5.0], [3.0, 5.0]], scale=True)
        >>> W.moments.means.tolist(), W.moments.scales.round(6).tolist(), round(W.squared_norm(), 9)
        ([2.0, 5.0], [1.414214, 1.0], 1.0)
    """
    found = measured(as_matrix(W), centre=centre, scale=scale, width=width, seed=seed, whole=whole)
    found.check()
    return found


def measured(
    matrix: Matrix,
    *,
    centre: bool,
    scale: bool,
    width: int = 0,
    seed: Any = None,
    whole: bool = True,
) -> Standardised:
    """Do the work of `standardised` without the check that the entries are finite."""
    if isinstance(matrix, Streamed | Distributed):
        wide = matrix.shape[1] > min(GRAM_COLUMNS, matrix.most_columns)
        beside = _compression(matrix, width, seed, scale=scale) if wide or not whole else None
        found = streamed_moments(matrix, beside, width, centre=centre, scale=scale)
        if beside is None and found.gram is None and 0 < found.energy < math.inf:
            # squares leave the range of the dtype, so that blocks are rescaled to near 1 first
            exponent = -int(np.frexp(math.sqrt(found.energy))[1])
            near_one = Standardised(matrix, found).rescaled(exponent).covariance()
            # squares of 2^exponent·W are 4^exponent times as large
            found = replace(found, gram=near_one * 4.0**-exponent)
    elif isinstance(matrix, Sparse):
        found = sparse_moments(matrix, centre=centre, scale=scale)
    else:
        found = moments_of(matrix, centre=centre, scale=scale)
    return Standardised(matrix, found)


def _product_sums(W: Standardised, X: Array, count: int) -> tuple[Array, Array, Array]:
    """(W·X)ᵀ·W of the blocks as they are, sums of the columns of W·X, and (W·X₁)ᵀ(W·X₁)."""
    total, sums = np.zeros((X.shape[1], W.shape[1])), np.zeros(X.shape[1])
    inner = np.zeros((count, count))
    for block, Y in W.products_by_blocks(X):
        total += Y.T @ block
        sums += Y.sum(axis=0, dtype=FLOAT64)
        inner += HOST.gram(Y[:, :count], Y[:, :count])
    return total, sums, inner


def _inner_sums(W: Standardised, X: Array) -> Array:
    total = np.zeros((X.shape[1], X.shape[1]))
    for _, Y in W.products_by_blocks(X):
        total += Y.T @ Y
    return total


def _grams_of_blocks(W: Standardised, height: int | None) -> Array:
    return summed_grams(W, W.blocks_for_gram(height))


def _largest(W: Matrix) -> float:
    """The largest absolute value of an entry."""
    return max(float(np.abs(W.namespace.get(block)).max()) for block in W.row_blocks())


def _compression(W: Any, width: int, seed: Any, *, scale: bool) -> Compression:
    """Return a sketch that fits its share of the memory; no probes if deviations are unknown."""
    rows, columns = W.shape
    most = int(SKETCH_MEMORY_SHARE * W.memory) // (columns * W.dtype.itemsize)
    sums = SUMS_IN_PARTS if W.is_in_parts else SUMS_PER_DIRECTION
    probes = None if scale else gaussian_probes(columns, W.dtype)
    key = int.from_bytes(as_randomness(seed).bytes(8))
    height = min(sums * width, most)
    return Compression(rows, columns, height, W.dtype, key, probes).bare()
