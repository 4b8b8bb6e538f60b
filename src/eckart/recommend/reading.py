"""Reading of tables: their columns by role, before ids are coded and entries checked."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from eckart.errors import MatrixError
from eckart.files.tables import column_blocks, read_columns, table_head
from eckart.files.text.cells import numbers
from eckart.files.text.table import Kind, TableHead, plain
from eckart.recommend.chunked import Column, Floats, Numbers, TableLike, pc
from eckart.recommend.columns import KNOWN, ColumnNames, find_columns, naming
from eckart.recommend.ids import column_of

FINE: Final = 1000
"""The range of large ratings is at least so many times their rounding to float32."""
FAR: Final = 10**5
"""Size from which ratings are checked for the rounding of float32."""
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
    """The columns of a table by role, as they are read: at once, or a block of rows at a time.

    Fields:
        roles: The roles of the columns: user, item, and rating, weight and time if there are any.
        blocks: An iterator over the blocks, each a mapping from role to Arrow array. What is used
            may be taken out of a block, to free its memory.
        source: Name of the table, for messages.
        untyped: Whether the table is a text file, where ids have no type.
        notes: Notes for the user on how the table was read.
        times: A function that returns the whole column of times, whose blocks may differ in type;
            None if they cannot.
    """

    roles: frozenset[str]
    blocks: Iterator[dict[str, Column]]
    source: str
    untyped: bool
    notes: tuple[str, ...] = ()
    times: Callable[[], Column] | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A table with the names of its columns, which are in memory or still in a file."""

    head: TableHead
    source: str
    path: Path | None = None
    held: tuple[Column, ...] = ()

    @property
    def untyped(self) -> bool:
        """Whether it is a text file, where ids have no type."""
        return self.head.text is not None

    def read(self, wanted: Mapping[int, Kind]) -> list[Column]:
        """The columns at some places, each of a kind."""
        if self.path is None:
            columns = [self.held[place] for place in wanted]
            _check_lengths(columns)
            return columns
        table = read_columns(self.path, self.head, wanted)
        return [table.column(str(place)) for place in wanted]

    def blocks(self, wanted: Mapping[int, Kind]) -> Iterator[list[Column]]:
        """The columns, of a file a block of rows at a time, with errors as it is read."""
        if self.path is None:
            yield self.read(wanted)
            return
        for block in column_blocks(self.path, self.head, wanted):
            yield [block.column(str(place)) for place in wanted]


def open_table(data: TableLike, words: frozenset[str], source: str = "the table") -> Opened:
    """Open a table; the first row of a text file is a header if it holds one of some words."""
    if isinstance(data, str | PathLike):
        path = Path(data)
        return Opened(head=table_head(path, words), source=path.name, path=path)
    if isinstance(data, Mapping):
        names = [str(name) for name in data]
        held = [_column(name, values) for name, values in data.items()]
    else:
        table = _arrow(data)
        names, held = table.schema.names, table.columns
    head = TableHead(names=tuple(names), width=len(names))
    return Opened(head=head, source=source, held=tuple(held))


def read_table(data: TableLike, named: ColumnNames | None = None, *, whole: bool = True) -> Table:
    """Find the columns of a file, a data frame, an Arrow table or a mapping of columns.

    They are read when they are asked for, at once (`whole`) or by blocks.
    """
    named = named or ColumnNames()
    given = {plain(name) for name in named.known().values()}
    # a number names a column by its place and says nothing of a header
    words = {name for name in given if name and not name.isdigit()}
    opened = open_table(data, KNOWN | words)
    head = opened.head
    found, notes = find_columns(head, named, "The table" if opened.path is None else opened.source)
    kinds: dict[int, Kind] = {place: KINDS[role] for role, place in found.items()}

    def blocks() -> Iterator[dict[str, Column]]:
        with _as_named(head, notes):
            for block in [opened.read(kinds)] if whole else opened.blocks(kinds):
                yield dict(zip(found, block, strict=True))

    return Table(
        roles=frozenset(found),
        blocks=blocks(),
        source=opened.source,
        untyped=opened.untyped,
        notes=(*head.notes, *notes),
        times=lambda: opened.read({found["time"]: "time"})[0],
    )


def _check_lengths(columns: Iterable[Any]) -> None:
    """Refuse columns of different lengths."""
    try:
        lengths = {len(column) for column in columns}
    except TypeError:
        raise MatrixError(
            "A column is one value and no list.", hint="Put it into a list.", code="bad-column"
        ) from None
    if len(lengths) > 1:
        raise MatrixError(
            f"The columns have different lengths: {sorted(lengths)}.",
            hint="Give one entry for each row.",
            code="shapes-differ",
        )


@contextmanager
def _as_named(head: TableHead, notes: list[str]) -> Generator[None, None, None]:
    """Extend an error of a table without a header by the roles its columns were taken for."""
    try:
        yield
    except MatrixError as error:
        # with a header the columns are known by name, so nothing is to be explained
        if error.code != "not-numbers" or head.names is not None:
            raise
        raise MatrixError(error.message, hint=" ".join(notes), code=error.code) from error


