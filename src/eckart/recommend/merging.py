"""Merging a history with later interactions, over common ids, and checks for exchanged sides."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eckart.errors import MatrixError
from eckart.recommend.attributes import Attributes
from eckart.recommend.chunked import pair_order, taken
from eckart.recommend.interactions import Interactions, once, with_own_ids
from eckart.recommend.reading import Table
from eckart.recommend.times import EARLIEST, Clock, Times, behind, comparable, together
from eckart.recommend.vocabulary import Places, Vocabulary


def merged(
    old: Interactions, new: Interactions, notes: list[str] | None = None, *, judged: bool = False
) -> Interactions:
    """Merge a history with later interactions, over the ids of the later ones.

    A new rating replaces the old one of its pair, unless both have comparable times and the new one
    is earlier; in the same way a like replaces a dislike, and a dislike a like. The weights of
    other interactions without ratings are added.

    Args:
        old: The history.
        new: The later interactions; their ids begin with those of the history, in their order.
        notes: A list to which notes for the user are appended.
        judged: Whether interactions were made from ratings by a threshold. Then the later one of a
            pair replaces the earlier, also if it is no interaction and its weight is 0.

    Raises:
        MatrixError: If only one of the two has ratings.
    """
    if (old.ratings is None) != (new.ratings is None):
        has, lacks = ("The model", "the new interactions") if new.ratings is None else (
            "The new interactions", "the model",
        )  # fmt: skip
        raise MatrixError(
            f"{has} {'has' if new.ratings is None else 'have'} ratings, {lacks} "
            f"{'have' if new.ratings is None else 'has'} none.",
            hint="Give interactions of the same kind.",
            code="other-kind",
        )
    both = joined(old, new)
    # sorted with the old entry of a pair first, so each repeated pair stands side by side
    again = (both.rows[1:] == both.rows[:-1]) & (both.columns[1:] == both.columns[:-1])
    if both.times is not None and notes is not None:
        notes += _of_times(old, new, int(np.sum(again & (both.times[1:] < both.times[:-1]))))
    if not judged:
        return once(_changed_minds(both, again), [])
    last = once(both, [], add=False)
    if last.weights is None:
        return last
    last = last.chosen(last.weights != 0)
    # weights that are all 1 say nothing and take memory
    plain = last.weights is not None and (last.weights == 1).all()
    return replace(last, weights=None) if plain else last


def _of_times(old: Interactions, new: Interactions, earlier: int) -> list[str]:
    """Notes on times of different kinds, or on new interactions that are earlier than old ones."""
    if old.clock != new.clock and len(new) and not comparable(old.clock, new.clock):
        kinds = [
            "missing" if one is None else "dates" if one.dated else "numbers of their own"
            for one in (old.clock, new.clock)
        ]
        return [f"The times of the history are {kinds[0]}, those of the new interactions "
                f"{kinds[1]}: the new ones count as later."]  # fmt: skip
    if earlier:
        return [f"{earlier:,} new interactions are earlier than those of the same pair that are "
                "known, which stay."]  # fmt: skip
    return []


def _changed_minds(both: Interactions, again: Any) -> Interactions:
    """Set the earlier weight of a pair to 0 if the user changed between like and dislike."""
    if both.ratings is not None or both.weights is None or not (both.weights < 0).any():
        return both
    weights = both.weights.copy()
    # of opposite signs: a like and a dislike of one pair are not added up
    changed = again & (weights[1:] * weights[:-1] < 0)
    earlier = np.zeros(len(again), np.bool_)
    if both.times is not None:
        earlier = both.times[1:] < both.times[:-1]
    weights[:-1][changed & ~earlier] = 0.0
    weights[1:][changed & earlier] = 0.0
    return replace(both, weights=weights)


def joined(old: Interactions, new: Interactions) -> Interactions:
    """All entries of two, over the ids of the second, sorted; the old one of a pair comes first."""
    times, clock = _times(old, new)
    ratings = None
    if old.ratings is not None and new.ratings is not None:
        ratings = np.concatenate([old.ratings, new.ratings])
    both = Interactions(
        users=new.users,
        items=new.items,
        rows=np.concatenate([old.rows, new.rows]),
        columns=np.concatenate([old.columns, new.columns]),
        ratings=ratings,
        weights=_weights(old, new),
        times=times,
        clock=clock,
        user_attributes=_widest(old.user_attributes, new.user_attributes, len(new.users)),
        item_attributes=_widest(old.item_attributes, new.item_attributes, len(new.items)),
    )
    return both.chosen(pair_order(both.rows, both.columns, both.shape))


def _times(old: Interactions, new: Interactions) -> tuple[Times | None, Clock | None]:
    """The times of both; those that cannot be compared with the history count as later."""
    if old.times is None or old.clock is None:
        if new.times is None:
            return None, None
        # the history has no times: everything new is later
        return np.concatenate([np.full(len(old), EARLIEST), new.times]), new.clock
    own = (old.times, old.clock)
    if new.times is None or new.clock is None:
        # the new entries have no times: all count as equally late
        return behind(own, np.zeros(len(new), np.int64))
    if comparable(old.clock, new.clock):
        return together(own, (new.times, new.clock))
    return behind(own, new.times)


def of_known(data: Interactions, users: Vocabulary, items: Vocabulary) -> Interactions:
    """`as_known`, without entries of weight 0 whose user or item is unknown."""
    if data.weights is not None and not data.weights.all():
        known = users.places(data.users.ids)[data.rows] >= 0
        known &= items.places(data.items.ids)[data.columns] >= 0
        # an entry of weight 0 only takes the place of an older one, so a new id has no use for it
        data = with_own_ids(data.chosen(known | (data.weights != 0)))
    return as_known(data, users, items)


def as_known(data: Interactions, users: Vocabulary, items: Vocabulary) -> Interactions:
    """Interactions over ids that begin with those of `users` and `items`.

    Their attributes are dropped, since those of another table have other columns.
    """
    users, to_user = users.extended(data.users)
    items, to_item = items.extended(data.items)
    rows, columns = taken(to_user, data.rows), taken(to_item, data.columns)
    moved = replace(
        data,
        users=users,
        items=items,
        rows=rows,
        columns=columns,
        user_attributes=None,
        item_attributes=None,
    )
    return moved.chosen(pair_order(rows, columns, moved.shape))


def without_user(data: Interactions, place: int) -> Interactions:
    """Interactions without those of one user and without the user's id."""
    kept = data.chosen(data.rows != place)
    rows = kept.rows - (kept.rows > place).astype(np.int32)
    attributes = data.user_attributes
    if attributes is not None:
        attributes = attributes.chosen(np.delete(np.arange(len(attributes)), place))
    users = data.users.without(place)
    return replace(kept, users=users, rows=rows, user_attributes=attributes)


