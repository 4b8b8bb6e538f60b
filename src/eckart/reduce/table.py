"""The table of a reduction: opened in memory or in blocks, its known entries, a sample of it."""

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.backends import scaled
from eckart.completion.entries import NONE, Compressed, Entries
from eckart.errors import ArgumentError, MatrixError
from eckart.files import Selection, read_parts
from eckart.files.records import ArrowTable, Table
from eckart.files.registry import is_read_by_rows, open_table
from eckart.matrices import Dense, Matrix, Sparse, Streamed
from eckart.matrices.derived import check_entries, dense, out_of_range
from eckart.matrices.moments import deviations, means_of_listed
from eckart.ranks import byte_count
from eckart.reduce import Document

IN_MEMORY_BYTES: Final = 2**31
"""A file of up to so many bytes of numbers is held in memory if no memory limit is given."""
STREAM_BYTES: Final = 2**30
"""Bytes that a streamed table may take if no memory limit is given."""
MOST_DECADES: Final = 151
"""The largest entry must be within 10^−n and 10^n, so that sums of squares stay in range."""
BYTES_PER_ENTRY: Final = 32
"""Bytes for each known entry: its place and value in both orders, and its value while centred."""


def with_names(selection: Selection, names: tuple[str, ...] | None) -> Selection:
    """The selection for a file that must have columns of given names, in this order."""
    if selection.columns is None or names is None:
        return replace(selection, named=names)
    for own, other in zip(selection.columns, names, strict=False):
        if own != other and own in names:
            raise ArgumentError(
                f"`columns` has '{own}' in the place of '{other}'.",
                hint="Leave it out: the columns are found by their names.",
                code="columns-differ",
            )
    return selection


def open_matrix(path: Path, selection: Selection) -> tuple[Table, Matrix]:
    """Open a file as a table with its matrix: in memory if it fits, else streamed."""
    if not is_read_by_rows(path):
        return _whole_matrix(path, selection)
    table = open_table(path, selection)
    if selection.memory is not None:
        # a limit that is named is kept, also for a file that would fit into memory
        return table, Streamed(table.source, memory=byte_count(selection.memory))
    streamed = Streamed(table.source, memory=STREAM_BYTES)
    if table.source.nbytes > IN_MEMORY_BYTES:
        return table, streamed
    return table, Dense(dense(streamed))


def _whole_matrix(path: Path, selection: Selection) -> tuple[Table, Matrix]:
    """Read a file of a format that is not read by rows, such as a sparse matrix."""
    if selection.beside or selection.columns or selection.memory is not None:
        raise ArgumentError(
            f"{path.name} is read whole and has no names of columns.",
            hint="Leave `memory`, `columns`, `ids` and `colour` out, or give a table or a .npy.",
            code="option-does-not-apply",
        )
    contents = read_parts(path, selection)
    if len(contents.parts) != 1:
        raise MatrixError(
            f"{path} has {len(contents.parts)} parts.",
            hint="Give one matrix.",
            code="too-many-parts",
        )
    matrix: Any = contents.parts[0].matrix
    return Table(source=matrix, names=None, notes=contents.notes), matrix


def raw_blocks(W: Matrix) -> Iterator[Any]:
    """Blocks of rows as they are stored; those of a sparse matrix are sparse. One pass."""
    return W.stored_blocks() if isinstance(W, Sparse) else W.row_blocks()


def missing_in(block: Any) -> int:
    """The number of missing entries of some rows."""
    # what a sparse block does not store is zero
    data = block.data if hasattr(block, "indptr") else block
    missing = int(np.count_nonzero(np.isnan(data)))
    if np.count_nonzero(~np.isfinite(data)) > missing:
        raise MatrixError(
            "An entry of these rows is infinite.",
            hint="Correct it, or leave it empty.",
            code="not-finite",
        )
    return missing


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEntries:
    """The known entries of a table, centred and scaled.

    Fields:
        entries: The values less the means, divided by the scales and the unit.
        unit: The power of two that brings the values near 1, so that the result does not depend on
            their size.
        means: Means of the known entries of each column, in float64; zeros if not centred.
        scales: Standard deviations of the known entries of each column, or None.
        missing: Number of missing entries.
    """

    entries: Entries
    unit: float
    means: Array
    scales: Array | None
    missing: int


def missing_sentence(missing: int, total: int) -> str:
    """The number of missing entries, in a sentence for the user.

    Example:
        >>> missing_sentence(1, 4)
        '1 of 4 entries (25.0%) is missing and was factored around.'
    """
    verb = "are missing and were" if missing > 1 else "is missing and was"
    return f"{missing:,} of {total:,} entries ({missing / total:.1%}) {verb} factored around."


