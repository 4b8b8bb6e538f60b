"""Interactions: the known entries of a users × items matrix, with their ids, and their merging."""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.errors import MatrixError
from eckart.recommend.attributes import Attributes
from eckart.recommend.chunked import (
    Floats,
    Numbers,
    bincount,
    count_repeats,
    index_type,
    pair_order,
    take,
    without_repeats,
)
from eckart.recommend.times import Clock, Times, comparable, join_times
from eckart.recommend.vocabulary import Places, Vocabulary

Side: TypeAlias = Literal["rows", "columns"]
COLUMNS: Final = ("rows", "columns", "ratings", "weights", "times")
"""The arrays with a value for each entry; all but the first two may be None."""
NOTHING: Final = np.empty(0, np.int32)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interactions:
    """Known entries of W, sorted by user and then by item, each pair once.

    Fields:
        users, items: The ids of the rows and of the columns.
        rows, columns: The place of the user and of the item of each entry.
        ratings: The rating of each entry; None if only the fact of an interaction is known.
        weights: The weight of each entry, negative for dislikes (without ratings); None if all are
            1.
        times: The time of each entry as a whole number; None if it is not known.
        clock: The unit of the times; None without times.
        scale: The lowest and the highest possible rating if they were given; else those of the
            ratings count.
        notes: What was changed on reading that the user should know.
        user_attributes, item_attributes: Attributes of users and items; None without them.
    """

    users: Vocabulary
    items: Vocabulary
    rows: Places
    columns: Places
    ratings: Floats | None = None
    weights: Floats | None = None
    times: Times | None = None
    clock: Clock | None = None
    scale: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    user_attributes: Attributes | None = None
    item_attributes: Attributes | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(users, items)."""
        return len(self.users), len(self.items)

    @property
    def has_attributes(self) -> bool:
        """Whether there are attributes of users or items."""
        return self.user_attributes is not None or self.item_attributes is not None

    @property
    def liked(self) -> npt.NDArray[np.bool_]:
        """A mask of the entries that are not dislikes."""
        if self.ratings is not None or self.weights is None:
            return np.ones(len(self), np.bool_)
        return self.weights > 0

    def select(self, places: Numbers) -> "Interactions":
        """Some of the entries, given as a mask or as places; all ids are kept."""

        def some(values: Numbers | None) -> Any:
            if values is None or places.dtype == np.bool_:
                return None if values is None else values[places]
            return take(values, places)

        return replace(self, **{name: some(getattr(self, name)) for name in COLUMNS})

    def popularity(self) -> Floats:
        """How many users interacted with each item, without dislikes.

        Among equally popular items the earlier one is ranked higher.
        """
        liked = self.liked
        columns = self.columns if liked.all() else self.columns[liked]
        return bincount(columns, len(self.items)).astype(np.float32)

    def starts(self) -> npt.NDArray[np.int64]:
        """The first entry of each user, and the end: of length users + 1."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.user_counts())])

    def item_counts(self) -> npt.NDArray[np.int64]:
        """How many users interacted with each item."""
        return bincount(self.columns, len(self.items))

    def user_counts(self) -> npt.NDArray[np.int64]:
        """How many items each user interacted with."""
        return bincount(self.rows, len(self.users))


def deduplicate(read: Interactions, notes: list[str], *, add: bool | None = None) -> Interactions:
    """Sort interactions by user and item, and keep each pair once; `notes` tell of repeated pairs.

    The weights of equal pairs are added (`add`), by default if there are no ratings; else the last
    one counts.

    Cost:
        8 bytes for each entry; if the caller holds no reference to `read`, its columns are freed
        one by one.
    """
    found = count_repeats(read.rows, read.columns)
    if not found:
        return read
    # a table that is sorted already is not sorted again
    order = (
        np.arange(len(read), dtype=index_type(len(read)))
        if found > 0
        else pair_order(read.rows, read.columns, read.shape)
    )
    rated, timed, count = read.ratings is not None, read.times is not None, len(read)
    pairs = (read.rows, read.columns)
    order, weights = without_repeats(
        order, pairs, read.times, read.weights, add=not rated if add is None else add
    )
    if len(order) < count and rated:
        notes.append(
            f"{count - len(order):,} ratings of a pair that is rated again later are left out: "
            f"the last {'in time' if timed else 'in the table'} counts."
        )
    elif len(order) < count:
        repeats = f"{count - len(order):,} repeated interactions"
        notes.append(f"{repeats} are added to the weights of the first.")
    sides = replace(read, rows=NOTHING, columns=NOTHING, ratings=None, weights=None, times=None)
    columns = {
        name: getattr(read, name) for name in COLUMNS if name != "weights" or weights is None
    }
    # each column is freed as soon as its sorted copy takes its place
    del read, pairs
    for name, values in columns.items():
        columns[name] = None if values is None else take(values, order)
    if weights is not None:
        columns["weights"] = weights
    return replace(sides, **columns)


def drop_unused_ids(read: Interactions) -> Interactions:
    """Remove the ids that have neither entries nor attributes."""

    def used(counts: npt.NDArray[np.int64], attributes: Attributes | None) -> Numbers:
        # ids with attributes stay known without interactions
        return np.flatnonzero(counts > 0 if attributes is None else (counts > 0) | attributes.known)

    read = restrict(read, "rows", used(read.user_counts(), read.user_attributes))
    return restrict(read, "columns", used(read.item_counts(), read.item_attributes))