def _widest(old: Attributes | None, new: Attributes | None, count: int) -> Attributes | None:
    """The later attributes, or the older ones with empty rows for later ids."""
    if new is not None or old is None:
        return new
    return old.widened(count)


def _weights(old: Interactions, new: Interactions) -> Any:
    if old.weights is None and new.weights is None:
        return None
    own = [np.ones(len(one), np.float32) if one.weights is None else one.weights
           for one in (old, new)]  # fmt: skip
    return np.concatenate(own)


FEW: Final = 0.5
"""Share of known pairs up to which exchanged users and items are an error, not a note."""
MANY: Final = 0.9
"""Share of known pairs from which users and items are taken to be in their places."""


def placed_pairs(
    table: Table, users: Vocabulary, items: Vocabulary
) -> tuple[Places, Places, list[str]]:
    """The places of the users and of the items of a table, −1 for unknown ones.

    Args:
        table: The table that was read.
        users: The users of a model.
        items: The items of a model.

    Returns:
        The places of the users, those of the items, and notes if users and items may be exchanged.

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
    """Check that the users and items of interactions are not exchanged; returns notes for the user.

    Raises:
        MatrixError: If their users are the items of the model.
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
    """Compare the pairs of a table with those that a model knows, in both orders of the sides.

    If users and items are both numbered, new users of known items look like items of known users:
    this gives a note, not an error.
    """
    fits = _share(known)
    if fits >= MANY:
        return []
    # looked up only in doubt, since it costs as much as the first look
    other_way = _share(turned())
    if other_way < MANY or other_way <= fits:
        return []
    # rows whose items are known may be of new users: these are not refused
    if fits <= FEW and np.mean(known[1] >= 0) <= FEW:
        raise MatrixError(
            f"Users and items of {source} are exchanged: its users are items of the model "
            f"in {other_way:.0%} of the rows, and users of it in {fits:.0%}.",
            hint="Name the columns with `user_column` and `item_column` the other way round; a "
            "matrix is users × items, so give its transpose.",
            code="transposed",
        )
    return [
        f"Only {fits:.0%} of the pairs of {source} are known, but {other_way:.0%} are if its "
        "users are taken as items; if they are exchanged, name them with `user_column` and "
        "`item_column`."
    ]


def _share(places: tuple[Places, Places]) -> float:
    """The share of the pairs whose user and item are known."""
    rows, columns = places
    return float(np.mean((rows >= 0) & (columns >= 0))) if len(rows) else 1.0


def check_numbered(known: Interactions, ids: tuple[Any, Any]) -> None:
    """Refuse a sparse matrix with numbered rows and columns if the model has other ids.

    Args:
        known: The interactions of the model.
        ids: Ids of the rows and of the columns; None if they are numbered.

    Raises:
        MatrixError: If the ids of the model are not numbers.
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
