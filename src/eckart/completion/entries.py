"""The known entries of a matrix, most of whose entries are unknown."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from eckart.arguments import check_whole
from eckart.arrays import FLOAT32, Array, plain_array
from eckart.errors import ArgumentError, MatrixError
from eckart.matrices.derived import check_shape

Indices = npt.NDArray[np.integer[Any]]
NONE: Final[Array] = np.empty(0, FLOAT32)
"""Weights that are all one."""
MOST_PLACES: Final = 2**22
"""Number of rows that is plausible for any number of entries if no shape is given."""
PER_ENTRY: Final = 1000
"""Number of further plausible rows for each entry; files use the same limit."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compressed:
    """Entries compressed by rows (or columns): those of row i are starts[i] : starts[i + 1].

    Fields:
        starts: Array of shape (rows + 1,), int64.
        indices: Column of each entry, ascending within a row.
        values: Value of each entry, float32.
        weights: Weight of each entry, float32; of length 0 if all are one.
    """

    starts: npt.NDArray[np.int64]
    indices: Indices
    values: Array
    weights: Array

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of entries of each row."""
        return np.diff(self.starts)

    @property
    def arrays(self) -> tuple[npt.NDArray[np.int64], Indices, Array, Array]:
        """The four arrays."""
        return self.starts, self.indices, self.values, self.weights

    @property
    def nbytes(self) -> int:
        """Bytes of the four arrays."""
        return sum(part.nbytes for part in self.arrays)


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Entries:
    """Known entries (row, column, value) of a matrix; the others are unknown, or not observed.

    They are no `Matrix`, because an entry that is not listed is unknown, not zero. `Entries.of` and
    `Entries.of_sparse` make them. They are kept by rows, and by columns once that is needed.

    Fields:
        shape: Shape (rows, columns); users × items.
        by_rows: The entries in the order of rows.

    Cost:
        8 bytes for each entry in each order that is kept, 12 with weights.

    Example:
        >>> entries = Entries.of(rows=[1, 0, 1], columns=[0, 2, 1], values=[3, 4, 5])
        >>> entries
        Entries(3 of 2 × 3)
        >>> entries.row(1)
        (array([0, 1], dtype=int32), array([3., 5.], dtype=float32))
    """

    shape: tuple[int, int]
    by_rows: Compressed

    @classmethod
    def of(
        cls,
        rows: npt.ArrayLike,
        columns: npt.ArrayLike,
        values: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        shape: tuple[int, int] | None = None,
    ) -> "Entries":
        """Make entries from three or four lists of the same length, in any order.

        Args:
            rows: Row of each entry, from 0.
            columns: Column of each entry, from 0.
            values: Value of each entry.
            weights: Weight of the error of each entry, at least 0; None weights all alike.
            shape: Shape (rows, columns); by default just large enough.

        Raises:
            MatrixError: If the lists do not fit together, an index is out of range, a value
                or weight is not a finite number, or an entry is listed twice.

        Cost:
            Two counting sorts; for a moment twice the memory of the result.
        """
        from eckart.completion.kernels.sorting import scatter

        row, column = _indices(rows, "row"), _indices(columns, "column")
        value, weight = _numbers(values, "value"), NONE
        if weights is not None:
            weight = _numbers(weights, "weight")
            if len(weight) and weight.min() < 0:
                raise MatrixError(
                    "A weight is negative.", hint="Give weights of at least 0.", code="bad-weight"
                )
        given = (row, column, value) if weights is None else (row, column, value, weight)
        lengths = {len(one) for one in given}
        if len(lengths) > 1:
            raise MatrixError(
                f"Rows, columns, values and weights have different lengths: {sorted(lengths)}.",
                hint="Give one of each for every entry.",
                code="shapes-differ",
            )
        if shape is None:
            height, width = _above(row, "row"), _above(column, "column")
        else:
            height, width = _shape(shape)
        _check_range(row, height, "row")
        _check_range(column, width, "column")
        # sorted by column first: the stable sort by row then leaves ascending columns in each row
        across = _compress(scatter, column, (column, row, value, weight), width, height)
        down = _transpose(across, height, width)
        _check_distinct(down)
        return cls(shape=(height, width), by_rows=down)

    @classmethod
    def of_rows(
        cls,
        counts: npt.NDArray[np.int64],
        columns: Indices,
        values: Array,
        weights: Array | None,
        shape: tuple[int, int],
    ) -> "Entries":
        """Make entries from lists that are in order already, row by row; they are not copied.

        Args:
            counts: Number of entries of each row.
            columns: Column of each entry, ascending within a row.
            values: Value of each entry, a finite number, float32.
            weights: Weight of the error of each entry, float32; None weights all alike.
            shape: Shape (rows, columns).

        Raises:
            ArgumentError: If the shape is not a pair of whole numbers.
            MatrixError: If columns of a row do not ascend, one is out of range, or an array is bad.

        Cost:
            No memory for the entries beyond what is given.

        Example:
            >>> ones = np.ones(3, np.float32)
            >>> of_two = Entries.of_rows(np.array([1, 2]), np.array([2, 0, 1]), ones, None, (2, 3))
            >>> of_two.row(1)[0]
            array([0, 1])
        """
        from eckart.completion.kernels.sorting import first_unordered

        shape = _shape(shape)
        for name, array, kinds in (("count", counts, "iu"), ("column", columns, "iu"),
                                   ("value", values, "f"), ("weight", weights, "f")):  # fmt: skip
            if array is not None or name != "weight":
                _check_array(array, name, kinds)
        if len(columns) != len(values) or int(counts.sum()) != len(values):
            raise MatrixError(
                f"There are {len(columns)} columns and {len(values)} values.",
                hint="Give one of each for every entry that is counted.",
                code="shapes-differ",
            )
        _check_range(columns, shape[1], "column")
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        if first_unordered(starts, columns) >= 0:
            raise MatrixError(
                "The columns of a row do not ascend.",
                hint="Give entries in any order to Entries.of.",
                code="not-in-order",
            )
        kept = Compressed(
            starts=starts,
            indices=columns,
            values=values,
            weights=NONE if weights is None else weights,
        )
        return cls(shape=shape, by_rows=kept)

    @classmethod
    def of_sparse(cls, W: Any) -> "Entries":
        """Make entries from all stored entries of a SciPy sparse matrix, stored zeros included.

        Raises:
            MatrixError: If W is not sparse, and in the cases of `of`.
        """
        if not scipy.sparse.issparse(W):
            raise MatrixError(
                f"A {type(W).__name__} is no sparse matrix.",
                hint="Give one of SciPy, or Entries.of(rows, columns, values).",
                code="not-entries",
            )
        stored: Any = W
        check_shape(stored.shape)
        listed = stored.tocoo()
        return cls.of(listed.row, listed.col, listed.data, shape=listed.shape)

    @cached_property
    def by_columns(self) -> Compressed:
        """The entries in the order of columns."""
        return _transpose(self.by_rows, self.shape[1], self.shape[0])

    @property
    def rows(self) -> Indices:
        """Row of each entry; the array is formed anew each time."""
        kind = self.by_rows.indices.dtype
        return np.repeat(np.arange(self.shape[0], dtype=kind), self.by_rows.counts)

    @property
    def columns(self) -> Indices:
        """Column of each entry, row by row."""
        return self.by_rows.indices

    @property
    def values(self) -> Array:
        """Value of each entry, row by row."""
        return self.by_rows.values

    @property
    def weights(self) -> Array | None:
        """Weight of each entry, row by row; None if all are one."""
        return self.by_rows.weights if len(self.by_rows.weights) else None

    @property
    def nbytes(self) -> int:
        """Bytes of the entries, in both orders if both are kept."""
        orders = [part for part in self.__dict__.values() if isinstance(part, Compressed)]
        return sum(part.nbytes for part in orders)

    def row(self, number: int) -> tuple[Indices, Array]:
        """Return the columns and the values of one row.

        Raises:
            ArgumentError: If there is no such row.
        """
        if not 0 <= check_whole("row", number) < self.shape[0]:
            raise ArgumentError(
                f"There is no row {number}.",
                hint=f"Number rows from 0 to {self.shape[0] - 1}.",
                code="bad-index",
            )
        here = slice(*self.by_rows.starts[number : number + 2])
        return self.by_rows.indices[here], self.by_rows.values[here]

    def __len__(self) -> int:
        return len(self.by_rows.values)

    def __repr__(self) -> str:
        return f"Entries({len(self)} of {self.shape[0]} × {self.shape[1]})"


def _shape(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ArgumentError(
            f"The shape is {shape!r}.", hint="Give (rows, columns), or nothing.", code="bad-shape"
        )
    rows, columns = shape
    return check_whole("number of rows", rows), check_whole("number of columns", columns)


def _check_array(array: Any, name: str, kinds: str) -> None:
    """Refuse anything but a one-dimensional NumPy array with a dtype of these kinds."""
    kept = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
    if not kept or array.ndim != 1 or array.dtype.kind not in kinds:
        raise MatrixError(
            f"The {name}s are no array of one dimension with one {name} for each.",
            hint="Give lists, or entries in any order, to Entries.of.",
            code="not-numbers",
        )


def _indices(places: npt.ArrayLike, name: str) -> Indices:
    array = plain_array(places)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise MatrixError(
            f"The {name} of each entry is not a list of whole numbers.",
            hint="Number rows and columns from 0.",
            code="bad-index",
        )
    return array.astype(np.int64, copy=False) if array.dtype.kind != "i" else array


def _numbers(numbers: npt.ArrayLike, name: str) -> Array:
    array = plain_array(numbers)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise MatrixError(
            f"The {name}s are not a list of numbers.",
            hint="Give one number for each entry.",
            code="not-numbers",
        )
    wide = array
    with np.errstate(over="ignore", under="ignore"):
        array = np.ascontiguousarray(array, FLOAT32)
    finite = bool(np.isfinite(array).all())
    if (not finite and np.isfinite(wide).all()) or (wide.any() and not array.any()):
        raise MatrixError(
            f"The {name}s leave the range of float32, in which entries are kept.",
            hint="Multiply them by a power of ten that brings them near 1.",
            code="out-of-range",
        )
    if not finite:
        place = int(np.argmin(np.isfinite(array)))
        raise MatrixError(
            f"The {name} of entry {place} (counted from 0) is not a finite number.",
            hint="Leave out entries that are not known.",
            code="not-finite",
        )
    return array


def _above(places: Indices, name: str) -> int:
    """The number of rows (or columns), from the largest index."""
    largest = int(places.max()) if len(places) else -1
    if largest >= MOST_PLACES + PER_ENTRY * len(places):
        raise MatrixError(
            f"An entry is in {name} {largest:,}, and there are {len(places):,} entries.",
            hint=f"Number {name}s from 0 without gaps, or give the shape.",
            code="bad-index",
        )
    return largest + 1


def _check_range(places: Indices, count: int, name: str) -> None:
    if count < 1 and not len(places):
        raise MatrixError(f"There are no {name}s.", hint="Give at least one entry.", code="empty")
    if len(places) and (int(places.min()) < 0 or int(places.max()) >= count):
        bad = int(places.min()) if int(places.min()) < 0 else int(places.max())
        raise MatrixError(
            f"An entry is in {name} {bad}, of {count} {name}s.",
            hint=f"Number {name}s from 0 to {count - 1}.",
            code="bad-index",
        )


def _transpose(given: Compressed, count: int, of: int) -> Compressed:
    from eckart.completion.kernels.sorting import transpose

    return _compress(transpose, given.indices, given.arrays, count, of)


def _compress(
    kernel: Callable[..., object],
    places: Indices,
    entries: tuple[Indices | Array, ...],
    count: int,
    of: int,
) -> Compressed:
    """Sort entries by a kernel into `count` rows at their places, with indices below `of`."""
    from eckart.completion.kernels.sorting import bincount

    *_, values, weights = entries
    made = Compressed(
        starts=np.zeros(count + 1, np.int64),
        indices=np.empty(len(values), np.int32 if of <= np.iinfo(np.int32).max else np.int64),
        values=np.empty(len(values), FLOAT32),
        weights=np.empty(len(weights), FLOAT32),
    )
    bincount(places, made.starts)
    kernel(*entries, *made.arrays)
    return made


def _check_distinct(by_rows: Compressed) -> None:
    from eckart.completion.kernels.sorting import first_unordered

    # the columns ascend, so the first that does not is a duplicate
    row = first_unordered(by_rows.starts, by_rows.indices)
    if row >= 0:
        columns = by_rows.indices[slice(*by_rows.starts[row : row + 2])]
        column = int(columns[1:][np.diff(columns) == 0][0])
        raise MatrixError(
            f"The entry at row {row}, column {column} is listed twice.",
            hint="Sum the duplicates, or keep the last of them.",
            code="duplicate-entry",
        )
