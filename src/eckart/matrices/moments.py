"""Moments of the columns of a matrix, with WᵀW or a sketch, in one pass over its rows."""

import math
import sys
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array
from eckart.backends import HOST, sure_range
from eckart.errors import MatrixError
from eckart.matrices.protocol import Matrix, Products
from eckart.matrices.sketches import Compression
from eckart.matrices.sparse import Sparse
from eckart.matrices.streamed import Streamed

FIRST_ROWS: Final = 64
"""Number of first rows that tell whether means are far larger than the deviations."""
FAR_RATIO: Final = 100.0
"""Ratio of squared means to variances above which means are subtracted before the products."""
SUMMED_ROWS: Final = 1024
"""Number of rows over which squares are summed in the dtype of W; these sums add in float64."""
NEAR_FACTOR: Final = 1e6
"""Times the root of the smallest float64: about a larger mean, squares show a constant column."""
RANGE_SHARE: Final = 1e-6
"""Share of the range of the dtype left to sums of squares: products with probes are larger."""
BLOCK_ENTRIES: Final = 2**21
"""Number of entries in a block of rows that is processed at once."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Statistics of the columns from one pass over the rows.

    Fields:
        means: Means of the columns, in float64; zeros if they are not subtracted.
        scales: Numbers by which the columns are divided, 1 for a constant column; None for none.
        energy: ‖(W − 1·meansᵀ)/scales‖²_F.
        gram: Gram matrix of (W − 1·meansᵀ)/scales, if the pass computed it.
        first: Orthonormal columns near the leading right singular vectors of that matrix, if the
            pass made a sketch.
        probed: Its product WᵀW·Ω for a Gaussian Ω that is used for nothing else, if the pass
            computed it.
    """

    means: Array
    scales: Array | None
    energy: float
    gram: Array | None = None
    first: Array | None = None
    probed: Array | None = None


def scaled_gram(total: Array, scales: Array | None) -> Array:
    """Return WᵀW of the columns divided by `scales`."""
    return total if scales is None else total / scales / scales[:, np.newaxis]


