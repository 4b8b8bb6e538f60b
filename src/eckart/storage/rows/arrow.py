"""Rows of Arrow batches: what Parquet and text files have in common."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np

from eckart.arrays import Array, DType
from eckart.errors import MatrixError
from eckart.matrices import RowReader
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.columns import numbers


@final
class Batches:
    """Columns of numbers from batches, as a `RowSource`.

    Args:
        path: For messages.
        shape: Rows and columns.
        dtype: float32 or float64.
        opened: Begins the batches anew, of Arrow or as arrays.
        held: Bytes of the largest batch, and of what is kept to make it.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        dtype: DType,
        opened: Callable[[], Iterator[Any]],
        held: int = 0,
    ) -> None:
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self.nbytes = shape[0] * shape[1] * dtype.itemsize
        self.held = held
        self.lead = 0
        self._opened = opened

    def open(self) -> RowReader:
        """Begin at the first batch."""
        return _Reader(self.path, self._opened())


@final
class _Reader:
    def __init__(self, path: Path, batches: Iterator[Any]) -> None:
        self._path = path
        self._batches = batches
        self._batch: Any = None

    def read(self, out: Array, /) -> int:
        """Fill `out` column by column from as many batches as it takes."""
        done = 0
        while done < len(out):
            if self._batch is None or not len(self._batch):
                self._batch = None  # so that one batch is given back before the next is made
                self._batch = self._next()
                if self._batch is None:
                    break
            done += self._take(out[done:])
        return done

    def _take(self, out: Array) -> int:
        """The next rows of this batch."""
        count = min(len(out), len(self._batch))
        if isinstance(self._batch, np.ndarray):
            out[:count], self._batch = self._batch[:count], self._batch[count:]
            return count
        for position, column in enumerate(self._batch.slice(0, count).columns):
            out[:count, position] = numbers(column, out.dtype)
        self._batch = self._batch.slice(count)
        return count

    def close(self) -> None:
        """Let the batches go."""
        self._batches, self._batch = iter(()), None

    def _next(self) -> Any:
        with arrow_reading(self._path):
            return next(self._batches, None)


def skipped(path: Path, names: list[str], why: dict[int, str]) -> tuple[str, ...]:
    """The sentence that says which columns were left out because they hold no numbers.

    Args:
        path: The file.
        names: Of all columns.
        why: What each of those that are left out holds, by its position.
    """
    if not why:
        return ()
    plural = "columns that are" if len(why) > 1 else "column that is"
    return (f"{path.name}: skipped {len(why)} {plural} not numbers ({_listed(names, why)}).",)


def no_numbers(path: Path, names: list[str], why: dict[int, str]) -> MatrixError:
    """That none of the columns is left; the arguments are those of `skipped`."""
    listed = f": {_listed(names, why)}" if why else ""
    return MatrixError(
        f"{path} has no column of numbers{listed}.",
        hint="Give a table of numbers.",
        code="not-numbers",
    )


def _listed(names: list[str], why: dict[int, str]) -> str:
    shown = ", ".join(f"{names[place]}: {held}" for place, held in list(why.items())[:10])
    return shown + " …" * (len(why) > 10)
