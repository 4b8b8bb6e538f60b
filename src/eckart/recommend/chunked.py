"""Block-wise operations on many entries: sums, growing arrays, and the order of pairs."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

pc: Final[Any] = compute  # its functions are created at import, which no type checker sees
Numbers: TypeAlias = npt.NDArray[Any]
"""An array of numbers of any type."""
TableLike: TypeAlias = Any
"""A path, a data frame, an Arrow table, a mapping of columns, or a SciPy sparse matrix."""
Floats: TypeAlias = npt.NDArray[np.float32]
"""Ratings, weights or scores."""
Column: TypeAlias = Any
"""An Arrow array, in one piece or chunked; PyArrow has no types."""
BLOCK: Final = 2**20
"""Entries that are processed at once, so that temporary arrays take a few megabytes."""


def blocks(count: int, height: int = BLOCK) -> Iterator[slice]:
    """Slices of `height` places each that together cover `count` places."""
    return (slice(start, min(start + height, count)) for start in range(0, count, height))


def take(
    values: Numbers, places: npt.NDArray[np.integer[Any]], out: Numbers | None = None
) -> Numbers:
    """`values[places]`, block by block; `out` may be `places` itself.

    Example:
        >>> take(np.array([5.0, 6.0]), np.array([1, 1, 0], np.int32)).tolist()
        [6.0, 6.0, 5.0]
    """
    made = np.empty(len(places), values.dtype) if out is None else out
    for here in blocks(len(places)):
        # in blocks, so that `out` may be `places`: only a block is copied before it is overwritten
        made[here] = values[places[here]]
    return made


def bincount(
    places: Numbers, count: int, values: Callable[[slice], Numbers] | None = None
) -> Numbers:
    """How often each of 0 … count − 1 occurs among the places, as int64.

    With values, given slice by slice, it is their sum at each place, as float64.

    Example:
        >>> bincount(np.array([2, 0, 2], np.int32), 4).tolist()
        [1, 0, 2, 0]
        >>> numbers = np.array([1.0, 2.0, 4.0])
        >>> bincount(np.array([1, 0, 1], np.int32), 2, lambda here: numbers[here]).tolist()
        [2.0, 5.0]
    """
    counts = np.zeros(count, np.int64 if values is None else np.float64)
    # bincount makes an array of `count` for each block: shorter blocks would mostly add zeros
    for here in blocks(len(places), max(BLOCK, count)):
        counts += np.bincount(places[here], values and values(here), minlength=count)
    return counts


SLAB_NUMBERS: Final = 2**23
"""Numbers of one piece: so large that the system takes its memory back as soon as it is freed."""


@final
class Growing:
    """An array of one type that grows block by block.

    Example:
        >>> growing = Growing(np.int32)
        >>> growing.add(np.array([1, 2]))
        array([1, 2], dtype=int32)
        >>> growing.join()
        array([1, 2], dtype=int32)
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._slabs: list[Numbers] = []
        self._used: list[int] = []

    def __len__(self) -> int:
        return sum(self._used)

    def add(self, values: Numbers) -> Numbers:
        """Append a copy of some numbers; returns the view in which they are kept."""
        if not self._slabs or self._used[-1] + len(values) > len(self._slabs[-1]):
            self._slabs.append(np.empty(max(SLAB_NUMBERS, len(values)), self._dtype))
            self._used.append(0)
        first = self._used[-1]
        self._used[-1] += len(values)
        kept = self._slabs[-1][first : first + len(values)]
        kept[:] = values
        return kept

    def join(self) -> Numbers:
        """All numbers in one array; this object is empty afterwards.

        Cost:
            The memory of the result and of one piece, beside what is held already.
        """
        whole = np.empty(len(self), self._dtype)
        first = 0
        while self._slabs:
            # taken out of the list, so that its memory is free before the next one is copied
            slab, used = self._slabs.pop(0), self._used.pop(0)
            whole[first : first + used] = slab[:used]
            first += used
        return whole


Order: TypeAlias = npt.NDArray[np.signedinteger[Any]]
"""The number of the entry that comes first, of the one that comes second, and so on."""


def count_repeats(rows: Numbers, columns: Numbers) -> int:
    """How many pairs equal the one before them; −1 if the pairs are not sorted.

    Example:
        >>> count_repeats(np.array([0, 0, 1], np.int32), np.array([2, 2, 0], np.int32))
        1
    """
    # here, since Numba takes a while to import
    from eckart.completion.kernels.sorting import repeated_pairs

    return int(repeated_pairs(rows, columns))


def pair_order(rows: Numbers, columns: Numbers, shape: tuple[int, int]) -> Order:
    """The order of entries by row, then by column; equal pairs keep their order.

    Cost:
        Two passes of a counting sort; 8 bytes for each entry, of which 4 are given back.

    Example:
        >>> rows, columns = np.array([1, 0, 0], np.int32), np.array([0, 1, 0], np.int32)
        >>> pair_order(rows, columns, (2, 2)).tolist()
        [2, 1, 0]
    """
    from eckart.completion.kernels.sorting import bincount, sort_by_place

    kind = index_type(len(rows))
    order: Order = np.empty(0, kind)
    # the sort is stable, so the less significant key comes first
    for places, count in ((columns, shape[1]), (rows, shape[0])):
        starts = np.zeros(count + 1, np.int64)
        bincount(places, starts)
        made = np.empty(len(rows), kind)
        sort_by_place(places, order, starts, made)
        order = made
    return order


def index_type(count: int) -> type[np.int32] | type[np.int64]:
    """The type of indices below a count, of 4 bytes if that suffices."""
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64


def without_repeats(
    order: Order,
    pairs: tuple[Numbers, Numbers],
    times: npt.NDArray[np.int64] | None,
    weights: npt.NDArray[np.float32] | None,
    *,
    add: bool,
) -> tuple[Order, npt.NDArray[np.float32] | None]:
    """The latest entry of each pair and, to `add` them, the sum of the weights of each pair.

    `order` sorts the pairs and is overwritten; without times the last one in order is the latest.

    Returns:
        The entries that are kept, in order; and their weights, or None if no pair repeats or
        `add` is false.

    Example:
        >>> pairs = np.array([0, 0], np.int32), np.array([1, 1], np.int32)
        >>> without_repeats(np.arange(2, dtype=np.int32), pairs, None, None, add=True)
        (array([1], dtype=int32), array([2.], dtype=float32))
    """
    from eckart.completion.kernels.sorting import distinct_pairs, merge

    count = int(distinct_pairs(order, *pairs))
    if count == len(order):
        return order, None
    totals = np.empty(count if add else 0, np.float32)
    # the compiled kernels take empty arrays in place of None
    times = np.empty(0, np.int64) if times is None else times
    merge(order, *pairs, times, np.empty(0, np.float32) if weights is None else weights, totals)
    return order[:count], totals if add else None


def one_array(column: Column) -> Column:
    """A column as one Arrow array without a dictionary."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def as_document(record: Any, optional: Collection[str] = ("title",)) -> dict[str, Any]:
    """The fields of a dataclass as plain values, without optional ones that are None."""
    own = asdict(record)
    return {name: value for name, value in own.items() if value is not None or name not in optional}
