"""Rows of Arrow batches, from one Parquet file or all files of a folder in the order of names."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from eckart.arrays import Array, DType, own_pages
from eckart.errors import FormatError, MatrixError
from eckart.files.columns import is_number, narrow_dtype, numbers, select
from eckart.files.parquet import ParquetColumns, arrow_reading, index_of
from eckart.files.rows import Table, Wanted
from eckart.matrices import RowReader


@final
class Batches:
    """Columns of numbers from batches, as a `RowSource`.

    Args:
        path: Path of the file, for messages.
        shape: Number of rows and of columns.
        dtype: Dtype of the rows, float32 or float64.
        opened: Function that begins the batches anew, of Arrow or as arrays.
        held: Bytes of the largest batch, and of the memory that is needed to make it.
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
        """Open a reader at the first batch."""
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
                self._batch = None  # releases one batch before the next is made
                self._batch = self._next()
                if self._batch is None:
                    break
            done += self._take(out[done:])
        return done

    def _take(self, out: Array) -> int:
        """Copy the next rows of this batch and return their number."""
        count = min(len(out), len(self._batch))
        # an array is the batch of a low row group, whose numbers are converted already
        if isinstance(self._batch, np.ndarray):
            out[:count], self._batch = self._batch[:count], self._batch[count:]
            return count
        for position, column in enumerate(self._batch.slice(0, count).columns):
            out[:count, position] = numbers(column, out.dtype)
        # slices of Arrow and of NumPy share the memory of the batch
        self._batch = self._batch.slice(count)
        return count

    def close(self) -> None:
        """Release the batches."""
        self._batches, self._batch = iter(()), None

    def _next(self) -> Any:
        with arrow_reading(self._path):
            return next(self._batches, None)


def skipped(path: Path, names: list[str], why: dict[int, str]) -> tuple[str, ...]:
    """The sentence that says which columns were left out because they hold no numbers.

    Args:
        path: The file.
        names: Names of all columns.
        why: What each column that is left out holds, by its position.
    """
    if not why:
        return ()
    plural = "columns that are" if len(why) > 1 else "column that is"
    return (f"{path.name}: skipped {len(why)} {plural} not numbers ({_listed(names, why)}).",)


def no_numbers(path: Path, names: list[str], why: dict[int, str]) -> MatrixError:
    """The error for a table without a column of numbers; the arguments are those of `skipped`."""
    listed = f": {_listed(names, why)}" if why else ""
    return MatrixError(
        f"{path} has no column of numbers{listed}.",
        hint="Give a table of numbers.",
        code="not-numbers",
    )


def _listed(names: list[str], why: dict[int, str]) -> str:
    shown = ", ".join(f"{names[place]}: {held}" for place, held in list(why.items())[:10])
    return shown + " …" * (len(why) > 10)


BATCH_BYTES: Final = 4 * 2**20
"""Bytes of the numbers in a batch of a tall row group."""
BUFFER: Final = 2**16
"""Bytes of the file that are read at once for each column."""
LOW: Final = 2**18
"""Rows up to which the columns of a row group take no more than two pages each."""
PAGES: Final = 2**21
"""Bytes for a column of a taller group: one stored page, the same page unpacked, and its values."""
UNPACKED: Final = 16
"""Bytes in memory per byte of a footer, which describes every column of every row group."""
KEPT: Final = 8 * 2**20
"""Bytes that the allocator of Arrow keeps of the memory that was released to it."""
AT_ONCE: Final = 32
"""Columns of a low row group that are read together."""


def open_rows(path: Path, wanted: Wanted) -> Table:
    """Open the rows of a file, or those of all files of a folder."""
    files = _files(path)
    # the first file decides which columns there are, and in which order
    with arrow_reading(files[0]), ParquetColumns(files[0]) as first:
        beside = select(first.names, wanted.beside, path)
        kept, notes = _kept(first, wanted, beside, path)
        own = set(first.names)
    numbers, along, types = [], [], set[Any]()
    rows, tallest, footer = 0, 0, 0
    others = dict[str, None]()
    for file in files:
        # one file is open at a time, since its footer may be large
        with arrow_reading(file), ParquetColumns(file) as opened:
            places = _places(opened, first, kept, path)
            _check_numbers(opened, places, path)
            types |= {opened.types[place] for place in places}
            rows += opened.rows
            tallest = max(tallest, *opened.heights, 0)
            footer = max(footer, opened.footer)
            numbers.append((file, places))
            along.append((file, _places(opened, first, beside, path)))
            others |= dict.fromkeys(set(opened.names) - own)
    # a column without values has the type null in one file, which does not decide the dtype
    dtype = narrow_dtype([kind for kind in types if not pa.types.is_null(kind)] or list(types))
    held = len(kept) * (tallest * dtype.itemsize if tallest <= LOW else PAGES)
    held += KEPT + UNPACKED * footer
    batches = partial(_number_batches, numbers, dtype)
    names = [first.names[place] for place in beside]
    if others and wanted.names is None:
        notes = (*notes, _left_out(path, sorted(others)))
    parted = _parted(path, files[0])
    if parted:
        notes = (*notes, f"{path.name}: {', '.join(parted)} of the names of its folders left out.")
    return Table(
        source=Batches(path, (rows, len(kept)), dtype, batches, held),
        names=tuple(first.names[place] for place in kept),
        notes=notes,
        along=partial(_batches, along, names) if beside else None,
    )


