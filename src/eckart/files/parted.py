"""Rows of files of which any part can be opened, in any process that sees the same files."""

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias, final

from eckart.arrays import DType
from eckart.cluster.tree import Segment
from eckart.errors import ArgumentError, FormatError
from eckart.files.records import Selection, Table
from eckart.files.registry import open_table
from eckart.matrices import RowReader
from eckart.matrices.distributed import loaded

Stamps: TypeAlias = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of each file."""
NO_PARTS: Final = "Convert it to .npy, .parquet or .zarr, whose rows can be found by their place."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FileRows:
    """Rows of a file or a folder from one place up to another, as `PartedRows` and `RowSource`.

    Fields:
        path: The file or the folder, by a path that is the same for every worker.
        selection: The part of it that is read.
        columns: Number of columns.
        dtype: Dtype of the rows as they are read.
        first, last: The place of the first row, and that behind the last one.
        stamps: Name, size and time of each file, as the client has seen them.
        held: Bytes that a reader keeps.
        turn: A name of the pass in which they are read.
    """

    path: Path
    selection: Selection
    columns: int
    dtype: DType
    first: int
    last: int
    stamps: Stamps
    held: int
    turn: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        return self.last - self.first, self.columns

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return (self.last - self.first) * self.columns * self.dtype.itemsize

    @property
    def lead(self) -> int:
        """Bytes before the first row in its page: not known here."""
        return 0

    def part(self, first: int, last: int, turn: str = "") -> "FileRows":
        """The rows from one place up to another, counted from the first of these."""
        return replace(
            self, first=self.first + first, last=self.first + last, turn=turn or self.turn
        )

    def placed(self, send: Any, segment: Segment, at: str) -> Any:
        """A task that reads a segment into the memory of a worker."""
        return send.task(loaded, self.part(segment.first, segment.last), segment.first, at=at)

    def open(self) -> RowReader:
        """Open a reader at the first row.

        Raises:
            FormatError: If the files are not those that the client has seen.
        """
        if not _is_same(self.path, self.stamps, self.turn):
            raise FormatError(
                f"{self.path} is not the same on every worker, or was changed meanwhile.",
                hint="Put it where all workers see it by this path, and leave it as it is.",
                code="file-differs",
            )
        at = _table(self.path, self.selection, self.stamps).source.at
        assert at is not None  # the client has seen it
        return at(self.first)


def open_parts(path: Path, selection: Selection | None = None) -> tuple[Table, FileRows]:
    """Open a file or a folder as a table, and its rows as parts.

    Raises:
        ArgumentError: If rows of the format cannot be found by their place, such as those of text.
        EckartError: In all cases in which `open_table` raises one.
    """
    selection = selection or Selection()
    table = open_table(path, selection)
    source = table.source
    if source.at is None:
        raise ArgumentError(
            f"The rows of {path.name} are found by reading all before them, which no worker can "
            "share.",
            hint=NO_PARTS,
            code="unknown-suffix",
        )
    rows, columns = source.shape
    return table, FileRows(
        path=path.resolve(),
        selection=selection,
        columns=columns,
        dtype=source.dtype,
        first=0,
        last=rows,
        stamps=stamps_of(path),
        held=source.held,
    )


CHECKED_SECONDS: Final = 1.0
"""Seconds for which files that were checked count as the same within a pass: a folder may have
very many."""
_checked: dict[Path, tuple[Stamps, str, float]] = {}


def _is_same(path: Path, stamps: Stamps, turn: str) -> bool:
    """Whether files are those that the client has seen, in a pass of this name."""
    known, when, before = _checked.get(path, ((), "", 0.0))
    is_late = time.monotonic() - before > CHECKED_SECONDS
    if (known, when) == (stamps, turn) and not is_late:
        return True
    if not path.exists() or stamps_of(path) != stamps:
        return False
    _checked[path] = (stamps, turn, time.monotonic())
    return True


@lru_cache(maxsize=4)
def _table(path: Path, selection: Selection, stamps: Stamps) -> Table:
    """The table of a path, opened once by a process for files of these stamps."""
    del stamps  # other ones are another table
    return open_table(path, selection)


def stamps_of(path: Path) -> Stamps:
    """Name, size and time of change of a file, or of all files of a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = ((file, file.stat()) for file in files if file.is_file())
    return tuple((file.name, status.st_size, status.st_mtime_ns) for file, status in found)
