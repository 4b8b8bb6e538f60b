"""Rows of Arrow batches: what Parquet and text files have in common."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eckart.arrays import FLOAT32, FLOAT64, Array, DType
from eckart.errors import EckartError, MatrixError
from eckart.matrices import RowReader
from eckart.storage.rows.table import Wanted
from eckart.storage.table import is_number, select
from eckart.storage.whole import damaged


@final
class Batches:
    """Columns of numbers from batches, as a `RowSource`.

    Args:
        path: For messages.
        names: Of the columns to read.
        rows: How many there are.
        dtype: float32 or float64.
        opened: Begins the batches of these columns anew.
    """

    def __init__(
        self,
        path: Path,
        names: list[str],
        rows: int,
        dtype: DType,
        opened: Callable[[list[str]], Iterator[Any]],
    ) -> None:
        self.path = path
        self.names = names
        self.shape = rows, len(names)
        self.dtype = dtype
        self.nbytes = rows * len(names) * dtype.itemsize
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
                self._batch = self._next()
                if self._batch is None:
                    break
            piece = self._batch.slice(0, len(out) - done)
            for position, column in enumerate(piece.columns):
                out[done : done + piece.num_rows, position] = _numbers(column, out.dtype)
            self._batch = self._batch.slice(piece.num_rows)
            done += piece.num_rows
        return done

    def close(self) -> None:
        """Let the batches go."""
        self._batches, self._batch = iter(()), None

    def _next(self) -> Any:
        return arrow_errors(self._path, lambda: next(self._batches, None))


def arrow_errors(path: Path, read: Callable[[], Any]) -> Any:
    """What a function reads, with what Arrow says of a damaged file as one sentence.

    Raises:
        FormatError: If it is damaged.
    """
    try:
        return read()
    except EckartError:
        raise
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError,
            OSError) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged(path, error) from error


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


def _numbers(column: Any, dtype: Any) -> Any:
    """A column as floats; a missing value becomes NaN."""
    if column.null_count == 0 and pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    kind = pa.float32() if dtype == FLOAT32 else pa.float64()
    return np.asarray(pc.cast(column, kind).to_numpy(zero_copy_only=False))
