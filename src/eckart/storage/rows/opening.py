"""From a path to its rows, by its suffix."""

from importlib import import_module
from pathlib import Path
from typing import Any, Final

from eckart.errors import ArgumentError
from eckart.storage.contents import meaningless
from eckart.storage.rows.table import Table, Wanted
from eckart.storage.whole import check_regular, reading, settle

READERS: Final = {
    ".npy": "array_file",
    ".parquet": "parquet_files",
    ".csv": "text_file",
    ".tsv": "text_file",
    ".zarr": "chunked",
    ".h5": "chunked",
    ".hdf5": "chunked",
    ".h5ad": "chunked",
}


OPTIONS: Final = {
    "text_file": {"header", "index"},
    "parquet_files": {"index"},
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
    module: Any = import_module(f"eckart.storage.rows.{READERS[kind]}")
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
