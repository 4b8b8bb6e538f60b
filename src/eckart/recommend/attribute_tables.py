"""Tables of attributes of users and items, as they are read and joined to interactions."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.errors import MatrixError
from eckart.files.tables import read_columns, table_head
from eckart.files.text.table import Kind, TableHead, plain
from eckart.recommend.attributes import Attributes, is_text, learned_features, matrix_of
from eckart.recommend.columns import NAMES, ColumnNames, no_column
from eckart.recommend.ids import column_of
from eckart.recommend.interactions import Interactions
from eckart.recommend.reading import check_lengths, columns_in
from eckart.recommend.vocabulary import Vocabulary

Role: TypeAlias = Literal["user", "item"]
MARKS: Final = ("id", "category")
"""The marks that may follow the name of a column after a colon."""
INDEX: Final = re.compile(r"|__index_level_\d+__|Unnamed: \d+")
"""The names that pandas gives an unnamed index: in text, in Parquet and Arrow, and when reading."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttributeTables:
    """The tables of attributes of users and items, and which of their columns count.

    Fields:
        users: A path, a data frame, an Arrow table or a mapping of columns with one row for each
            user; None if nothing is known of users.
        items: A table of items in one of these forms, with one row for each item, or None.
        user_columns: Names of the columns of `users` that count; None takes all that carry
            information. `NAME:category` reads numbers as categories, `NAME:id` marks the ids.
        item_columns: Names of the columns of `items` that count, in the same notation.
    """

    users: Any = None
    items: Any = None
    user_columns: tuple[str, ...] | None = None
    item_columns: tuple[str, ...] | None = None

    def given(self) -> Iterator[tuple[Role, Any, tuple[str, ...] | None]]:
        """The tables that were given: the role, the table, and which of its columns count."""
        if self.users is not None:
            yield "user", self.users, self.user_columns
        if self.items is not None:
            yield "item", self.items, self.item_columns


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttributeTable:
    """A table of attributes that was read.

    Fields:
        ids: Ids of the rows.
        columns: The attributes, Arrow arrays by name.
        words: Names of the columns that are read as categories, whatever they hold.
        named: Whether the columns were requested by name.
        id_column: Name of the column of ids.
        source: Name of the table, for messages.
        untyped: Whether the table is a text file, where ids have no type.
        notes: Remarks for the user on how the table was read.
    """

    ids: Any
    columns: dict[str, Any]
    words: frozenset[str]
    named: bool
    id_column: str
    source: str
    untyped: bool
    notes: tuple[str, ...]


