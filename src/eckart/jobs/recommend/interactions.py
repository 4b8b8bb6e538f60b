"""Who dealt with what: the known entries of a users × items matrix, with their ids."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from eckart.errors import ArgumentError, MatrixError
from eckart.jobs.recommend.columns import KNOWN, ColumnNames, find_columns
from eckart.jobs.recommend.vocabulary import Places, Vocabulary, column_of
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


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interactions:
    """Known entries, sorted by user and item, each pair once.

    Fields:
        users, items: The ids of the rows and of the columns.
        rows, columns: Place of the user and of the item of each entry.
        ratings: None where it is only known that there was an interaction.
        weights: None where all are 1.
        times: Seconds or ranks in time; None where they are not known.
        notes: What was done to them that a person should know.
    """

    users: Vocabulary
    items: Vocabulary
    rows: Places
    columns: Places
    ratings: Numbers | None = None
    weights: Numbers | None = None
    times: Times | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(users, items)."""
        return len(self.users), len(self.items)

    def chosen(self, places: npt.NDArray[Any]) -> "Interactions":
        """Some of the entries, by mask or places, with all ids kept."""
        return replace(
            self,
            rows=self.rows[places],
            columns=self.columns[places],
            ratings=None if self.ratings is None else self.ratings[places],
            weights=None if self.weights is None else self.weights[places],
            times=None if self.times is None else self.times[places],
        )

    def starts(self) -> npt.NDArray[np.int64]:
        """Where the entries of each user begin, and the end: of length users + 1."""
        counts = np.bincount(self.rows, minlength=len(self.users))
        return np.concatenate([[0], np.cumsum(counts)])

    def item_counts(self) -> npt.NDArray[np.int64]:
        """How many users dealt with each item."""
        return np.bincount(self.columns, minlength=len(self.items))

    def user_counts(self) -> npt.NDArray[np.int64]:
        """How many items each user dealt with."""
        return np.bincount(self.rows, minlength=len(self.users))


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
    if isinstance(data, Mapping):
        names, held = list(data), [_column(role, values) for role, values in data.items()]
    else:
        table = _arrow(data)
        names, held = table.schema.names, table.columns
    head = TableHead(names=tuple(str(name) for name in names), width=len(names))
    found, notes = find_columns(head, named, "The table", needed=needed)
    columns = {role: held[place] for role, place in found.items()}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise MatrixError(
            f"The columns have different lengths: {sorted(lengths)}.",
            hint="Give one entry for each row.",
            code="shapes-differ",
        )
    return Table(columns=columns, source="the table", untyped=False, notes=tuple(notes))


def read_interactions(
    data: Any,
    named: ColumnNames | None = None,
    *,
    implicit: bool | None = None,
    at_least: float | None = None,
    scale: tuple[float, float] | None = None,
    user_ids: Any = None,
    item_ids: Any = None,
) -> Interactions:
    """Interactions with ids as they are, checked, each pair of user and item once.

    Of ratings of one pair the last in time counts, or the last in the table where there are no
    times; the weights of repeated interactions without ratings are summed. Both are said.

    Args:
        data: A path, a data frame, an Arrow table, a mapping of columns, a SciPy sparse matrix of
            users × items, or `Interactions`, which are given back.
        named: Columns that have other names than usual.
        implicit: Whether only the fact of an interaction counts; None: where there is no rating.
        at_least: Keep only ratings of at least this, as interactions.
        scale: The lowest and the highest rating that can be.
        user_ids: Of the rows of a sparse matrix; their numbers if left out.
        item_ids: Of its columns.

    Raises:
        ArgumentError: If there is no such file, its suffix is unknown, or `implicit=False` meets
            no ratings.
        FormatError: If the file is damaged.
        MatrixError: If an id is missing, or a rating is NaN or out of range: with its row.
        StorageError: If the system refuses to read it.

    Example:
        >>> read = read_interactions({"user": ["u", "u"], "item": [7, 9], "rating": [4.0, 5.0]})
        >>> read.shape, read.ratings.tolist()
        ((1, 2), [4.0, 5.0])
    """
    if isinstance(data, Interactions):
        return data
    if hasattr(data, "tocoo"):
        table = _of_matrix(data, user_ids, item_ids, "weight" if implicit else "rating")
    else:
        table = read_table(data, named)
    if "rating" not in table.columns and (implicit is False or at_least is not None):
        raise ArgumentError(
            f"{table.source} has no ratings.",
            hint="Name their column with --rating, or leave out what asks for ratings.",
            code="no-ratings",
        )
    return interactions_of(table, implicit=implicit, at_least=at_least, scale=scale)


