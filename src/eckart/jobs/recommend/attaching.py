"""Attributes joined to interactions: ids that have some are known, whether they did anything."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.errors import MatrixError
from eckart.jobs.recommend.attribute_tables import (
    AttributeTable,
    AttributeTables,
    Role,
    read_attributes,
)
from eckart.jobs.recommend.attributes import Attributes, learned_features, matrix_of
from eckart.jobs.recommend.columns import ColumnNames
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.vocabulary import Vocabulary

Rows: TypeAlias = npt.NDArray[np.int32]
Columns: TypeAlias = tuple[str, ...] | None
How: TypeAlias = Callable[
    [Interactions, Role, Any, Columns, ColumnNames], tuple[Interactions, Rows, list[str]]
]
"""How the attributes of one side are joined; also the places of the rows of their table, and what
to tell."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attached:
    """Interactions with the attributes of their users and items.

    Fields:
        data: The interactions; new ids stand behind those that were there.
        places: By role the users and items of the tables.
        notes: What a person should know.
    """

    data: Interactions
    places: Mapping[Role, Rows]
    notes: tuple[str, ...]


def attach(data: Interactions, tables: AttributeTables, named: ColumnNames | None) -> Attached:
    """Give interactions the attributes of tables, in place of any they had.

    Args:
        data: The interactions.
        tables: Of users, items or both.
        named: Columns that have other names than usual.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If it is damaged.
        MatrixError: If an id is missing or stands twice, none is one of the interactions, or no
            column tells anything.
        StorageError: If the system refuses to read it.
    """
    return _each(data, tables, named, _attached)


def attach_later(
    data: Interactions, tables: AttributeTables, named: ColumnNames | None
) -> Attached:
    """Take later tables in, by the columns and words that the attributes of a model have.

    Args:
        data: The interactions of a model that was fitted with attributes.
        tables: Of new users and items, or of known ones whose attributes have changed.
        named: Columns that have other names than usual.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If it is damaged.
        MatrixError: If the model has no attributes of that side, or a column of them is missing.
        StorageError: If the system refuses to read it.
    """
    return _each(data, tables, named, _attached_later)


def summary(data: Interactions) -> dict[str, Any]:
    """How many attributes there are, and of how many users and items: plain numbers."""
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
    if not (rows < len(known)).any():
        raise MatrixError(
            f"None of the {role}s of the interactions is in {table.source}; its ids were taken "
            f"from the column '{table.id_column}'.",
            hint=f"Name that column as in the interactions, or mark it: --{role}-columns NAME:id.",
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
            hint=f"Fit it with --{role}-attributes.",
            code="no-attributes",
        )
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
    """The ids that are known and those of a table behind them, and the place of each of its rows.

    Raises:
        MatrixError: If an id stands twice in the table.
    """
    own, rows = Vocabulary.encoded(table.ids, role, untyped=table.untyped)
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