def read_attributes(
    data: Any, role: Role, named: ColumnNames, wanted: Sequence[str] | None
) -> AttributeTable:
    """Read the ids and the attributes of a table of users or of items.

    The ids are in the column that is marked so; else in the one that is called as in the
    interactions, or has a usual name; else in the first.

    Args:
        data: A path, a data frame, an Arrow table or a mapping of columns.
        role: "user" or "item": whose attributes the table holds.
        named: The columns of the interactions that were named.
        wanted: Names of the columns to read, with their marks; None reads all.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If the file is damaged.
        MatrixError: If a column is missing, or the table has only ids.
        StorageError: If the system refuses to read it.
    """
    given = named.known().get(role)
    opened = _opened(data, role, [given or "", *(wanted or ())])
    names, source = opened.names, opened.source
    marked = _marked(names, wanted, source)
    chosen = [name for name, mark in marked.items() if mark != "id"]
    ids = next((name for name, mark in marked.items() if mark == "id"), None)
    ids = ids or _id_column(names, given, (*NAMES[role], "id"), chosen)
    indices = [name for name in _indices(names) if name not in marked and name != ids]
    columns = [name for name in chosen or names if name != ids and name not in indices]
    if not columns:
        raise MatrixError(
            f"{source} has no column beside the ids.",
            hint=f"Give attributes of {role}s beside their ids.",
            code="no-attributes",
        )
    first, *others = opened.read([names.index(name) for name in (ids, *columns)])
    check_lengths([first, *others])
    headless = opened.head is not None and opened.head.names is None
    untyped = opened.head is not None and opened.head.text is not None
    held = {
        name: column_of(one, f"values of the column '{name}'")[0]
        for name, one in zip(columns, others, strict=True)
    }
    words = {name for name, mark in marked.items() if mark == "category"}
    # in a typed table digits are text on purpose, as in a code
    if not untyped:
        words |= {name for name, column in held.items() if is_text(column)}
    return AttributeTable(
        ids=first,
        columns=held,
        words=frozenset(words),
        named=bool(chosen),
        id_column=ids,
        source=source,
        untyped=untyped,
        notes=(
            *(opened.head.notes if opened.head is not None else ()),
            *(f"{source} has no header; its ids are taken from column {ids}.",) * headless,
            *(
                f"{source}: the column '{name}' is an index as pandas writes it, and is left out."
                for name in indices
            ),
        ),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Opened:
    """A table with the names of its columns, which are in memory or still in a file."""

    names: list[str]
    source: str
    path: Path | None = None
    head: TableHead | None = None
    held: tuple[Any, ...] = ()

    def read(self, places: list[int]) -> list[Any]:
        """The columns at some places; the first of them holds ids."""
        if self.path is None or self.head is None:
            return [self.held[place] for place in places]
        kinds: dict[int, Kind] = dict.fromkeys(places, "text")
        table = read_columns(self.path, self.head, {**kinds, places[0]: "id"})
        return [table.column(str(place)) for place in places]


def _opened(data: Any, role: Role, named: Sequence[str]) -> _Opened:
    """Open a table; its first row is a header if it holds a usual name or one that was given."""
    if not isinstance(data, str | PathLike):
        names, held = columns_in(data)
        return _Opened(names=names, source=f"the table of {role}s", held=tuple(held))
    path = Path(data)
    words = {plain(word) for one in named for word in (one, one.rpartition(":")[0])}
    # a number names a column by its place and says nothing of a header
    words -= {word for word in words if not word or word.isdigit()}
    head = table_head(path, frozenset((*NAMES[role], "id", *words)))
    names = list(head.names or [str(place) for place in range(1, head.width + 1)])
    return _Opened(names=names, source=path.name, path=path, head=head)


def _marked(names: Sequence[str], wanted: Sequence[str] | None, source: str) -> dict[str, str]:
    """The columns that were requested, each with its mark or an empty text."""
    marked: dict[str, str] = {}
    for one in wanted or ():
        name, colon, mark = one.rpartition(":")
        # a column whose own name ends in ":id" or ":category" is meant by that whole name
        if one in names or not colon or mark not in MARKS:
            name, mark = one, ""
        if name not in names:
            raise no_column(source, name, list(names))
        marked[name] = mark
    return marked


def _indices(names: Sequence[str]) -> list[str]:
    """The columns that pandas writes for an unnamed index, which only number the rows."""
    return [
        name for place, name in enumerate(names) if INDEX.fullmatch(name) and (place == 0 or name)
    ]


def _id_column(
    names: Sequence[str], given: str | None, common: Sequence[str], chosen: Sequence[str]
) -> str:
    if given is not None and given in names:
        return given
    if not names:
        raise MatrixError(
            "A table of attributes has no columns.",
            hint="Give a column of ids and columns of what is known of them.",
            code="no-columns",
        )
    labels = [plain(name) for name in names]
    for name in common:
        if name in labels and names[labels.index(name)] not in chosen:
            return names[labels.index(name)]
    return names[0]


Rows: TypeAlias = npt.NDArray[np.int32]
Columns: TypeAlias = tuple[str, ...] | None
How: TypeAlias = Callable[
    [Interactions, Role, Any, Columns, ColumnNames], tuple[Interactions, Rows, list[str]]
]
"""A function that joins the attributes of one side; it also returns the places of the rows of
their table, and notes for the user."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attached:
    """Interactions with the attributes of their users and items.

    Fields:
        data: The interactions; new ids follow those that were known.
        places: The places of the rows of each table, by role.
        notes: What the user should know.
    """

    data: Interactions
    places: Mapping[Role, Rows]
    notes: tuple[str, ...]


def attach(data: Interactions, tables: AttributeTables, named: ColumnNames | None) -> Attached:
    """Replace the attributes of interactions by those of tables.

    Args:
        data: The interactions.
        tables: The tables of users, of items or of both.
        named: Names of columns with unusual names.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If the file is damaged.
        MatrixError: If an id is missing or occurs twice, no id is one of the interactions, or no
            column carries information.
        StorageError: If the system refuses to read it.
    """
    return _each(data, tables, named, _attached)


def attach_later(
    data: Interactions, tables: AttributeTables, named: ColumnNames | None
) -> Attached:
    """Add later tables of attributes, with the columns and categories that a model was fitted with.

    Args:
        data: The interactions of a model that was fitted with attributes.
        tables: Tables of new users and items, or of known ones whose attributes have changed.
        named: Names of columns with unusual names.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If the file is damaged.
        MatrixError: If the model has no attributes of that side, or one of its columns is missing.
        StorageError: If the system refuses to read it.
    """
    return _each(data, tables, named, _attached_later)


def summary(data: Interactions) -> dict[str, Any]:
    """The number of attributes, and of users and items that have them, as plain numbers."""
    return {
        "users": _counted(data.user_attributes, data.user_counts()),
        "items": _counted(data.item_attributes, data.item_counts()),
    }


def _counted(attributes: Attributes | None, counts: npt.NDArray[np.int64]) -> dict[str, Any] | None:
    if attributes is None:
        return None
    known = attributes.known
    return {
        "columns": [feature.name for feature in attributes.features],
        "width": attributes.width,
        "known": int(known.sum()),
        "unknown": int((~known).sum()),
        "without_interactions": int((known & (counts == 0)).sum()),
    }


def _each(
    data: Interactions, tables: AttributeTables, named: ColumnNames | None, how: How
) -> Attached:
    places: dict[Role, Rows] = {}
    notes: list[str] = []
    for role, source, columns in tables.given():
        data, places[role], said = how(data, role, source, columns, named or ColumnNames())
        notes += said
    return Attached(data=data, places=places, notes=tuple(notes))


def _attached(
    data: Interactions, role: Role, source: Any, columns: Columns, named: ColumnNames
) -> tuple[Interactions, Rows, list[str]]:
    table = read_attributes(source, role, named, columns)
    known = _vocabulary(data, role)
    vocabulary, rows = _extended(known, table, role)
    # new ids come behind the known ones, so here no row has a known id
    if not (rows < len(known)).any():
        raise MatrixError(
            f"None of the {role}s of the interactions is in {table.source}; its ids were taken "
            f"from the column '{table.id_column}'.",
            hint=f"Name that column as in the interactions, or mark it: `{role}_columns=NAME:id`.",
            code="no-such-ids",
        )
    features, left_out = learned_features(
        table.columns, table.words, table.source, named=table.named
    )
    matrix, _ = matrix_of(features, table.columns, table.source)
    made = Attributes(features=features, matrix=matrix[:0], id_column=table.id_column)
    made = made.widened(len(vocabulary)).placed(rows, matrix)
    return _with(data, role, vocabulary, made), rows, [*table.notes, *left_out]


def _attached_later(
    data: Interactions, role: Role, source: Any, columns: Columns, named: ColumnNames
) -> tuple[Interactions, Rows, list[str]]:
    own = data.user_attributes if role == "user" else data.item_attributes
    if own is None:
        raise MatrixError(
            f"The model was fitted without attributes of {role}s.",
            hint=f"Fit it with `{role}_attributes`.",
            code="no-attributes",
        )
    # a later table is found by the name that the column had at the fit
    if getattr(named, role) is None:
        named = replace(named, **{role: own.id_column})
    wanted = [feature.name for feature in own.features]
    table = read_attributes(source, role, named, [*wanted, *(columns or ())])
    vocabulary, rows = _extended(_vocabulary(data, role), table, role)
    matrix, said = matrix_of(own.features, table.columns, table.source)
    made = own.widened(len(vocabulary)).placed(rows, matrix)
    return _with(data, role, vocabulary, made), rows, [*table.notes, *said]


def _vocabulary(data: Interactions, role: Role) -> Vocabulary:
    return data.users if role == "user" else data.items


def _extended(known: Vocabulary, table: AttributeTable, role: Role) -> tuple[Vocabulary, Rows]:
    """The known ids followed by those of a table, and the place of each row of the table.

    Raises:
        MatrixError: If an id occurs twice in the table.
    """
    own, rows = Vocabulary.encoded(table.ids, role, untyped=table.untyped)
    # fewer distinct ids than rows
    if len(own) < len(rows):
        _, first = np.unique(rows, return_index=True)
        again = int(np.setdiff1d(np.arange(len(rows)), first)[0])
        raise MatrixError(
            f"Row {again + 1} of {table.source} has the {role} {own.at(rows[again])} again.",
            hint="Give one row for each; rows are counted from 1, without the header.",
            code="repeated-id",
        )
    vocabulary, to_place = known.extended(own)
    return vocabulary, to_place[rows]


def _with(
    data: Interactions, role: Role, vocabulary: Vocabulary, attributes: Attributes
) -> Interactions:
    if role == "user":
        return replace(data, users=vocabulary, user_attributes=attributes)
    return replace(data, items=vocabulary, item_attributes=attributes)
