"""Means, deviations and energy of the columns of a matrix, in one pass over its rows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array
from eckart.matrices.protocol import Matrix
from eckart.matrices.sketching import Sketching
from eckart.matrices.sparse import Sparse
from eckart.matrices.streamed import Streamed
from eckart.namespaces import HOST

FAR: Final = 100.0
"""Means whose squares are so many times the variances are subtracted before the products."""
BLOCK_ENTRIES: Final = 2**21
"""Of a block of rows that is worked on at once."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What one pass over the rows tells of the columns.

    Fields:
        means: Of the columns, in float64; zeros where they are not subtracted.
        scales: By which the columns are divided; None for none. A constant column has 1.
        energy: ‖(W − 1·meansᵀ)/scales‖²_F.
        gram: WᵀW of the same, where the pass made it.
        first: Orthonormal columns near the leading right singular vectors of the same, where the
            pass made a sketch.
        probed: WᵀW·Ω of the same for Gaussian Ω that nothing else is made of, where the pass did.
    """

    means: Array
    scales: Array | None
    energy: float
    gram: Array | None = None
    first: Array | None = None
    probed: Array | None = None


def scaled_gram(total: Array, scales: Array | None) -> Array:
    """WᵀW of columns that are divided by scales."""
    return total if scales is None else total / scales / scales[:, np.newaxis]


def moments_of(W: Matrix, *, centre: bool, scale: bool) -> Moments:
    """Of a matrix in memory, about its first row, in two small sums for each block."""
    rows, columns = W.shape
    sums, squares, energy = np.zeros(columns), np.zeros(columns), 0.0
    first = pivot_of(W) if centre or scale else np.zeros(columns)
    near = not first.any()
    pivot = first.astype(W.dtype)
    buffer = None if near else np.empty((min(rows, tall_rows(columns)), columns), W.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for native in W.row_blocks(tall_rows(columns)):
            block = W.namespace.get(native)
            if buffer is not None:
                block = np.subtract(block, pivot, out=buffer[: len(block)])
            sums += np.ones(len(block), W.dtype) @ block
            if scale:
                squares += np.einsum("ij,ij->j", block, block)
            energy += HOST.squares(block)
    return _finished(rows, pivot.astype(FLOAT64), sums, squares, energy, centre=centre, scale=scale)


def pivot_of(W: Matrix) -> Array:
    """A point near the rows where they are far from 0: the mean of the first; else 0."""
    return _far_means(W.namespace.get(next(iter(W.row_blocks(64)))))


def _far_means(rows: Array) -> Array:
    head = rows[:64].astype(FLOAT64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = head.mean(axis=0)
        spread = float(np.square(head - mean).sum())
        far = len(head) * float(np.square(mean).sum()) > FAR * spread
    return mean if far else np.zeros(len(mean))


def _finished(
    rows: int,
    pivot: Array,
    sums: Array,
    squares: Array,
    energy: float,
    *,
    centre: bool,
    scale: bool,
) -> Moments:
    """Moments from sums about a pivot."""
    offset = sums / rows  # of the means from the pivot
    means = pivot + offset
    scales = None
    if scale:
        around = np.maximum(squares - rows * np.square(offset), 0.0)
        scales = deviations(around, rows, means)
        about = around if centre else around + rows * np.square(means)
        energy = float((about / np.square(scales)).sum())
    elif centre:
        energy = max(0.0, energy - rows * float(np.square(offset).sum()))
    return Moments(means=means if centre else means * 0.0, scales=scales, energy=energy)


def deviations(around: Array, rows: int | Array, means: Array) -> Array:
    """Standard deviations from sums of squares about the means; 1 where a column is constant."""
    found = np.sqrt(around / np.maximum(1, rows - 1))
    constant = found <= 1e-12 * np.abs(means) + np.finfo(FLOAT64).tiny
    return np.where(constant, 1.0, found)


def sparse_moments(W: Sparse, *, centre: bool, scale: bool) -> Moments:
    """From the stored entries alone."""
    rows, columns = W.shape
    data: Array = W.stored.data.astype(FLOAT64, copy=False)
    counts = np.bincount(W.stored.indices, minlength=columns)
    means = np.bincount(W.stored.indices, weights=data, minlength=columns) / rows
    apart = np.square(data - means[W.stored.indices])
    around: Array = np.bincount(W.stored.indices, weights=apart, minlength=columns).astype(FLOAT64)
    around += (rows - counts) * np.square(means)
    scales = deviations(around, rows, means) if scale else None
    about = around if centre else around + rows * np.square(means)
    energy = math.fsum(about if scales is None else about / np.square(scales))
    return Moments(means=means if centre else means * 0.0, scales=scales, energy=energy)


def streamed_moments(
    W: Streamed, sketching: Sketching | None, *, centre: bool, scale: bool
) -> Moments:
    """Of a streamed matrix, with WᵀW or a sketch made in the same pass about a near point."""
    rows, columns = W.shape
    pivot, sums, squares, energy = (
        np.zeros(columns, W.dtype),
        np.zeros(columns),
        np.zeros(columns),
        0.0,
    )
    total = np.zeros((columns, columns) if sketching is None else (0, 0))
    with np.errstate(over="ignore", invalid="ignore"):
        for block in _about(W, pivot, moving=centre or scale):
            sums += np.ones(len(block), W.dtype) @ block
            if scale:
                squares += np.einsum("ij,ij->j", block, block)
            if sketching is None:
                total += block.T @ block
            else:
                sketching.add(block)
                energy += HOST.squares(block)
    if sketching is None:
        energy = float(np.trace(total))
    if not np.isfinite(energy):
        return Moments(means=sums, scales=None, energy=energy)
    away = pivot.astype(FLOAT64)
    found = _finished(rows, away, sums, squares, energy, centre=centre, scale=scale)
    shift = sums / rows if centre else -away  # from the point to the means, or to 0
    if sketching is None:
        total -= np.outer(sums, shift) + np.outer(shift, sums - rows * shift)
        return replace(found, gram=scaled_gram(total, found.scales))
    probed = sketching.probed(rows, sums, shift)
    return replace(found, first=sketching.first(shift, found.scales), probed=probed)


def _about(W: Streamed, pivot: Array, *, moving: bool) -> Iterator[Array]:
    """Blocks less a pivot, written into `pivot` where the first rows are far from 0."""
    far = False
    for place, block in enumerate(W.row_blocks()):
        if place == 0 and moving:
            pivot[:] = _far_means(block)
            far = bool(pivot.any())
        yield np.subtract(block, pivot, out=block) if far else block


def tall_rows(columns: int) -> int:
    """Rows of a block that is worth a product of its own: two million entries."""
    return max(64, BLOCK_ENTRIES // columns)
