"""Rows of Arrow batches: what Parquet and text files have in common."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import pyarrow as pa

from eckart.arrays import FLOAT32, FLOAT64, Array, DType
from eckart.errors import MatrixError
from eckart.matrices import RowReader
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.rows.columns import numbers
from eckart.storage.rows.table import Wanted
from eckart.storage.table import is_number, select


@final
class Batches:
    """Columns of numbers from batches, as a `RowSource`.

    Args:
        path: For messages.
        names: Of the columns to read.
        rows: How many there are.
        dtype: float32 or float64.
        opened: Begins the batches of these columns anew.
        held: Bytes of the largest batch, and of what is kept to make it.
    """

    def __init__(
        self,
        path: Path,
        names: list[str],
        rows: int,
        dtype: DType,
        opened: Callable[[list[str]], Iterator[Any]],
        held: int = 0,
    ) -> None:
        self.path = path
        self.names = names
        self.shape = rows, len(names)
        self.dtype = dtype
        self.nbytes = rows * len(names) * dtype.itemsize
        self.held = held
        self.lead = 0
        self._opened = opened

    def open(self) -> RowReader:
        """Begin at the first batch."""
        return _Reader(self.path, self._opened(self.names))


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
            if self._batch is None or self._batch.num_rows == 0:
                self._batch = None  # so that one batch is given back before the next is made
                self._batch = self._next()
                if self._batch is None:
                    break
            done += self._take(out[done:])
        return done

    def _take(self, out: Array) -> int:
        """The next rows of this batch."""
        piece = self._batch.slice(0, len(out))
        for position, column in enumerate(piece.columns):
            out[: piece.num_rows, position] = numbers(column, out.dtype)
        self._batch = self._batch.slice(piece.num_rows)
        return piece.num_rows

    def close(self) -> None:
        """Let the batches go."""
        self._batches, self._batch = iter(()), None

    def _next(self) -> Any:
        with arrow_reading(self._path):
            return next(self._batches, None)


def chosen(names: list[str], types: list[Any], wanted: Wanted, path: Path) -> list[str]:
    """The columns of numbers that are wanted.

    Raises:
        MatrixError: If one is not there or holds no numbers, or none is left.
    """
    select(names, wanted.beside, path)
    if wanted.columns is not None:
        for position in select(names, wanted.columns, path):
            if not is_number(types[position]):
                raise MatrixError(
                    f"The column '{names[position]}' of {path} holds no numbers.",
                    hint="Leave it out of --columns.",
                    code="not-numbers",
                )
        return list(wanted.columns)
    found = [
        name
        for name, kind in zip(names, types, strict=True)
        if is_number(kind) and not pa.types.is_null(kind) and name not in wanted.beside
    ]
    if not found:
        raise MatrixError(
            f"{path} has no column of numbers.", hint="Give a table of numbers.", code="not-numbers"
        )
    return found


def skipped(names: list[str], kept: list[str], wanted: Wanted, path: Path) -> tuple[str, ...]:
    """The sentence that says which columns were left out because they hold no numbers."""
    if wanted.columns is not None:
        return ()
    left = [name for name in names if name not in kept and name not in wanted.beside]
    if not left:
        return ()
    shown = ", ".join(left[:10]) + (" …" if len(left) > 10 else "")
    plural = "columns that are" if len(left) > 1 else "column that is"
    return (f"{path.name}: skipped {len(left)} {plural} not numbers ({shown}).",)


def narrow_dtype(types: list[Any]) -> DType:
    """float32 where every column is float32 or narrower, else float64."""
    narrow = all(pa.types.is_float32(kind) or pa.types.is_float16(kind) for kind in types)
    return FLOAT32 if narrow else FLOAT64
