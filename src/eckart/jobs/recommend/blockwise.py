"""Gathers and sums over very many entries, a block at a time.

NumPy copies the places of a gather or a count to 8 bytes each, twice what is kept of them.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

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
