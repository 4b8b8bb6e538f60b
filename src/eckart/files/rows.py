"""From a path to its rows, by its suffix, and what goes along with them."""

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
    """What of a table is wanted.

    Fields:
        columns: Names of the columns of numbers, in this order; None takes all there are.
        named: The same of a file whose columns have names; those of any other are taken as they
            stand.
        beside: Columns that go along with the rows and are not computed with.
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
        """Of the columns of numbers of a file whose columns have names."""
        return self.columns or self.named


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of numbers and what a person should know of them.

    Fields:
        source: Where the rows come from.
        names: Of the columns of numbers, or None.
        notes: Which columns were skipped, and how else the file was read.
        passes: How often the file was read to open it.
        along: Opens the columns that go along, in batches; None where there are none.
    """

    source: RowSource
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    passes: int = 0
    along: Callable[[], Iterator[Any]] | None = None

    def companions(self) -> "Companions":
        """The columns that go along, from the first row."""
        return Companions(iter(()) if self.along is None else self.along())


@final
class Companions:
    """Columns that go along with blocks of rows, taken off in the same numbers."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._rest: Any = None

    def take(self, count: int) -> Any:
        """The next rows as an Arrow table; None where nothing goes along."""
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
"""What else than columns can be said of a file to each reader."""


def is_read_by_rows(path: Path) -> bool:
    """Whether a path is of a kind that can be larger than memory; a folder holds Parquet files."""
    return _kind(path) in READERS


def open_table(path: Path, wanted: Wanted | None = None) -> Table:
    """The rows of a file or a folder.

    Raises:
        ArgumentError: If it is not there, its suffix is unknown, or something is said of it that
            means nothing there.
        FormatError: If it is damaged.
        MatrixError: If a column that is wanted is not there or holds no numbers.
        MissingExtra: If the package that reads it is not installed.
        StorageError: If the system refuses to read it.
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
    settle(path)
    with reading(path):
        if not path.exists():
            raise FileNotFoundError(str(path))
        if not path.is_dir():
            check_regular(path)
        return module.open_rows(path, chosen)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    return ".parquet" if path.is_dir() and suffix not in READERS else suffix