def restrict(data: Interactions, side: Side, places: Numbers) -> Interactions:
    """The entries of some users ("rows") or items ("columns"), numbered anew in their order."""
    is_row = side == "rows"
    to_new = np.full(data.shape[0 if is_row else 1], -1, np.int32)
    to_new[places] = np.arange(len(places), dtype=np.int32)
    numbered = take(to_new, data.rows if is_row else data.columns)
    if (numbered < 0).any():
        kept = numbered >= 0
        data, numbered = data.select(kept), numbered[kept]
    vocabulary = data.users if is_row else data.items
    vocabulary = replace(vocabulary, ids=vocabulary.column(places))
    attributes = data.user_attributes if is_row else data.item_attributes
    own = None if attributes is None else attributes.select(places)
    if is_row:
        return replace(data, users=vocabulary, rows=numbered, user_attributes=own)
    return replace(data, items=vocabulary, columns=numbered, item_attributes=own)


def merge(
    old: Interactions, new: Interactions, notes: list[str] | None = None, *, judged: bool = False
) -> Interactions:
    """Merge a history with later interactions, whose ids begin with those of the history.

    A new rating replaces the old one of its pair, unless both have comparable times and the new one
    is earlier; in the same way a like replaces a dislike, and a dislike a like. The weights of
    other interactions without ratings are added. If they were made from ratings by a threshold
    (`judged`), the later one of a pair replaces the earlier, also if its weight is 0 and it is no
    interaction. Notes for the user are appended to `notes`.
    """
    if (old.ratings is None) != (new.ratings is None):
        raise MatrixError(
            "The model has ratings, the new interactions have none."
            if new.ratings is None
            else "The new interactions have ratings, the model has none.",
            hint="Give interactions of the same kind.",
            code="other-kind",
        )
    both = concatenate(old, new)
    # sorted with the old entry of a pair first, so each repeated pair stands side by side
    again = (both.rows[1:] == both.rows[:-1]) & (both.columns[1:] == both.columns[:-1])
    if both.times is not None and notes is not None:
        notes += _times_notes(old, new, int(np.sum(again & (both.times[1:] < both.times[:-1]))))
    if not judged:
        return deduplicate(_reverse_opinions(both, again), [])
    last = deduplicate(both, [], add=False)
    if last.weights is None:
        return last
    last = last.select(last.weights != 0)
    # weights that are all 1 say nothing and take memory
    plain = last.weights is not None and (last.weights == 1).all()
    return replace(last, weights=None) if plain else last


def _times_notes(old: Interactions, new: Interactions, earlier: int) -> list[str]:
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


def _reverse_opinions(both: Interactions, again: Any) -> Interactions:
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


def concatenate(old: Interactions, new: Interactions) -> Interactions:
    """All entries of two, over the ids of the second, sorted; the old one of a pair comes first."""
    times, clock = join_times(
        None if old.times is None or old.clock is None else (old.times, old.clock),
        None if new.times is None or new.clock is None else (new.times, new.clock),
        (len(old), len(new)),
    )
    ratings = weights = None
    if old.ratings is not None and new.ratings is not None:
        ratings = np.concatenate([old.ratings, new.ratings])
    if old.weights is not None or new.weights is not None:
        given = [np.ones(len(one), np.float32) if one.weights is None else one.weights
                 for one in (old, new)]  # fmt: skip
        weights = np.concatenate(given)
    # the later attributes, or the older ones with empty rows for later ids
    attributes = [
        earlier.widen(count) if later is None and earlier is not None else later
        for earlier, later, count in (
            (old.user_attributes, new.user_attributes, len(new.users)),
            (old.item_attributes, new.item_attributes, len(new.items)),
        )
    ]
    both = Interactions(
        users=new.users,
        items=new.items,
        rows=np.concatenate([old.rows, new.rows]),
        columns=np.concatenate([old.columns, new.columns]),
        ratings=ratings,
        weights=weights,
        times=times,
        clock=clock,
        user_attributes=attributes[0],
        item_attributes=attributes[1],
    )
    return both.select(pair_order(both.rows, both.columns, both.shape))


def align_new(data: Interactions, users: Vocabulary, items: Vocabulary) -> Interactions:
    """`align`, without entries of weight 0 whose user or item is unknown."""
    if data.weights is not None and not data.weights.all():
        known = users.places(data.users.ids)[data.rows] >= 0
        known &= items.places(data.items.ids)[data.columns] >= 0
        # an entry of weight 0 only takes the place of an older one, so a new id has no use for it
        data = drop_unused_ids(data.select(known | (data.weights != 0)))
    return align(data, users, items)


def align(data: Interactions, users: Vocabulary, items: Vocabulary) -> Interactions:
    """Interactions over ids that begin with those of `users` and `items`.

    Their attributes are dropped, since those of another table have other columns.
    """
    users, to_user = users.extend(data.users)
    items, to_item = items.extend(data.items)
    moved = replace(
        data,
        users=users,
        items=items,
        rows=take(to_user, data.rows),
        columns=take(to_item, data.columns),
        user_attributes=None,
        item_attributes=None,
    )
    return moved.select(pair_order(moved.rows, moved.columns, moved.shape))
