"""Which column of a table holds the users, the items, the ratings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

from eckart.errors import ArgumentError, MatrixError
from eckart.files.text.table import TableHead, plain

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
"""What columns are called in the data sets and shops of this field, without punctuation."""
KNOWN: Final = frozenset(name for names in NAMES.values() for name in names)
ORDER: Final = ("user", "item", "rating", "time")
"""Of the columns of a file without a header."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNames:
    """The columns that were named; None is found by its name.

    Fields:
        user, item, rating, weight, time: The names that were given.
        usual: What the columns were called in an earlier table: a name by role, that is taken where
            a table has it and no other is given.

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
        """Those of a mapping from role to name.

        Raises:
            ArgumentError: If there is another role in it, or it is no mapping of texts.
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
        """Those that were named."""
        named = {role: getattr(self, role) for role in NAMES}
        return {role: name for role, name in named.items() if name is not None}

    def like(self, earlier: "ColumnNames") -> "ColumnNames":
        """These names, with those of an earlier table where none is given."""
        return replace(self, usual=earlier.known())

    def known(self) -> dict[str, str]:
        """Those that were named, now or earlier."""
        return {**self.usual, **self.given()}


def find_columns(
    head: TableHead, named: ColumnNames, source: str, *, needed: Sequence[str] = ("user", "item")
) -> tuple[dict[str, int], list[str]]:
    """The position of each column that is there.

    A column that was named is taken by its name, or by its number from 1 where there is no header;
    the others by the names that such columns commonly have.

    Args:
        head: Of the table.
        named: The columns that were named.
        source: The table, for messages.
        needed: The columns without which it cannot be used.

    Returns:
        Position by role (user, item, rating, weight, time), and what to tell the reader.

    Raises:
        MatrixError: If a named or needed column is not there, or two have the same name.

    Example:
        >>> head = TableHead(names=("userId", "movieId", "rating"), width=3)
        >>> find_columns(head, ColumnNames(), "ratings.csv")
        ({'user': 0, 'item': 1, 'rating': 2}, [])
    """
    names = list(head.names or [str(place) for place in range(1, head.width + 1)])
    found = _named(named, names, source)
    notes: list[str] = []
    if head.names is None:
        free = [place for place in range(head.width) if place not in found.values()]
        unnamed = [role for role in ORDER if role not in found]
        found.update(zip(unnamed, free, strict=False))
        listed = ", ".join(f"{role} = column {place + 1}" for role, place in found.items())
        notes.append(f"{source} has no header; taken as {listed} (name them if not).")
    else:
        notes += _by_name(names, found, source)
    for role in needed:
        if role not in found:
            raise MatrixError(
                f"{source} has no column that is called like {'an' if role == 'item' else 'a'} "
                f"{role}: {', '.join(names[:20])}.",
                hint=f"Name it: {naming(role)}.",
                code="no-such-column",
            )
    for place in found.values():
        if names.count(names[place]) > 1:
            raise MatrixError(
                f"{source} has several columns called '{names[place]}'.",
                hint="Give each column a name of its own.",
                code="repeated-column",
            )
    return found, notes


def _named(named: ColumnNames, names: list[str], source: str) -> dict[str, int]:
    """The position of each column that was named, now or earlier.

    Raises:
        MatrixError: If one that was named now is not there, or is named for two roles.
    """
    found: dict[str, int] = {}
    for role, name in named.given().items():
        if name not in names:
            raise no_column(source, name, names)
        found[role] = names.index(name)
    _check_apart(found, names, source)
    for role, name in named.usual.items():
        if role not in found and name in names and names.index(name) not in found.values():
            found[role] = names.index(name)
    return found


def _check_apart(found: Mapping[str, int], names: Sequence[str], source: str) -> None:
    """Refuse one column for two roles.

    Raises:
        MatrixError: If there is one.
    """
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
    """How a column is named, on the command line and in Python."""
    return f"--{role} NAME, or columns={{'{role}': 'NAME'}} in Python"


def _by_name(names: list[str], found: dict[str, int], source: str) -> list[str]:
    """Add the columns with common names, where none of that role was named.

    Returns:
        Which of them could be others, to tell the reader.
    """
    plain_names = [plain(name) for name in names]
    notes: list[str] = []
    for role, common in NAMES.items():
        if role in found:
            continue
        places = [plain_names.index(name) for name in common if name in plain_names]
        places = [place for place in dict.fromkeys(places) if place not in found.values()]
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
    """That a column is not there, with those that are."""
    return MatrixError(
        f"{source} has no column '{name}'.",
        hint=f"It has: {', '.join(names[:30])}{' …' if len(names) > 30 else ''}.",
        code="no-such-column",
    )