def _files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder without hidden ones and metadata such as `_common`.

    Raises:
        MatrixError: If the folder holds no such file.
    """
    if not path.is_dir():
        return [path]
    files = [
        file
        # the order of names is that of the rows, on every system
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() == ".parquet"
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    ]
    if not files:
        raise MatrixError(
            f"The folder {path} holds no .parquet file.",
            hint="Give a folder of .parquet files.",
            code="empty",
        )
    return files


def _kept(
    first: ParquetColumns, wanted: Wanted, beside: list[int], path: Path
) -> tuple[list[int], tuple[str, ...]]:
    """Positions of the columns of numbers in the first file, and notes on what is left out.

    Raises:
        MatrixError: If a wanted column does not exist, or no column is left.
    """
    if wanted.names is not None:
        return select(first.names, wanted.names, path), ()
    taken, notes = set(beside), ()
    # a column of words in front is looked at as an index only if pandas says so; else it is text
    if not first.types or is_number(first.types[0]) or first.index():
        index, notes = index_of(first, wanted.index, path)
        taken |= index
    text = {
        place: str(kind)
        for place, kind in enumerate(first.types)
        if place not in taken and not is_number(kind)
    }
    kept = [place for place in range(len(first.names)) if place not in {*taken, *text}]
    if not kept:
        raise no_numbers(path, first.names, text)
    return kept, (*notes, *skipped(path, first.names, text))


def _parted(path: Path, file: Path) -> list[str]:
    """Names of the columns that stand in names of folders, such as `year=2020`."""
    between = file.relative_to(path).parts[:-1] if path.is_dir() else ()
    return [part.split("=")[0] for part in between if "=" in part]


def _left_out(path: Path, names: list[str]) -> str:
    """The note on columns that the first file lacks."""
    shown = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
    columns = f"column{'s' * (len(names) > 1)}"
    return f"{path.name}: the {columns} {shown}, not in the first file, left out."


def _places(other: ParquetColumns, first: ParquetColumns, kept: list[int], path: Path) -> list[int]:
    """Positions in another file of the columns that are kept of the first one.

    Raises:
        FormatError: If the other file lacks one of them.
    """
    if other.names == first.names:
        return kept
    where = _numbered(other.names)
    wanted = {place: key for key, place in _numbered(first.names).items()}
    missing = [first.names[place] for place in kept if wanted[place] not in where]
    if missing:
        raise FormatError(
            f"A file of {path} has no column '{missing[0]}', which another has.",
            hint="Give files with the same columns.",
            code="columns-differ",
        )
    return [where[wanted[place]] for place in kept]


def _numbered(names: list[str]) -> dict[tuple[str, int], int]:
    """The position of each column by its name and the number of earlier columns of that name."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], int] = {}
    for place, name in enumerate(names):
        found[name, seen[name]] = place
        seen[name] += 1
    return found


def _check_numbers(opened: ParquetColumns, places: list[int], path: Path) -> None:
    """Refuse a column that holds no numbers in one of the files.

    Raises:
        MatrixError: If there is such a column.
    """
    for place in places:
        if not is_number(opened.types[place]):
            raise MatrixError(
                f"The column '{opened.names[place]}' of {path} holds {opened.types[place]}, "
                "no numbers.",
                hint="Choose the others with `columns`.",
                code="not-numbers",
            )


def _batches(files: list[tuple[Path, list[int]]], names: list[str]) -> Iterator[Any]:
    """Yield batches of some columns in this order."""
    for file, places in files:
        with ParquetColumns(file, BUFFER) as opened:
            for batch in _in_rows(opened, places):
                yield pa.RecordBatch.from_arrays(batch.columns, names=names)


def _number_batches(files: list[tuple[Path, list[int]]], dtype: DType) -> Iterator[Any]:
    """Yield batches of columns of numbers.

    A reader holds pages of every column that it was opened for, some megabytes each. Therefore a
    low row group is read a few columns at a time into one array, and a tall one in batches of rows.
    """
    for file, places in files:
        with ParquetColumns(file, BUFFER) as opened:
            for group, height in enumerate(opened.heights):
                if height <= LOW:
                    yield _in_columns(opened, group, places, dtype)
                else:
                    yield from _in_rows(opened, places, [group])


def _in_rows(
    opened: ParquetColumns, places: list[int], groups: list[int] | None = None
) -> Iterator[Any]:
    """Yield batches of rows of some row groups, or of all."""
    height = max(256, BATCH_BYTES // (8 * max(1, len(places))))
    return opened.batches(height, places, groups)


def _in_columns(opened: ParquetColumns, group: int, places: list[int], dtype: DType) -> Any:
    """The numbers of a row group as one array, read a few columns at a time."""
    # one row per column in memory, so that each column is written contiguously
    values = own_pages((len(places), opened.heights[group]), dtype)
    for start in range(0, len(places), AT_ONCE):
        part = opened.read_group(group, places[start : start + AT_ONCE])
        # a damaged file may hold another number of rows than its footer says
        if part.num_rows != opened.heights[group]:
            raise pa.ArrowInvalid(f"row group {group} has {part.num_rows} rows, not as it says")
        for place, column in enumerate(part.columns, start):
            values[place] = numbers(column.combine_chunks(), dtype)
    return values.T