def interactions_of(
    table: Table,
    *,
    implicit: bool | None = None,
    at_least: float | None = None,
    scale: tuple[float, float] | None = None,
    known: tuple[Vocabulary, Vocabulary] | None = None,
) -> Interactions:
    """The interactions of a table that was read; of `known` ids, or of those it has.

    Raises:
        MatrixError: As `read_interactions` does.
    """
    notes = list(table.notes)
    if not len(table.columns["user"]):
        raise MatrixError(
            f"{table.source} holds no interactions.", hint="Give at least one row.", code="empty"
        )
    users, rows = Vocabulary.encoded(table.columns["user"], "user", untyped=table.untyped)
    items, columns = Vocabulary.encoded(table.columns["item"], "item", untyped=table.untyped)
    if known is not None:
        (users, to_user), (items, to_item) = known[0].extended(users), known[1].extended(items)
        rows, columns = to_user[rows], to_item[columns]
    ratings = numbers_of(table, "rating")
    weights = numbers_of(table, "weight")
    read = Interactions(
        users=users,
        items=items,
        rows=rows,
        columns=columns,
        ratings=ratings,
        weights=weights,
        times=_times(table, notes),
    )
    _check(read, table.source, scale)
    read = _positive(read, ratings is not None, implicit=implicit, at_least=at_least, notes=notes)
    read = once(read, notes)
    return replace(read, notes=tuple(notes))


def _positive(
    read: Interactions,
    rated: bool,
    *,
    implicit: bool | None,
    at_least: float | None,
    notes: list[str],
) -> Interactions:
    """Without ratings, where only interactions count; those of weight 0 are none."""
    if rated and at_least is not None and read.ratings is not None:
        kept = read.ratings >= at_least
        notes.append(f"{int(kept.sum()):,} of {len(kept):,} ratings are at least {at_least:g}.")
        if not kept.any():
            raise MatrixError(
                f"No rating is at least {at_least:g}.", hint="Give a smaller one.", code="empty"
            )
        read = replace(_with_own_ids(read.chosen(kept)), ratings=None)
    elif rated and implicit:
        notes.append("The ratings are left aside: only that there was an interaction counts.")
        read = replace(read, ratings=None)
    if read.weights is not None and not read.weights.all():
        kept = read.weights > 0
        notes.append(f"{int((~kept).sum()):,} rows of weight 0 are left out.")
        read = _with_own_ids(read.chosen(kept))
    return read


def _with_own_ids(read: Interactions) -> Interactions:
    """Without the ids that no entry has any more."""
    held, rows = np.unique(read.rows, return_inverse=True)
    kept, columns = np.unique(read.columns, return_inverse=True)
    return replace(
        read,
        users=Vocabulary(read.users.column(held), read.users.whole),
        items=Vocabulary(read.items.column(kept), read.items.whole),
        rows=rows.astype(np.int32),
        columns=columns.astype(np.int32),
    )


def once(read: Interactions, notes: list[str]) -> Interactions:
    """Sorted by user and item, each pair once; what was done about others goes into the notes."""
    pairs = read.rows.astype(np.int64) * max(len(read.items), 1) + read.columns
    if not (np.diff(pairs) > 0).all():
        order = np.argsort(pairs, kind="stable")
        if read.times is not None:
            order = np.lexsort((read.times, pairs))
        read, pairs = read.chosen(order), pairs[order]
    last = np.append(np.diff(pairs) > 0, True)
    repeated = len(pairs) - int(last.sum())
    if not repeated:
        return read
    kept = read.chosen(last)
    if read.ratings is not None:
        by = "in time" if read.times is not None else "in the table"
        notes.append(f"{repeated:,} ratings of a pair that is rated again later are left out: "
                     f"the last {by} counts.")  # fmt: skip
        return kept
    weights = read.weights if read.weights is not None else np.ones(len(read), np.float32)
    first = np.flatnonzero(np.append(True, np.diff(pairs) > 0))
    summed = np.add.reduceat(weights.astype(np.float64), first).astype(np.float32)
    notes.append(f"{repeated:,} repeated interactions are added to the weights of the first.")
    return replace(kept, weights=summed)


def _check(read: Interactions, source: str, scale: tuple[float, float] | None) -> None:
    """Refuse numbers that are none, negative weights, and ratings off the scale."""
    if read.ratings is not None:
        _refuse(~np.isfinite(read.ratings), read, source, "no rating that is a finite number")
        if scale is not None:
            low, high = scale
            off = (read.ratings < low) | (read.ratings > high)
            _refuse(off, read, source, f"a rating outside {low:g} to {high:g}")
    if read.weights is not None:
        wrong = ~np.isfinite(read.weights) | (read.weights < 0)
        _refuse(wrong, read, source, "a weight that is no number from 0")


def _refuse(wrong: npt.NDArray[np.bool_], read: Interactions, source: str, what: str) -> None:
    if not wrong.any():
        return
    place = int(np.argmax(wrong))
    others = int(wrong.sum()) - 1
    pair = f"user {read.users.at(read.rows[place])}, item {read.items.at(read.columns[place])}"
    more = f"; so have {others:,} more" if others else ""
    raise MatrixError(
        f"Row {place + 1} of {source} ({pair}) has {what}{more}.",
        hint="Correct these rows or leave them out; rows are counted from 1, without the header.",
        code="bad-rating" if "rating" in what else "bad-weight",
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
        wide = pc.cast(column, pa.float64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise MatrixError(
            f"The column of {role}s of {table.source} does not hold numbers.",
            hint=f"Name another with --{role}.",
            code="not-numbers",
        ) from error
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(wide, np.float32)


def _times(table: Table, notes: list[str]) -> Times | None:
    """Times as whole numbers that are in their order; of text, its ranks in sorted order."""
    column = table.columns.get("time")
    if column is None:
        return None
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
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
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


def _of_matrix(W: Any, user_ids: Any, item_ids: Any, role: str) -> Table:
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
