"""Work over very many entries a block at a time: sums, arrays that grow, the order of pairs."""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

BLOCK: Final = 2**20


def blocks(count: int, height: int = BLOCK) -> Iterator[slice]:
    """Slices of `height` places that cover all of them."""
    return (slice(start, min(start + height, count)) for start in range(0, count, height))


def taken(
    values: npt.NDArray[Any], places: npt.NDArray[Any], out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """`values[places]`; `out` may be `places` itself.

    Example:
        >>> taken(np.array([5.0, 6.0]), np.array([1, 1, 0], np.int32)).tolist()
        [6.0, 6.0, 5.0]
    """
    made = np.empty(len(places), values.dtype) if out is None else out
    for here in blocks(len(places)):
        made[here] = values[places[here]]
    return made


def counted(places: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """How often each of 0 … count − 1 is among the places.

    Example:
        >>> counted(np.array([2, 0, 2], np.int32), 4).tolist()
        [1, 0, 2, 0]
    """
    counts = np.zeros(count, np.int64)
    for here in blocks(len(places), max(BLOCK, count)):
        counts += np.bincount(places[here], minlength=count)
    return counts


def summed(
    places: npt.NDArray[Any], count: int, values: Callable[[slice], npt.NDArray[Any]]
) -> npt.NDArray[np.float64]:
    """The sum in float64 of the values at each of 0 … count − 1.

    Args:
        places: Of each entry.
        count: How many places there are.
        values: Given a slice of the entries, their values.

    Example:
        >>> numbers = np.array([1.0, 2.0, 4.0])
        >>> summed(np.array([1, 0, 1], np.int32), 2, lambda here: numbers[here]).tolist()
        [2.0, 5.0]
    """
    sums = np.zeros(count, np.float64)
    for here in blocks(len(places), max(BLOCK, count)):
        sums += np.bincount(places[here], values(here), minlength=count)
    return sums


SLAB: Final = 2**23
"""Numbers of one piece: so many that the system takes its memory back as soon as it is free."""


@final
class Growing:
    """Numbers of one type, added block by block.

    Example:
        >>> growing = Growing(np.int32)
        >>> growing.add(np.array([1, 2]))
        array([1, 2], dtype=int32)
        >>> growing.joined()
        array([1, 2], dtype=int32)
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._slabs: list[npt.NDArray[Any]] = []
        self._used: list[int] = []

    def __len__(self) -> int:
        return sum(self._used)

    def add(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Take a copy of some numbers; gives the place where they are kept."""
        if not self._slabs or self._used[-1] + len(values) > len(self._slabs[-1]):
            self._slabs.append(np.empty(max(SLAB, len(values)), self._dtype))
            self._used.append(0)
        first = self._used[-1]
        self._used[-1] += len(values)
        kept = self._slabs[-1][first : first + len(values)]
        kept[:] = values
        return kept

    def joined(self) -> npt.NDArray[Any]:
        """All of them in one array; nothing is kept here.

        Cost:
            The memory of the result and of one piece beside what was held.
        """
        whole = np.empty(len(self), self._dtype)
        first = 0
        while self._slabs:
            slab, used = self._slabs.pop(0), self._used.pop(0)
            whole[first : first + used] = slab[:used]
            first += used
        return whole


Order: TypeAlias = npt.NDArray[np.signedinteger[Any]]
"""The number of the entry that comes first, second, …"""
NO_TIMES: Final = np.empty(0, np.int64)
NO_WEIGHTS: Final = np.empty(0, np.float32)


def repeats(rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> int:
    """How many pairs are those before them; −1 where the pairs are not in order.

    Example:
        >>> repeats(np.array([0, 0, 1], np.int32), np.array([2, 2, 0], np.int32))
        1
    """
    from eckart.completion.kernels.sorting import repeated

    return int(repeated(rows, columns))


def same_order(count: int) -> Order:
    """The order of entries as they are, in 4 bytes each where that is enough.

    Example:
        >>> same_order(3)
        array([0, 1, 2], dtype=int32)
    """
    return np.arange(count, dtype=_kind(count))


def pair_order(rows: npt.NDArray[Any], columns: npt.NDArray[Any], shape: tuple[int, int]) -> Order:
    """The order of entries by row, then by column; equal pairs stay as they are.

    Args:
        rows: The row of each entry.
        columns: Its column.
        shape: (rows, columns).

    Cost:
        Two passes of a counting sort; 8 bytes for each entry, of which 4 are given back.

    Example:
        >>> rows, columns = np.array([1, 0, 0], np.int32), np.array([0, 1, 0], np.int32)
        >>> pair_order(rows, columns, (2, 2)).tolist()
        [2, 1, 0]
    """
    from eckart.completion.kernels.sorting import counted, placed

    kind = _kind(len(rows))
    order: Order = np.empty(0, kind)
    for places, count in ((columns, shape[1]), (rows, shape[0])):
        starts = np.zeros(count + 1, np.int64)
        counted(places, starts)
        made = np.empty(len(rows), kind)
        placed(places, order, starts, made)
        order = made
    return order


def _kind(count: int) -> type[np.int32] | type[np.int64]:
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64


def without_repeats(
    order: Order,
    pairs: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    times: npt.NDArray[np.int64] | None,
    weights: npt.NDArray[np.float32] | None,
    *,
    add: bool,
) -> tuple[Order, npt.NDArray[np.float32] | None]:
    """The latest entry of each pair, and the sum of the weights of each where it is asked for.

    Args:
        order: That of the pairs; it is overwritten.
        pairs: Rows and columns of the entries.
        times: Without them the last one in order is the latest.
        weights: None where all are 1.
        add: Whether weights are added up.

    Returns:
        The entries that are kept, in order; their weights, or None where nothing repeats or none
        are asked for.

    Example:
        >>> pairs = np.array([0, 0], np.int32), np.array([1, 1], np.int32)
        >>> without_repeats(np.arange(2, dtype=np.int32), pairs, None, None, add=True)
        (array([1], dtype=int32), array([2.], dtype=float32))
    """
    from eckart.completion.kernels.sorting import distinct, merged

    count = int(distinct(order, *pairs))
    if count == len(order):
        return order, None
    totals = np.empty(count if add else 0, np.float32)
    merged(
        order,
        *pairs,
        NO_TIMES if times is None else times,
        NO_WEIGHTS if weights is None else weights,
        totals,
    )
    return order[:count], totals if add else None
