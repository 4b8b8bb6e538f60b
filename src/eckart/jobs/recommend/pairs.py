"""The order of pairs of user and item, by counting, in 8 bytes for each entry."""

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

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
    from eckart.kernels.sorting import repeated

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
    from eckart.kernels.sorting import counted, placed

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
    from eckart.kernels.sorting import distinct, merged

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
