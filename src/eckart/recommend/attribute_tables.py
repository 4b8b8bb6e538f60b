"""Tables of attributes of users and items, as they are read and joined to interactions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np

from eckart.errors import MatrixError
from eckart.files.text.table import Kind, plain
from eckart.recommend.attributes import Attributes, is_text, learn_features, matrix_of
from eckart.recommend.chunked import Column, TableLike
from eckart.recommend.columns import NAMES, ColumnNames, names_in, no_column, usual_places
from eckart.recommend.ids import column_of
from eckart.recommend.interactions import Interactions
from eckart.recommend.reading import open_table
from eckart.recommend.vocabulary import Places, Vocabulary

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

    users: TableLike = None
    items: TableLike = None
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
    columns: dict[str, Column]
    words: frozenset[str]
    named: bool
    id_column: str
    source: str
    untyped: bool
    notes: tuple[str, ...]


def read_attributes(
    data: TableLike, role: Role, named: ColumnNames, wanted: Sequence[str] | None
) -> AttributeTable:
    """Read the ids and the attributes of a table of users or of items.

    The ids are in the column that is marked so; else in the one that is called as in the
    interactions, or has a usual name; else in the first.
    """
    given = named.known().get(role)
    usual = [plain(word) for one in (given or "", *(wanted or ()))
             for word in (one, one.rpartition(":")[0])]  # fmt: skip
    # a number names a column by its place and says nothing of a header
    words = {word for word in usual if word and not word.isdigit()}
    opened = open_table(data, frozenset((*NAMES[role], "id", *words)), f"the table of {role}s")
    head, source = opened.head, opened.source
    names = names_in(head)
    marked = _read_marks(names, wanted, source)
    chosen = [name for name, mark in marked.items() if mark != "id"]
    ids = next((name for name, mark in marked.items() if mark == "id"), None)
    ids = ids or _id_column(names, given, (*NAMES[role], "id"), chosen)
    indices = [name for name in _indices(names) if name not in marked and name != ids]
    # each once, since names may repeat
    columns = [
        name for name in dict.fromkeys(chosen or names) if name != ids and name not in indices
    ]
    if not columns:
        raise MatrixError(
            f"{source} has no column beside the ids.",
            hint=f"Give attributes of {role}s beside their ids.",
            code="no-attributes",
        )
    kinds: dict[int, Kind] = dict.fromkeys([names.index(name) for name in (ids, *columns)], "text")
    first, *others = opened.read({**kinds, names.index(ids): "id"})
    held = {
        name: column_of(one, f"values of the column '{name}'")[0]
        for name, one in zip(columns, others, strict=True)
    }
    words = {name for name, mark in marked.items() if mark == "category"}
    # in a typed table digits are text on purpose, as in a code
    if not opened.untyped:
        words |= {name for name, column in held.items() if is_text(column)}
    return AttributeTable(
        ids=first,
        columns=held,
        words=frozenset(words),
        named=bool(chosen),
        id_column=ids,
        source=source,
        untyped=opened.untyped,
        notes=(
            *head.notes,
            *(f"{source} has no header; its ids are taken from column {ids}.",)
            * (head.names is None),
            *(
                f"{source}: the column '{name}' is an index as pandas writes it, and is left out."
                for name in indices
            ),
        ),
    )


def _read_marks(names: Sequence[str], wanted: Sequence[str] | None, source: str) -> dict[str, str]:
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
    usual = (names[place] for place in usual_places(names, common))
    return next((name for name in usual if name not in chosen), names[0])


def attach(
    data: Interactions, tables: AttributeTables, named: ColumnNames | None, *, later: bool = False
) -> tuple[Interactions, Mapping[Role, Places], list[str]]:
    """Replace the attributes of interactions by those of tables.

    `later` tables are added to the attributes of a model, with the columns and categories that it
    was fitted with.

    Returns:
        The interactions, in which new ids follow those that were known; the places of the rows of
        each table, by role; and what the user should know.
    """
    rows: dict[Role, Places] = {}
    notes: list[str] = []
    for role, source, columns in tables.given():
        known: Vocabulary = getattr(data, f"{role}s")
        own: Attributes | None = getattr(data, f"{role}_attributes") if later else None
        names = named or ColumnNames()
        if own is not None:
            # a later table is found by the name that the column had at the fit
            if getattr(names, role) is None:
                names = replace(names, **{role: own.id_column})
            columns = [*(feature.name for feature in own.features), *(columns or ())]
        elif later:
            raise MatrixError(
                f"The model was fitted without attributes of {role}s.",
                hint=f"Fit it with `{role}_attributes`.",
                code="no-attributes",
            )
        table = read_attributes(source, role, names, columns)
        vocabulary, rows[role] = _extend(known, table, role)
        notes += table.notes
        features = None if own is None else own.features
        if features is None:
            # new ids come behind the known ones, so without a known id all are behind
            if not (rows[role] < len(known)).any():
                raise MatrixError(
                    f"None of the {role}s of the interactions is in {table.source}; its ids were "
                    f"taken from the column '{table.id_column}'.",
                    hint="Name that column as in the interactions, or mark it: "
                    f"`{role}_columns=NAME:id`.",
                    code="no-such-ids",
                )
            features, remarks = learn_features(
                table.columns, table.words, table.source, named=table.named
            )
            notes += remarks
        matrix, remarks = matrix_of(features, table.columns, table.source)
        notes += remarks
        # at first still without rows
        if own is None:
            own = Attributes(features=features, matrix=matrix[:0], id_column=table.id_column)
        made = own.widen(len(vocabulary)).with_rows_at(rows[role], matrix)
        data = replace(data, **{f"{role}s": vocabulary, f"{role}_attributes": made})
    return data, rows, notes


def _extend(known: Vocabulary, table: AttributeTable, role: Role) -> tuple[Vocabulary, Places]:
    """The known ids followed by those of a table, and the place of each row of the table."""
    own, rows = Vocabulary.encode(table.ids, role, untyped=table.untyped)
    # fewer distinct ids than rows
    if len(own) < len(rows):
        _, first = np.unique(rows, return_index=True)
        again = int(np.setdiff1d(np.arange(len(rows)), first)[0])
        raise MatrixError(
            f"Row {again + 1} of {table.source} has the {role} {own.at(rows[again])} again.",
            hint="Give one row for each; rows are counted from 1, without the header.",
            code="repeated-id",
        )
    vocabulary, to_place = known.extend(own)
    return vocabulary, to_place[rows]
