"""The rows of a file or a folder, by its suffix, and the columns that accompany them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from eckart.errors import ArgumentError
from eckart.files.contents import meaningless
from eckart.files.whole import check_regular, reading, settle
from eckart.matrices import RowSource


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The columns of a table that are wanted, and how the table is read.

    Fields:
        columns: Names of the columns of numbers, in this order; None takes all of them.
        named: Names of the columns of numbers if the columns of the file have names; columns
            without names are taken in the order of the file.
        beside: Names of columns that accompany the rows and are not computed with.
        header: Whether the first row of a text file is a header; None finds out.
        index: Whether the first column is an index; None finds out.
        tensor: Name of the array in a file that holds several.
    """

    columns: tuple[str, ...] | None = None
    named: tuple[str, ...] | None = None
    beside: tuple[str, ...] = ()
    header: bool | None = None
    index: bool | None = None
    tensor: str | None = None

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the wanted columns of numbers in a file whose columns have names."""
        return self.columns or self.named


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of numbers, and notes on how they are read.

    Fields:
        source: The source of the rows.
        names: Names of the columns of numbers; None if they have none.
        notes: Sentences for the user, such as which columns were skipped.
        passes: Number of passes over the file that opening it took.
        along: Function that opens the accompanying columns in batches; None if there are none.
    """

    source: RowSource
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    passes: int = 0
    along: Callable[[], Iterator[Any]] | None = None

    def companions(self) -> "Companions":
        """The accompanying columns, from the first row on."""
        return Companions(iter(()) if self.along is None else self.along())


@final
class Companions:
    """Columns that accompany blocks of rows, taken in blocks of the same heights."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._rest: Any = None

    def take(self, count: int) -> Any:
        """The next rows as an Arrow table; None if there are no accompanying columns."""
        taken: list[Any] = []
        while count > 0:
            if self._rest is None or self._rest.num_rows == 0:
                batch = next(self._batches, None)
                if batch is None:
                    break
                self._rest = pa.Table.from_batches([batch])
            piece = self._rest.slice(0, count)
            self._rest = self._rest.slice(piece.num_rows)
            taken.append(piece)
            count -= piece.num_rows
        return pa.concat_tables(taken) if taken else None


# modules by suffix: a module is imported only when a file of its kind is opened
READERS: Final = {
    ".npy": "npy",
    ".parquet": "parquet_rows",
    ".csv": "text.numbers",
    ".tsv": "text.numbers",
    ".zarr": "chunked",
    ".h5": "chunked",
    ".hdf5": "chunked",
    ".h5ad": "chunked",
}


OPTIONS: Final = {
    "text.numbers": {"header", "index"},
    "parquet_rows": {"index"},
    "chunked": {"tensor"},
}
"""The fields of `Wanted` besides columns that each reader understands."""


def is_read_by_rows(path: Path) -> bool:
    """Whether a path can be read by rows and thus exceed memory; a folder holds Parquet files."""
    return _kind(path) in READERS


def open_table(path: Path, wanted: Wanted | None = None) -> Table:
    """Open a file or a folder by rows.

    Raises:
        ArgumentError: If the path does not exist, its suffix is unknown, or an option of `wanted`
            does not apply to files of its kind.
        FormatError: If the file is damaged.
        MatrixError: If a wanted column does not exist or holds no numbers.
        MissingExtra: If the package that reads the file is not installed.
        StorageError: If the system refuses to read the file.
    """
    kind = _kind(path)
    if kind not in READERS:
        raise ArgumentError(
            f"eckart cannot read {path.name} row by row.",
            hint=f"Known are: {', '.join(READERS)} and a folder of .parquet.",
            code="unknown-suffix",
        )
    chosen = wanted or Wanted()
    for option in ("header", "index", "tensor"):
        known = OPTIONS.get(READERS[kind], set[str]())
        if getattr(chosen, option) is not None and option not in known:
            raise meaningless(option, kind)
    module: Any = import_module(f"eckart.files.{READERS[kind]}")
    # a killed run may have left this file and its companions half replaced
    settle(path)
    with reading(path):
        if not path.exists():
            raise FileNotFoundError(str(path))
        if not path.is_dir():
            check_regular(path)
        return module.open_rows(path, chosen)


def _kind(path: Path) -> str:
    """The suffix that decides the reader; a folder counts as Parquet, unless it is one of Zarr."""
    suffix = path.suffix.lower()
    return ".parquet" if path.is_dir() and suffix not in READERS else suffix
