"""Which columns of a table hold the users, the items, the ratings, the weights and the times."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import pyarrow as pa

from eckart.errors import ArgumentError, MatrixError
from eckart.files.columns import plain_values
from eckart.files.tables import read_columns, table_head
from eckart.files.text.table import TableHead, plain
from eckart.recommend.chunked import pc
from eckart.recommend.ids import all_of, without_points

Names: TypeAlias = dict[str, str]
"""The title of each item, by the text of its id."""
NAMES: Final = {
    "user": (
        "user", "userid", "users", "uid", "customer", "customerid", "reviewerid", "reviewer",
        "member", "memberid", "account", "accountid", "person", "session", "sessionid", "visitor",
        "visitorid", "profile", "userprofile", "msno",
    ),
    "item": (
        "item", "itemid", "items", "iid", "movie", "movieid", "product", "productid", "asin",
        "parentasin", "isbn", "book", "bookid", "track", "trackid", "song", "songid", "artist",
        "artistid", "business", "businessid", "article", "articleid", "sku", "stockcode", "game",
        "gameid", "anime", "animeid", "joke", "jokeid", "video", "videoid",
    ),
    "rating": ("rating", "ratings", "score", "stars", "overall", "grade", "bookrating", "value"),
    "weight": (
        "weight", "weights", "count", "counts", "plays", "playcount", "confidence", "quantity",
        "listens", "views", "clicks",
    ),
    "time": (
        "time", "timestamp", "date", "datetime", "ts", "createdat", "unixreviewtime", "when",
    ),
}  # fmt: skip
"""Usual names of columns in public data sets and shops, in lower case without punctuation."""
KNOWN: Final = frozenset(name for names in NAMES.values() for name in names)
"""All usual names, by which a header is told from a row of data."""
ORDER: Final = ("user", "item", "rating", "time")
"""The roles of the columns of a file without a header, as in the MovieLens files."""
TITLES: Final = ("title", "name", "itemname", "movietitle", "label", "product", "description")
"""Usual names of columns of titles, in lower case without punctuation; the first found counts."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNames:
    """The columns that were named; a column that is None is found by its usual name.

    Fields:
        user, item, rating, weight, time: The names that were given.
        usual: The names that the columns had in an earlier table, by role; used if the table has
            such a column and no other name is given.

    Example:
        >>> ColumnNames(user="customer").given()
        {'user': 'customer'}
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    weight: str | None = None
    time: str | None = None
    usual: Mapping[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def of(names: object) -> "ColumnNames":
        """The names in a mapping from role to name.

        Raises:
            ArgumentError: If it has an unknown role, or is not a mapping of texts.
        """
        given: dict[str, Any] = {}
        for role, name in names.items() if isinstance(names, Mapping) else [("", "")]:
            if role not in NAMES or not isinstance(name, str):
                raise ArgumentError(
                    f"The columns are {names!r}.",
                    hint=f"Give a mapping from {', '.join(NAMES)} to the names of the columns.",
                    code="bad-columns",
                )
            given[str(role)] = name
        return ColumnNames(**given)

    def given(self) -> dict[str, str]:
        """The names that were given, by role."""
        named = {role: getattr(self, role) for role in NAMES}
        return {role: name for role, name in named.items() if name is not None}

    def like(self, earlier: "ColumnNames | None") -> "ColumnNames":
        """These names, with those of an earlier table for the roles that have none."""
        return self if earlier is None else replace(self, usual=earlier.known())

    def known(self) -> dict[str, str]:
        """The names that were given now or earlier, by role."""
        return {**self.usual, **self.given()}


def names_in(head: TableHead) -> list[str]:
    """The names of the columns of a table; without a header their numbers from 1."""
    return list(head.names or [str(place) for place in range(1, head.width + 1)])


def find_columns(
    head: TableHead, named: ColumnNames, source: str
) -> tuple[dict[str, int], list[str]]:
    """Find the position of each column that a table has.

    A column that was named is found by its name, or by its number from 1 if the table has no
    header; the others by the usual names of such columns.

    Returns:
        Position by role (user, item, rating, weight, time), and notes for the user.

    Example:
        >>> head = TableHead(names=("userId", "movieId", "rating"), width=3)
        >>> find_columns(head, ColumnNames(), "ratings.csv")
        ({'user': 0, 'item': 1, 'rating': 2}, [])
    """
    names = names_in(head)
    found = _find_named(named, names, source)
    notes: list[str] = []
    if head.names is None:
        free = [place for place in range(head.width) if place not in found.values()]
        unnamed = [role for role in ORDER if role not in found]
        found.update(zip(unnamed, free, strict=False))
        listed = ", ".join(f"{role} = column {place + 1}" for role, place in found.items())
        notes.append(f"{source} has no header; taken as {listed} (name them if not).")
    else:
        notes += _by_name(names, found, source)
    for role in ("user", "item"):
        if role not in found:
            raise MatrixError(
                f"{source} has no column that is called like {'an' if role == 'item' else 'a'} "
                f"{role}: {', '.join(names[:20])}.",
                hint=f"Name it: {naming(role)}.",
                code="no-such-column",
            )
    # names may repeat as long as no needed column is among them
    for place in found.values():
        if names.count(names[place]) > 1:
            raise MatrixError(
                f"{source} has several columns called '{names[place]}'.",
                hint="Give each column a name of its own.",
                code="repeated-column",
            )
    return found, notes


def _find_named(named: ColumnNames, names: list[str], source: str) -> dict[str, int]:
    """The position of each column that was named, now or earlier."""
    found: dict[str, int] = {}
    for role, name in named.given().items():
        if name not in names:
            raise no_column(source, name, names)
        found[role] = names.index(name)
    # before the earlier names are added: only what was named now can contradict itself
    _check_apart(found, names, source)
    for role, name in named.usual.items():
        # an earlier name is a guess: it is not an error if this table has no such column
        if role not in found and name in names and names.index(name) not in found.values():
            found[role] = names.index(name)
    return found


def _check_apart(found: Mapping[str, int], names: Sequence[str], source: str) -> None:
    """Refuse a column that is named for two roles."""
    roles: dict[int, str] = {}
    for role, place in found.items():
        if place in roles:
            raise MatrixError(
                f"The column '{names[place]}' of {source} is named as {roles[place]} and {role}.",
                hint="Name another column.",
                code="repeated-column",
            )
        roles[place] = role


def naming(role: str) -> str:
    """How a column is named on the command line and in Python, for hints."""
    return f"`{role}_column=NAME`, or columns={{'{role}': 'NAME'}} in Python"


def _by_name(names: list[str], found: dict[str, int], source: str) -> list[str]:
    """Add the columns with usual names, for the roles whose column was not named.

    Returns:
        Notes for the user on columns that could be meant as well.
    """
    notes: list[str] = []
    for role, common in NAMES.items():
        if role in found:
            continue
        # in the order of `NAMES`, of which the first found counts
        places = dict.fromkeys(usual_places(names, common))
        places = [place for place in places if place not in found.values()]
        if places:
            found[role] = places[0]
        if len(places) > 1:
            others = ", ".join(f"'{names[place]}'" for place in places[1:])
            notes.append(
                f"{source}: the {role} is in the column '{names[places[0]]}', not in {others} "
                "(name it if not)."
            )
    return notes


def no_column(source: str, name: str, names: list[str]) -> MatrixError:
    """The error that a column is missing, with the columns that the table has."""
    return MatrixError(
        f"{source} has no column '{name}'.",
        hint=f"It has: {', '.join(names[:30])}{' …' if len(names) > 30 else ''}.",
        code="no-such-column",
    )


def usual_places(names: Sequence[str] | None, common: Sequence[str]) -> Iterator[int]:
    """The positions of the columns with usual names, in the order of these names."""
    labels = [plain(name) for name in names or ()]
    return (labels.index(name) for name in common if name in labels)


def read_ids(path: Path, role: str, named: ColumnNames | None = None) -> list[Any]:
    """Read the ids of a table: its column of users or items, else its first column.

    Returns:
        The ids in the types that the table gives them.
    """
    usual = plain((named or ColumnNames()).known().get(role, ""))
    words = {usual} if usual and not usual.isdigit() else set[str]()
    head = table_head(path, KNOWN | {"id"} | words)
    # the first column, if none has a usual name
    place = next(usual_places(head.names, (*words, *NAMES[role], "id")), 0)
    found = read_columns(path, head, {place: "id"}).column(0).to_pylist()
    if None in found:
        raise MatrixError(
            f"Row {found.index(None) + 1} of {path.name} has no {role}.",
            hint="Leave it out; a word such as NA is an id in quotes only.",
            code="missing-id",
        )
    return found


def read_names(path: str | PathLike[str]) -> Names:
    """Read the titles of items from a table with a column of ids and a column of titles.

    The ids are in the column with a usual name of items, else in the first; the titles are in the
    column with a usual name of titles, else in the second.
    """
    source = Path(path)
    head = table_head(source, frozenset((*NAMES["item"], *TITLES)))
    if head.width < 2:
        raise MatrixError(
            f"{source} has one column.",
            hint="Give ids in one and titles in another.",
            code="no-such-column",
        )
    ids = next(usual_places(head.names, (*NAMES["item"], "id")), 0)
    others = (place for place in usual_places(head.names, TITLES) if place != ids)
    titles = next(others, 1 if ids == 0 else 0)
    table: Any = read_columns(source, head, {ids: "id", titles: "text"})
    # a row without an id names nothing
    table = table.filter(pc.is_valid(table.column(str(ids))))
    keys = all_of(table.column(str(ids))).cast(pa.string())
    try:
        values = plain_values(table.column(str(titles)).combine_chunks()).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise MatrixError(
            f"The titles of {source} are of the type {table.column(str(titles)).type}.",
            hint="Give text.",
            code="not-text",
        ) from error
    texts = [value or "" for value in values.to_pylist()]
    # pandas writes whole ids as floats where a cell of their column is missing: the title of 10.0
    # is that of 10 as well, unless 10 has one of its own
    return {
        **dict(zip(without_points(keys).to_pylist(), texts, strict=True)),
        **dict(zip(keys.to_pylist(), texts, strict=True)),
    }
