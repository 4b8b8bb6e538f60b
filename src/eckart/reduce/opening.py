"""Opening of a table: in memory if it fits, else streamed in blocks of rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.errors import ArgumentError, MatrixError
from eckart.files import Selection, check_input, read_parts
from eckart.files.rows import Table, Wanted, is_read_by_rows, open_table
from eckart.matrices import Dense, Matrix, Sparse, Streamed
from eckart.matrices.derived import dense
from eckart.ranks import byte_count

IN_MEMORY: Final = 2**31
"""A file of up to so many bytes of numbers is held in memory if no memory limit is given."""
STREAM_MEMORY: Final = 2**30
"""Bytes that a streamed table may take if no memory limit is given."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Options for reading a table.

    Fields:
        columns: Names of the numeric columns; None takes all.
        named: Names of the columns if the file has names; a file without names is read in its
            order.
        ids: Names of the columns that pass through to the scores.
        colour: Name of the column that colours the figure of the report.
        header: Whether the first row of a text file is a header.
        index: Whether the first column of a table is an index.
        tensor: Name of the array in a file that holds several.
        memory: Memory limit in bytes, or as "500MB"; the file is then read in blocks of rows.
    """

    columns: tuple[str, ...] | None = None
    named: tuple[str, ...] | None = None
    ids: tuple[str, ...] = ()
    colour: str | None = None
    header: bool | None = None
    index: bool | None = None
    tensor: str | None = None
    memory: int | str | None = None

    def wanted(self) -> Wanted:
        """The options for a file that is read by rows."""
        # a column is read only once
        colour = () if self.colour is None or self.colour in self.ids else (self.colour,)
        return Wanted(
            columns=self.columns,
            named=self.named,
            beside=(*self.ids, *colour),
            header=self.header,
            index=self.index,
            tensor=self.tensor,
        )

    def of_names(self, names: tuple[str, ...] | None) -> "Reading":
        """These options for a file that must have columns of given names, in this order.

        Raises:
            ArgumentError: If one of these columns is requested in the place of another.
        """
        if self.columns is None or names is None:
            return replace(self, named=names)
        known = set(names)
        for own, other in zip(self.columns, names, strict=False):
            if own != other and own in known:
                raise ArgumentError(
                    f"`columns` has '{own}' in the place of '{other}'.",
                    hint="Leave it out: the columns are found by their names.",
                    code="columns-differ",
                )
        return self


def open_matrix(path: Path, reading: Reading) -> tuple[Table, Matrix]:
    """Open a file as a table with its matrix: in memory if it fits, else streamed.

    Raises:
        EckartError: If the file cannot be read.
    """
    if not is_read_by_rows(path):
        return _whole_matrix(path, reading)
    table = open_table(path, reading.wanted())
    if reading.memory is not None:
        # a limit that is named is kept, also for a file that would fit into memory
        return table, Streamed(table.source, memory=byte_count(reading.memory))
    streamed = Streamed(table.source, memory=STREAM_MEMORY)
    if table.source.nbytes > IN_MEMORY:
        return table, streamed
    return table, Dense(dense(streamed))


def _whole_matrix(path: Path, reading: Reading) -> tuple[Table, Matrix]:
    """Read a file of a format that is not read by rows, such as a sparse matrix."""
    if reading.wanted().beside or reading.columns or reading.memory is not None:
        raise ArgumentError(
            f"{path.name} is read whole and has no names of columns.",
            hint="Leave `memory`, `columns`, `ids` and `colour` out, or give a table or a .npy.",
            code="option-does-not-apply",
        )
    selection = Selection(header=reading.header, index=reading.index, tensor=reading.tensor)
    check_input(path, selection)
    contents = read_parts(path, selection)
    if len(contents.parts) != 1:
        raise MatrixError(
            f"{path} has {len(contents.parts)} parts.",
            hint="Give one matrix.",
            code="too-many-parts",
        )
    matrix: Any = contents.parts[0].matrix
    return Table(source=matrix, names=None, notes=contents.notes), matrix


def raw_blocks(W: Matrix) -> Iterator[Any]:
    """Blocks of rows as they are stored; those of a sparse matrix are sparse. One pass."""
    if isinstance(W, Sparse):
        yield from W.stored_blocks()
    else:
        yield from W.row_blocks()


def missing_in(block: Any) -> int:
    """The number of missing entries of some rows.

    Raises:
        MatrixError: If an entry is infinite.
    """
    # what a sparse block does not store is zero
    data = block.data if hasattr(block, "indptr") else block
    missing = int(np.count_nonzero(np.isnan(data)))
    if np.count_nonzero(~np.isfinite(data)) > missing:
        raise MatrixError(
            "An entry of these rows is infinite.",
            hint="Correct it, or leave it empty.",
            code="not-finite",
        )
    return missing