def as_numbers(column: Column, role: str, source: str, *, before: int = 0) -> Floats:
    """A column of ratings or weights as float32; NaN for missing cells."""
    try:
        # text in memory is read by the same rules as text in a file
        column = _read_text(column, role, source, before)
        # a safe cast would refuse whole numbers that float64 rounds
        wide = pc.cast(column, pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # text that is no number, or a type that has none
        raise MatrixError(
            f"The column of {role}s of {source} does not hold numbers.",
            hint=f"Name another: {naming(role)}.",
            code="not-numbers",
        ) from error
    exact = wide.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.asarray(exact, np.float32)
        if role == "rating":
            _check_apart(exact, rounded, source)
    return rounded


def _read_text(column: Column, role: str, source: str, before: int) -> Column:
    """Text in memory as the numbers it says, read as in a file; other types unchanged."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = getattr(whole, "type", pa.null())
    if pa.types.is_dictionary(kind) or pa.types.is_binary(kind):
        whole = whole.cast(kind.value_type if pa.types.is_dictionary(kind) else pa.string())
        kind = whole.type
    if not pa.types.is_string(kind) and not pa.types.is_large_string(kind):
        return column
    found, words = numbers(whole.cast(pa.string()))
    if not pc.any(words).as_py():
        return found
    row = int(np.argmax(np.asarray(pc.fill_null(words, False))))
    raise MatrixError(
        f"Row {before + row + 1} of {source} has the {role} '{whole[row].as_py()[:40]}', which is "
        "no number.",
        hint=f"Correct it, or name another column: {naming(role)}.",
        code="not-numbers",
    )


def _check_apart(exact: Numbers, rounded: Floats, source: str) -> None:
    """Refuse large ratings whose differences are lost in the rounding of float32."""
    # other ratings are refused later, with their row
    there = np.isfinite(exact) & np.isfinite(rounded)
    known = exact[there]
    # ratings that are all equal are no loss, whatever their size
    apart = np.ptp(known) if len(known) else 0.0
    far = apart and np.abs(known).max() > FAR
    if far and np.abs(known - rounded[there]).max() > apart / FINE:
        raise MatrixError(
            f"The ratings of {source} differ by {apart:.3g} only, about {known[0]:.9g}, and "
            "float32 does not tell them apart.",
            hint=f"Subtract {known.min():.9g} from all of them, or name another column.",
            code="bad-rating",
        )


def _column(name: object, values: Column) -> Column:
    """A column of a mapping; numbers that are too large for Arrow stay as they are, for the ids."""
    try:
        return pa.array(values) if isinstance(values, list) else column_of(values, "values")[0]
    except MatrixError as error:
        raise MatrixError(
            f"The column '{name}' cannot be read: {error.message}", hint=error.hint, code=error.code
        ) from error
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return values


def _arrow(data: TableLike) -> Any:
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
    """The stored entries of a sparse users × items matrix as a table; stored zeros count too."""
    if len(W.shape) != 2:
        raise MatrixError(
            f"The sparse array has {len(W.shape)} dimensions.",
            hint="Give a matrix of users × items.",
            code="not-a-matrix",
        )
    entries = W.tocoo()
    # a cast to float64 would drop the imaginary part
    if np.iscomplexobj(entries.data):
        raise MatrixError(
            "The matrix holds complex numbers, which are no ratings.",
            hint="Give its real part.",
            code="not-numbers",
        )
    named: list[Column] = []
    sides = zip(
        W.shape, (user_ids, item_ids), (entries.row, entries.col), ("user", "item"), strict=True
    )
    for length, ids, places, what in sides:
        if ids is None:
            named.append(pa.array(places))
            continue
        if len(ids) != length:
            # lengths that fit the other way round: the matrix was given as items × users
            swapped = (
                user_ids is not None
                and item_ids is not None
                and (len(item_ids), len(user_ids)) == tuple(W.shape)
            )
            raise MatrixError(
                f"The matrix is {W.shape[0]} × {W.shape[1]}, but there are {len(ids)} {what} ids.",
                hint="Rows are users and columns are items: give its transpose, W.T."
                if swapped
                else "Give one id for each row and column.",
                code="transposed" if swapped else "shapes-differ",
            )
        side = column_of(ids)[0]
        # chunked, since the text of all entries may be too long for one Arrow array
        whole = side if isinstance(side, pa.ChunkedArray) else pa.chunked_array([side])
        named.append(whole.take(pa.array(places)))
    data = pa.array(np.asarray(entries.data, np.float64))
    columns = {"user": named[0], "item": named[1], role: data}
    return Table(
        roles=frozenset(columns), blocks=iter([columns]), source="the matrix", untyped=False
    )