def known_entries(
    W: Matrix, *, centre: bool, scale: bool, names: tuple[str, ...] | None = None
) -> KnownEntries:
    """Collect the known entries of a table whose missing entries are NaN.

    The other arguments are those of `fit_pca`.

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
    if largest > 0 and abs(math.log10(largest)) > MOST_DECADES:
        raise out_of_range(largest)
    means = means_of_listed(order.indices, order.values, counts, counts)
    around = order.values - means[order.indices]
    squares = np.bincount(order.indices, weights=np.square(around), minlength=columns)
    scales = deviations(squares.astype(FLOAT64), counts.astype(FLOAT64), means) if scale else None
    values = around if centre else order.values.astype(FLOAT64)
    if scales is not None:
        values /= scales[order.indices]
    # the power of two next above the root mean square, which changes no digit; 1 if all are zero
    near_one, exponent = scaled(values)
    size = math.sqrt(float(np.mean(np.square(near_one))))
    unit = 2.0 ** (exponent + int(np.frexp(size)[1]))
    order = replace(order, values=(values / unit).astype(FLOAT32))
    return KnownEntries(
        entries=Entries(shape=W.shape, by_rows=order),
        unit=unit,
        means=means if centre else means * 0.0,
        scales=scales,
        missing=W.shape[0] * columns - len(order.values),
    )


def _by_rows(W: Matrix) -> Compressed:
    """The entries that are not NaN, ordered by rows."""
    counts: list[Any] = []
    indices: list[Any] = []
    values: list[Any] = []
    found = 0
    for native in W.row_blocks():
        block = W.namespace.get(native)
        known = ~np.isnan(block)
        # raises the error that names the infinite entry
        if not np.isfinite(np.where(known, block, 0)).all():
            check_entries(W)
        counts.append(known.sum(axis=1))
        indices.append(np.nonzero(known)[1].astype(np.int32))
        values.append(block[known])
        found += len(indices[-1])
        # as soon as it is certain, not after the whole table was read
        if isinstance(W, Streamed) and BYTES_PER_ENTRY * found > W.memory:
            needed = BYTES_PER_ENTRY * found * W.shape[0] / sum(map(len, counts))
            raise MatrixError(
                "What is known of a table with gaps is held in memory, which takes "
                f"{needed / 1e6:.0f} MB here; {W.memory / 1e6:.0f} MB are allowed.",
                hint=f"Give `memory={needed / 1e6:.0f}MB`, or fill the gaps.",
                code="memory-too-small",
            )
    return Compressed(
        starts=np.concatenate([[0], np.cumsum(np.concatenate(counts), dtype=np.int64)]),
        indices=np.concatenate(indices),
        values=np.concatenate(values),
        weights=NONE,
    )


MOST_POINTS: Final = 3000
"""Points of the figure of a report, at most."""
SHOWN_COMPONENTS: Final = 3
"""Components whose scores a figure needs."""


@final
class ScoreSample:
    """A sample of the scores for a figure: every n-th of `rows`, with its ids and its colour."""

    def __init__(self, rank: int, rows: int, first: int = 0) -> None:
        # rounded up, so that there are at most MOST_POINTS
        self._stride = -(-rows // MOST_POINTS)
        self._row = first
        self._shown = min(rank, SHOWN_COMPONENTS)
        self.points: list[list[float]] = []
        self.rows: list[int] = []
        self.labels: list[str] = []
        self.colours: list[str | float | None] = []
        self.colour = ""

    def add(
        self, scores: Array, along: ArrowTable | None, colour: str | None, ids: tuple[str, ...]
    ) -> None:
        """Take the sample of the next rows, which come in blocks."""
        # blocks need not be multiples of the stride
        first = -self._row % self._stride
        places = range(first, len(scores), self._stride)
        self.points += [[float(x) for x in scores[place, : self._shown]] for place in places]
        self.rows += [self._row + place for place in places]
        self._row += len(scores)
        if along is None:
            return
        taken = along.take(list(places))
        if ids:
            named = [taken.column(name).to_pylist() for name in ids]
            self.labels += [", ".join(map(str, row)) for row in zip(*named, strict=True)]
        if colour is not None:
            self.colour = colour
            self.colours += [_plain(value) for value in taken.column(colour).to_pylist()]

    def __add__(self, later: "ScoreSample") -> "ScoreSample":
        """The sample of the rows of both, those of `later` behind those of this one."""
        joined = copy(self)
        for name in ("points", "rows", "labels", "colours"):
            setattr(joined, name, [*getattr(self, name), *getattr(later, name)])
        return joined

    def to_dict(self) -> Document:
        """The points with their rows, labels and colours as plain values."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def _plain(value: object) -> str | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    # NaN, which JSON does not know
    return value if value == value else None