def moments_of(W: Matrix, *, centre: bool, scale: bool) -> Moments:
    """Compute the moments of a matrix in memory, about the mean of its first rows."""
    rows, columns = W.shape
    sums, squares, energy = np.zeros(columns), np.zeros(columns), 0.0
    first = np.zeros(columns)
    if centre or scale:
        first = _far_means(W.namespace.get(next(iter(W.row_blocks(FIRST_ROWS)))))
    near = not first.any()
    # sums about a point near the rows keep the digits that a large mean would take
    pivot = first.astype(W.dtype)
    buffer = None if near else np.empty((min(rows, tall_rows(columns)), columns), W.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for native in W.row_blocks(tall_rows(columns)):
            block = W.namespace.get(native)
            if buffer is not None:
                block = np.subtract(block, pivot, out=buffer[: len(block)])
            sums += np.ones(len(block), W.dtype) @ block
            if scale:
                squares += column_squares(block)
            energy += HOST.squares(block)
    return _finish(rows, pivot.astype(FLOAT64), sums, squares, energy, centre=centre, scale=scale)


def _far_means(rows: Array) -> Array:
    """Means of the columns whose mean is far larger than their spread; 0 in the others."""
    head = rows[:FIRST_ROWS].astype(FLOAT64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = head.mean(axis=0)
        spread = np.square(head - mean).sum(axis=0)
        far = len(head) * np.square(mean) > FAR_RATIO * spread
    return np.where(far, mean, 0.0)


def column_squares(block: Array) -> Array:
    """Sum of squares of each column in float64, accurate whatever the scale of its entries.

    Example:
        >>> f"{column_squares(np.full((4, 1), 1e-30, np.float32))[0]:.0e}"
        '4e-60'
    """
    total, (low, high) = np.zeros(block.shape[1]), sure_range(block.dtype)
    for start in range(0, len(block), SUMMED_ROWS):
        piece = block[start : start + SUMMED_ROWS]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            sums = np.einsum("ij,ij->j", piece, piece).astype(FLOAT64, copy=False)
        unsure = ~((sums > low) & (sums < high))
        if unsure.any():
            again = piece[:, unsure].astype(FLOAT64)
            sums[unsure] = np.einsum("ij,ij->j", again, again)
        total += sums
    return total


def _finish(
    rows: int,
    pivot: Array,
    sums: Array,
    squares: Array,
    energy: float,
    *,
    centre: bool,
    scale: bool,
) -> Moments:
    """Compute the moments from sums about a pivot."""
    offset = sums / rows  # from the pivot to the means
    means = pivot + offset
    scales = None
    with np.errstate(over="ignore", invalid="ignore"):
        if scale:
            around = np.maximum(squares - rows * np.square(offset), 0.0)
            scales = deviations(around, rows, means)
            about = around if centre else around + rows * np.square(means)
            energy = float((about / np.square(scales)).sum())
        elif centre:
            left = energy - rows * float(np.square(offset).sum())
            energy = 0.0 if left < 0 else left  # not max: NaN must stay NaN
    return Moments(means=means if centre else means * 0.0, scales=scales, energy=energy)


def deviations(around: Array, rows: int | Array, means: Array) -> Array:
    """Standard deviations from sums of squares about the means; 1 where a column is constant.

    A column is constant if its deviation is within the rounding of its mean, at most 10⁻¹² of it.

    Raises:
        MatrixError: If a column is so small that its squares underflow to zero.
    """
    least = float(np.finfo(FLOAT64).tiny)
    lost = (around < rows * least) & (means != 0) & (np.abs(means) < NEAR_FACTOR * math.sqrt(least))
    if lost.any():
        place = int(np.argmax(lost))
        raise MatrixError(
            f"The entries of column {place} (counted from 0) are about {means[place]:.1e}, "
            "so that their squares leave the range of float64.",
            hint="Multiply the column by a power of ten that brings it near 1, or leave it out.",
            code="out-of-range",
        )
    # a single row has no deviation; 0/0 would be NaN
    found = np.sqrt(around / np.maximum(1, rows - 1))
    share = np.minimum(1e-12, rows * np.finfo(FLOAT64).eps)
    constant = found <= share * np.abs(means) + np.finfo(FLOAT64).tiny
    # divided by 1, a constant column stays constant
    return np.where(constant, 1.0, found)


def means_of_listed(columns: Any, values: Array, counts: Any, rows: Any) -> Array:
    """Mean of each column over `rows` rows, from the listed entries; all others are zero.

    The sum is repeated about the first result: a long sum of equal entries is not exactly their
    multiple, and its rounding would look like a deviation.

    Args:
        columns: Column of each entry.
        values: Value of each entry.
        counts: Number of listed entries of each column.
        rows: Number of entries, listed or not, over which the mean of each column is taken.
    """
    means = np.bincount(columns, weights=values, minlength=len(counts)) / rows
    left = np.bincount(columns, weights=values - means[columns], minlength=len(counts))
    return means + (left - (rows - counts) * means) / rows


def sparse_moments(W: Sparse, *, centre: bool, scale: bool) -> Moments:
    """Compute the moments of a sparse matrix from its stored entries alone."""
    rows, columns = W.shape
    data: Array = W.stored.data.astype(FLOAT64, copy=False)
    counts = np.bincount(W.stored.indices, minlength=columns)
    with np.errstate(over="ignore", invalid="ignore"):
        means = means_of_listed(W.stored.indices, data, counts, rows)
        apart = np.square(data - means[W.stored.indices])
        around = np.bincount(W.stored.indices, apart, minlength=columns).astype(FLOAT64)
        # the entries that are not stored are 0, each a mean away from the mean
        around += (rows - counts) * np.square(means)
        scales = deviations(around, rows, means) if scale else None
        about = around if centre else around + rows * np.square(means)
        energy = float(np.sum(about if scales is None else about / np.square(scales)))
    return Moments(means=means if centre else means * 0.0, scales=scales, energy=energy)


def streamed_moments(
    W: Products, sketch: Compression | None, width: int, *, centre: bool, scale: bool
) -> Moments:
    """Compute the moments of a streamed matrix, and WᵀW or a sketch, in one pass about a pivot.

    `width` is the number of directions that are wanted of the sketch.
    """
    rows, pivot = W.shape[0], None if centre or scale else np.zeros(W.shape[1], W.dtype)
    if pivot is None and W.is_in_parts:  # one pivot for all parts
        pivot = _far_means(W.first_rows(FIRST_ROWS)).astype(W.dtype)
    sums = W.summed(_sums, pivot, sketch, scale)
    if not np.isfinite(sums.energy):
        return Moments(means=sums.sums, scales=None, energy=sums.energy)
    away, drawn = sums.pivot.astype(FLOAT64), None if sketch is None else sketch.probes
    found = _finish(rows, away, sums.sums, sums.squares, sums.energy, centre=centre, scale=scale)
    shift = sums.sums / rows if centre else -away  # from the pivot to the means, or to 0
    if sums.sketch is not None:
        probed = sums.sketch.probed(rows, sums.sums, shift, drawn) if sums.is_sure else None
        sums.sketch.move(shift, found.scales)
        return replace(found, first=sums.sketch.directions(width), probed=probed)
    if not sums.is_sure:  # the caller computes WᵀW from blocks that are rescaled first
        return found
    # (X − 1·sᵀ)ᵀ(X − 1·sᵀ) for the blocks X less the pivot
    total = sums.total
    total -= np.outer(sums.sums, shift) + np.outer(shift, sums.sums - rows * shift)
    return replace(found, gram=scaled_gram(total, found.scales))


@final
@dataclass(slots=True, kw_only=True)
class _Sums:
    """Sums over rows about a pivot.

    Fields:
        pivot: The pivot, in the dtype of W.
        sums, squares: Sums of each column, and of its squares if columns are scaled.
        energy: Sum of all squares.
        total: WᵀW, if there is no sketch.
        sketch: The sketch.
        is_sure: Whether no square has left the range of the dtype.
    """

    pivot: Array
    sums: Array
    squares: Array
    energy: float
    total: Array
    sketch: Compression | None
    is_sure: bool

    def __sizeof__(self) -> int:
        """Bytes, by which Dask decides where the sums of several workers are added."""
        parts = (self.pivot, self.sums, self.squares, self.total, self.sketch)
        return sum(map(sys.getsizeof, parts))

    def __add__(self, later: "_Sums") -> "_Sums":
        return replace(
            self,
            sums=self.sums + later.sums,
            squares=self.squares + later.squares,
            energy=self.energy + later.energy,
            total=self.total + later.total,
            sketch=None
            if self.sketch is None or later.sketch is None
            else self.sketch + later.sketch,
            is_sure=self.is_sure and later.is_sure,
        )


def _sums(W: Matrix, pivot: Array | None, sketch: Compression | None, scale: bool) -> _Sums:
    """The sums over the rows of W or of a part of it; without a pivot, about that of its first."""
    columns, far = W.shape[1], pivot is not None and bool(pivot.any())
    sums, squares, energy, sure = np.zeros(columns), np.zeros(columns), 0.0, True
    total = np.zeros((columns, columns) if sketch is None else (0, 0))
    own_sketch = None if sketch is None else sketch.begun(getattr(W, "first_row", 0))
    low, high = sure_range(W.dtype)
    high *= RANGE_SHARE  # a product with probes is larger than the sum of squares
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for block in W.row_blocks():
            if pivot is None:
                pivot = _far_means(block).astype(W.dtype)
                far = bool(pivot.any())
            about = np.subtract(block, pivot, out=_writable(W, block)) if far else block
            sums += np.ones(len(about), W.dtype) @ about
            own = column_squares(about) if scale else None
            squares += 0.0 if own is None else own
            if own_sketch is None:
                product = about.T @ about
                total += product
                in_range = _is_in_range(product, own)
                energy += float(np.trace(product)) if in_range else HOST.squares(about)
                sure = sure and in_range
            else:
                own_sketch.add(about)
                added = HOST.squares(about)
                sure = sure and low < added < high
                energy += added
    return _Sums(
        pivot=np.zeros(columns, W.dtype) if pivot is None else pivot,
        sums=sums,
        squares=squares,
        energy=energy,
        total=total,
        sketch=None if own_sketch is None else own_sketch.ended(),
        is_sure=sure,
    )


def _writable(W: Matrix, block: Array) -> Array | None:
    """The block itself if it may be overwritten, so that no copy is made."""
    return block if isinstance(W, Streamed) else None


def _is_in_range(product: Array, squares: Array | None) -> bool:
    """Whether no square that matters has left the range of the dtype of a small product WᵀW.

    Every column matters if columns are divided by their deviations; `squares` is given then.
    """
    low, high = sure_range(product.dtype)
    if squares is None:
        return low < float(np.trace(product)) < high
    found = np.diagonal(product)
    return bool((((found > low) & (found < high)) | (squares == 0)).all())


def tall_rows(columns: int) -> int:
    """Number of rows of a block that is worth its own product: two million entries."""
    return max(64, BLOCK_ENTRIES // columns)
