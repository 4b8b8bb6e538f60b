"""Some columns of rows that are read whole, in an order of their own."""

from typing import Any, Final, final

import numpy as np

from eckart.arrays import Array, own_pages
from eckart.matrices import RowReader, RowSource

PIECE: Final = 2**20
"""Bytes of whole rows that are held at once."""


@final
class ChosenColumns:
    """Columns of a source as a `RowSource`.

    Args:
        source: Of whole rows.
        places: Of the columns, in the order in which they are given.
    """

    def __init__(self, source: RowSource, places: list[int]) -> None:
        rows, columns = source.shape
        self.source = source
        self.places = np.array(places, np.intp)
        self.shape = rows, len(places)
        self.dtype = source.dtype
        self.nbytes = rows * len(places) * self.dtype.itemsize
        row = columns * self.dtype.itemsize
        self.height = max(1, min(rows, PIECE // max(1, row)))
        self.held = source.held + self.height * row
        self.lead = 0

    def open(self) -> RowReader:
        """Begin at the first row."""
        return _Chosen(self)


@final
class _Chosen:
    def __init__(self, chosen: ChosenColumns) -> None:
        self._places, self._reader = chosen.places, chosen.source.open()
        shape = chosen.height, chosen.source.shape[1]
        self._rows: Any = own_pages(shape, chosen.dtype)

    def read(self, out: Array, /) -> int:
        """Fill `out` from one piece of whole rows after another."""
        done = 0
        while done < len(out):
            count = self._reader.read(self._rows[: len(out) - done])
            if not count:
                break
            out[done : done + count] = self._rows[:count, self._places]
            done += count
        return done

    def close(self) -> None:
        """Give the file back."""
        self._reader.close()
