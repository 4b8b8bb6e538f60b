"""A file opened for its rows: which columns are numbers, and what goes along with them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import pyarrow as pa

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
