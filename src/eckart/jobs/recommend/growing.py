"""An array that grows by blocks and is not copied while it does."""

from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

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
