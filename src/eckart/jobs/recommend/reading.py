"""Tables of interactions as they are read: columns by role, before ids and entries."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from eckart.errors import MatrixError
from eckart.jobs.recommend.columns import KNOWN, ColumnNames, find_columns
from eckart.jobs.recommend.vocabulary import column_of
from eckart.storage.tables import Kind, TableHead, read_columns, table_head

Numbers: TypeAlias = npt.NDArray[np.float32]


Times: TypeAlias = npt.NDArray[np.int64]


pc: Final[Any] = compute  # its functions are made when it is imported, which no type checker sees


KINDS: Final[dict[str, Kind]] = {
    "user": "id",
    "item": "id",
    "rating": "number",
    "weight": "number",
    "time": "time",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of one table by role, as they were read.

    Fields:
        columns: Arrow arrays: user, item, and rating, weight or time where they are there.
        source: The table, for messages.
        untyped: Whether it is from a text file, where ids have no type.
        notes: How it was read.
    """

    columns: dict[str, Any]
    source: str
    untyped: bool
    notes: tuple[str, ...] = ()


def read_table(
    data: Any,
    named: ColumnNames | None = None,
    *,
    needed: tuple[str, ...] = ("user", "item"),
) -> Table:
    """The columns of a file, a data frame, an Arrow table or a mapping of columns.

    Args:
        data: A path; or anything with columns: Polars, pandas, Arrow, a mapping.
        named: Columns that have other names than usual.
        needed: Roles without which it cannot be used.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If it is damaged.
        MatrixError: If a column is not there, or cells are not what they should be.
        StorageError: If the system refuses to read it.
    """
    named = named or ColumnNames()
    if isinstance(data, str | PathLike):
        path = Path(data)
        head = table_head(path, KNOWN)
        found, notes = find_columns(head, named, path.name, needed=needed)
        wanted: dict[int, Kind] = {place: KINDS[role] for role, place in found.items()}
        read = read_columns(path, head, wanted)
        columns = {role: read.column(str(place)) for role, place in found.items()}
        untyped = bool(head.delimiter)
        return Table(columns=columns, source=path.name, untyped=untyped, notes=tuple(notes))
    names, held = columns_in(data)
    head = TableHead(names=tuple(names), width=len(names))
    found, notes = find_columns(head, named, "The table", needed=needed)
    columns = {role: held[place] for role, place in found.items()}
    check_lengths(columns.values())
    return Table(columns=columns, source="the table", untyped=False, notes=tuple(notes))


def columns_in(data: Any) -> tuple[list[str], list[Any]]:
    """Names and columns of a data frame, an Arrow table or a mapping of columns.

    Raises:
        MatrixError: If it is none of these.
    """
    if isinstance(data, Mapping):
        columns: list[Any] = [_column(name, values) for name, values in data.items()]
        return [str(name) for name in data], columns
    table = _arrow(data)
    return list(table.schema.names), list(table.columns)


def check_lengths(columns: Iterable[Any]) -> None:
    """Refuse columns that are not of one length.

    Raises:
        MatrixError: If so.
    """
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise MatrixError(
            f"The columns have different lengths: {sorted(lengths)}.",
            hint="Give one entry for each row.",
            code="shapes-differ",
        )


def numbers_of(table: Table, role: str) -> Numbers | None:
    """The column of ratings or weights; None where there is none.

    Raises:
        MatrixError: If it does not hold numbers.
    """
    column = table.columns.get(role)
    if column is None:
        return None
    try:
        # not safe, or whole numbers that float64 rounds would be none
        wide = pc.cast(column, pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # text that is no number, or a type that has none
        raise MatrixError(
            f"The column of {role}s of {table.source} does not hold numbers.",
            hint=f"Name another with --{role}.",
            code="not-numbers",
        ) from error
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(wide.to_numpy(zero_copy_only=False), np.float32)


def times_of(table: Table, notes: list[str]) -> Times | None:
    """Times as whole numbers that are in their order; of text, its ranks in sorted order.

    Raises:
        MatrixError: If they are of several types.
    """
    column = table.columns.get("time")
    if column is None:
        return None
    if isinstance(column, list):
        raise MatrixError(
            f"The column of times of {table.source} is of several types.",
            hint="Name another with --time.",
            code="not-numbers",
        )
    if column.null_count:
        notes.append(f"{column.null_count:,} times are missing; they count as the earliest.")
    kind = column.type
    if pa.types.is_temporal(kind):
        filled = pc.cast(column, pa.timestamp("us"), safe=False).cast(pa.int64())
    elif pa.types.is_integer(kind):
        filled = column.cast(pa.int64())
    elif pa.types.is_floating(kind):
        filled = pc.cast(pc.multiply(column, 1e3), pa.int64(), safe=False)
    else:
        filled = pc.rank(column.cast(pa.string()), tiebreaker="dense").cast(pa.int64())
    lowest = np.iinfo(np.int64).min
    return np.asarray(pc.fill_null(filled, lowest).to_numpy(), np.int64)


def _column(name: object, values: Any) -> Any:
    """A column of a mapping; numbers too large for Arrow stay as they are, for the ids."""
    try:
        return column_of(values)[0] if not isinstance(values, list) else pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return values
    except MatrixError as error:
        raise MatrixError(
            f"The column '{name}' cannot be read: {error.message}", hint=error.hint, code=error.code
        ) from error


def _arrow(data: Any) -> Any:
    if isinstance(data, pa.Table):
        return data
    try:
        return pa.table(data)
    except (pa.ArrowException, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise MatrixError(
            f"Interactions cannot be read from {type(data).__name__}: {error}.",
            hint="Give a path, a data frame, an Arrow table, a mapping of columns or a SciPy "
            "sparse matrix of users × items.",
            code="not-interactions",
        ) from error


def table_of_matrix(W: Any, user_ids: Any, item_ids: Any, role: str) -> Table:
    """The stored entries of a sparse matrix of users × items; a stored 0 is an entry too."""
    entries = W.tocoo()
    sides: list[Any] = []
    for length, ids, what in zip(W.shape, (user_ids, item_ids), ("user", "item"), strict=True):
        if ids is not None and len(ids) != length:
            swapped = (
                user_ids is not None
                and item_ids is not None
                and ((len(item_ids), len(user_ids)) == tuple(W.shape))
            )
            raise MatrixError(
                f"The matrix is {W.shape[0]} × {W.shape[1]}, but there are {len(ids)} {what} ids.",
                hint="Rows are users and columns are items: give its transpose, W.T."
                if swapped
                else "Give one id for each row and column.",
                code="transposed" if swapped else "shapes-differ",
            )
        sides.append(np.arange(length) if ids is None else ids)
    rows, columns = entries.row, entries.col
    named = [pa.chunked_array([pa.array(side)]).take(pa.array(places))
             for side, places in zip(sides, (rows, columns), strict=True)]  # fmt: skip
    data = pa.array(np.asarray(entries.data, np.float64))
    return Table(
        columns={"user": named[0], "item": named[1], role: data},
        source="the matrix",
        untyped=False,
    )
