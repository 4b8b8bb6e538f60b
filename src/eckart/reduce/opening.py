"""How a table is read: in memory where it fits, else in blocks of rows."""

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
"""A file of up to so many bytes of numbers is held in memory where no memory is named."""
STREAM_MEMORY: Final = 2**30


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a table is read.

    Fields:
        columns: Names of the columns of numbers; None takes all.
        named: The same of a file whose columns have names; those of any other are taken as they
            stand.
        ids: Columns that pass through to the scores.
        colour: A column that colours the picture of the report.
        header: Whether the first row of a text file is a header.
        index: Whether the first column of a table is an index.
        tensor: Name of the array in a file that holds several.
        memory: The most bytes, a number or "500MB"; the file is then read in blocks of rows.
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
        """The same for the files that are read by rows."""
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
        """The same for what has columns of these names, in this order.

        Raises:
            ArgumentError: If one of them is asked for in the place of another.
        """
        if self.columns is None or names is None:
            return replace(self, named=names)
        known = set(names)
        for own, other in zip(self.columns, names, strict=False):
            if own != other and own in known:
                raise ArgumentError(
                    f"--columns has '{own}' in the place of '{other}'.",
                    hint="Leave it out: the columns are found by their names.",
                    code="columns-differ",
                )
        return self


def open_matrix(path: Path, reading: Reading) -> tuple[Table, Matrix]:
    """A file as a table and its matrix: in memory where it fits, else streamed.

    Raises:
        EckartError: If it cannot be read.
    """
    if not is_read_by_rows(path):
        return _whole_matrix(path, reading)
    table = open_table(path, reading.wanted())
    if reading.memory is not None:
        return table, Streamed(table.source, memory=byte_count(reading.memory))
    streamed = Streamed(table.source, memory=STREAM_MEMORY)
    if table.source.nbytes > IN_MEMORY:
        return table, streamed
    return table, Dense(dense(streamed))


def _whole_matrix(path: Path, reading: Reading) -> tuple[Table, Matrix]:
    """A file of a kind that is read whole: sparse matrices and the like."""
    if reading.wanted().beside or reading.columns or reading.memory is not None:
        raise ArgumentError(
            f"{path.name} is read whole and has no names of columns.",
            hint="Leave --memory, --columns, --id and --color out, or give a table or a .npy.",
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
    """Rows as they are stored, sparse ones sparse. One pass."""
    if isinstance(W, Sparse):
        yield from W.stored_blocks()
    else:
        yield from W.row_blocks()


def missing_in(block: Any) -> int:
    """How many entries of some rows are missing.

    Raises:
        MatrixError: If one is infinite.
    """
    data = block.data if hasattr(block, "indptr") else block
    missing = int(np.count_nonzero(np.isnan(data)))
    if np.count_nonzero(~np.isfinite(data)) > missing:
        raise MatrixError(
            "An entry of these rows is infinite.",
            hint="Correct it, or leave it empty.",
            code="not-finite",
        )
    return missing
