"""The known entries of a table with gaps, centred and scaled by what is known of each column."""

import math
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.errors import MatrixError
from eckart.lapack import scaled
from eckart.matrices import Entries, Matrix, Streamed
from eckart.matrices.derived import check_entries, out_of_range
from eckart.matrices.entries import NONE, Compressed
from eckart.matrices.moments import deviations, means_of_listed

DECADES: Final = 151
"""The largest entry is between 10^−n and 10^n, so that sums of squares stay in range."""
PER_ENTRY: Final = 32
"""Bytes for each known entry: its place and value in both orders, and while it is centred."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The entries of a table that are there.

    Fields:
        entries: The values, less the means and divided by the scales and the unit.
        unit: The power of two that brings the values near 1, so that what is found does not depend
            on their size.
        means: Of what is known of each column, in float64; zeros where they are not subtracted.
        scales: Standard deviations of the same, or None.
        missing: How many entries are not there.
    """

    entries: Entries
    unit: float
    means: Array
    scales: Array | None
    missing: int

    def sentence(self) -> str:
        """How many entries are missing."""
        return missing_sentence(self.missing, self.missing + len(self.entries))


def missing_sentence(missing: int, total: int) -> str:
    """How many entries are missing, for a person.

    Example:
        >>> missing_sentence(1, 4)
        '1 of 4 entries (25.0%) is missing and was factored around.'
    """
    verb = "are missing and were" if missing > 1 else "is missing and was"
    return f"{missing:,} of {total:,} entries ({missing / total:.1%}) {verb} factored around."


def known_entries(
    W: Matrix, *, centre: bool, scale: bool, names: tuple[str, ...] | None = None
) -> Known:
    """What is known of a table whose missing entries are NaN.

    Args:
        W: Of shape (rows, columns).
        centre: Whether to subtract the means of the columns.
        scale: Whether to divide the columns by their standard deviations.
        names: Of the columns, for the message.

    Raises:
        MatrixError: If an entry is infinite, a column has none that is known, squares leave the
            range of float64, or what is known does not fit the memory that W may take.

    Cost:
        One pass; 32 bytes for each known entry.
    """
    order = _by_rows(W)
    columns = W.shape[1]
    counts = np.bincount(order.indices, minlength=columns)
    if not counts.all():
        place = int(np.argmin(counts))
        which = f"Column {place} (counted from 0)" if names is None else f"Column '{names[place]}'"
        raise MatrixError(
            f"{which} has no entry that is known.",
            hint="Leave it out.",
            code="empty-column",
        )
    largest = float(np.abs(order.values).max())
    if largest > 0 and abs(math.log10(largest)) > DECADES:
        raise out_of_range(largest)
    means = means_of_listed(order.indices, order.values, counts, counts)
    around = order.values - means[order.indices]
    squares = np.bincount(order.indices, weights=np.square(around), minlength=columns)
    scales = deviations(squares.astype(FLOAT64), counts.astype(FLOAT64), means) if scale else None
    values = around if centre else order.values.astype(FLOAT64)
    if scales is not None:
        values /= scales[order.indices]
    unit = _unit(values)
    order = replace(order, values=(values / unit).astype(FLOAT32))
    return Known(
        entries=Entries(shape=W.shape, by_rows=order),
        unit=unit,
        means=means if centre else means * 0.0,
        scales=scales,
        missing=W.shape[0] * columns - len(order.values),
    )


def _unit(values: Array) -> float:
    """The power of two next above the root of the mean square; 1 where all are zero."""
    near_one, exponent = scaled(values)
    size = math.sqrt(float(np.mean(np.square(near_one))))
    return 2.0 ** (exponent + int(np.frexp(size)[1]))


def _by_rows(W: Matrix) -> Compressed:
    """The entries that are no NaN, in the order of rows."""
    counts: list[Any] = []
    indices: list[Any] = []
    values: list[Any] = []
    found = 0
    for native in W.row_blocks():
        block = W.namespace.get(native)
        known = ~np.isnan(block)
        if not np.isfinite(np.where(known, block, 0)).all():
            check_entries(W)
        counts.append(known.sum(axis=1))
        indices.append(np.nonzero(known)[1].astype(np.int32))
        values.append(block[known])
        found += len(indices[-1])
        if isinstance(W, Streamed) and PER_ENTRY * found > W.memory:
            needed = PER_ENTRY * found * W.shape[0] / sum(map(len, counts))
            raise MatrixError(
                "What is known of a table with gaps is held in memory, which takes "
                f"{needed / 1e6:.0f} MB here; {W.memory / 1e6:.0f} MB are allowed.",
                hint=f"Give --memory {needed / 1e6:.0f}MB, or fill the gaps.",
                code="memory-too-small",
            )
    return Compressed(
        starts=np.concatenate([[0], np.cumsum(np.concatenate(counts), dtype=np.int64)]),
        indices=np.concatenate(indices),
        values=np.concatenate(values),
        weights=NONE,
    )
