"""Whether users and items stand in each other's place, or have ids of another kind."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eckart.errors import MatrixError
from eckart.jobs.recommend.blockwise import taken
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.reading import Table
from eckart.jobs.recommend.vocabulary import Places, Vocabulary

FEW: Final = 0.5
MANY: Final = 0.9


def placed_pairs(
    table: Table, users: Vocabulary, items: Vocabulary
) -> tuple[Places, Places, list[str]]:
    """The places of the users and of the items of a table, −1 where they are unknown.

    Args:
        table: That was read.
        users: That a model knows.
        items: The same.

    Returns:
        Also what to tell the reader, if it cannot be decided whether they are exchanged.

    Raises:
        MatrixError: If the users of the table are the items of the model.
    """
    rows = users.places(table.columns["user"], "user")
    columns = items.places(table.columns["item"], "item")

    def turned() -> tuple[Places, Places]:
        return (
            items.places(table.columns["user"], "user"),
            users.places(table.columns["item"], "item"),
        )

    return rows, columns, _check(table.source, (rows, columns), turned)


def check_read(source: str, read: Interactions, users: Vocabulary, items: Vocabulary) -> list[str]:
    """The same for interactions that were read; what to tell the reader.

    Raises:
        MatrixError: If their users are the items of a model.
    """

    def places(first: Vocabulary, second: Vocabulary) -> tuple[Places, Places]:
        return (
            taken(first.places(read.users.ids), read.rows),
            taken(second.places(read.items.ids), read.columns),
        )

    return _check(source, places(users, items), lambda: places(items, users))


def _check(
    source: str, known: tuple[Places, Places], turned: Callable[[], tuple[Places, Places]]
) -> list[str]:
    """Hold the pairs of a table against those that a model knows, both ways round.

    Where users and items are both numbered, new users of known items look like items of known
    users: that is said, and not refused.
    """
    fits = _share(known)
    if fits >= MANY:
        return []
    other_way = _share(turned())
    if other_way < MANY or other_way <= fits:
        return []
    if fits <= FEW and np.mean(known[1] >= 0) <= FEW:
        raise MatrixError(
            f"Users and items of {source} are exchanged: its users are items of the model "
            f"in {other_way:.0%} of the rows, and users of it in {fits:.0%}.",
            hint="Name the columns with --user and --item the other way round; a matrix is "
            "users × items, so give its transpose.",
            code="transposed",
        )
    return [
        f"Only {fits:.0%} of the pairs of {source} are known, but {other_way:.0%} are if its "
        "users are taken as items; if they are exchanged, name them with --user and --item."
    ]


def _share(places: tuple[Places, Places]) -> float:
    """Of the pairs, those that are known."""
    rows, columns = places
    return float(np.mean((rows >= 0) & (columns >= 0))) if len(rows) else 1.0


def check_numbered(known: Interactions, ids: tuple[Any, Any]) -> None:
    """Refuse a sparse matrix whose rows and columns are numbered, where a model has other ids.

    Args:
        known: What the model knows.
        ids: Of the rows and of the columns; None where they are numbered.

    Raises:
        MatrixError: If numbers are no ids of the model.
    """
    for vocabulary, own, what in zip(
        (known.users, known.items), ids, ("user", "item"), strict=True
    ):
        if own is None and not pa.types.is_integer(vocabulary.ids.type):
            raise MatrixError(
                f"The model knows {what}s by name, and those of the matrix have only numbers.",
                hint=f"Give {what}_ids, one for each {'row' if what == 'user' else 'column'}.",
                code="other-ids",
            )
