"""Interactions: the known entries of a users × items matrix, with their ids."""

from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.errors import ArgumentError, MatrixError
from eckart.recommend.attributes import Attributes
from eckart.recommend.chunked import (
    counted,
    pair_order,
    repeats,
    same_order,
    taken,
    without_repeats,
)
from eckart.recommend.columns import ColumnNames, naming
from eckart.recommend.feedback import Feedback
from eckart.recommend.gathering import Gathered
from eckart.recommend.reading import Blocks, Numbers, Table, read_blocks, table_of_matrix
from eckart.recommend.times import Clock, Times
from eckart.recommend.vocabulary import Places, Vocabulary

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
        notes: What was changed on reading that the user should know.
        user_attributes, item_attributes: Attributes of users and items; None without them.
    """

    users: Vocabulary
    items: Vocabulary
    rows: Places
    columns: Places
    ratings: Numbers | None = None
    weights: Numbers | None = None
    times: Times | None = None
    clock: Clock | None = None
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

    def chosen(self, places: npt.NDArray[Any]) -> "Interactions":
        """Some of the entries, given as a mask or as places; all ids are kept."""

        def some(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return values[places] if places.dtype == np.bool_ else taken(values, places)

        return replace(
            self,
            rows=some(self.rows),
            columns=some(self.columns),
            ratings=None if self.ratings is None else some(self.ratings),
            weights=None if self.weights is None else some(self.weights),
            times=None if self.times is None else some(self.times),
        )

    def starts(self) -> npt.NDArray[np.int64]:
        """The first entry of each user, and the end: of length users + 1."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.user_counts())])

    def item_counts(self) -> npt.NDArray[np.int64]:
        """How many users interacted with each item."""
        return counted(self.columns, len(self.items))

    def user_counts(self) -> npt.NDArray[np.int64]:
        """How many items each user interacted with."""
        return counted(self.rows, len(self.users))


def read_interactions(
    data: Any,
    named: ColumnNames | None = None,
    feedback: Feedback | None = None,
    *,
    user_ids: Any = None,
    item_ids: Any = None,
    later: bool = False,
) -> Interactions:
    """Read and check interactions with ids of any type; each pair of user and item is kept once.

    Of several ratings of one pair the last in time counts, or without times the last in the table;
    the weights of repeated interactions without ratings are added. Notes say how many there were.

    Args:
        data: A path, a data frame, an Arrow table, a mapping of columns, a SciPy sparse matrix of
            users × items, or `Interactions`, which are returned unchanged.
        named: Names of columns with unusual names.
        feedback: What ratings stand for; None reads them as ratings.
        user_ids: Ids of the rows of a sparse matrix; by default their numbers.
        item_ids: Ids of its columns; by default their numbers.
        later: Whether they are to be added to a history, as in `interactions_of`.

    Raises:
        ArgumentError: If there is no such file, its suffix is unknown, or `feedback` needs ratings
            and there are none.
        FormatError: If the file is damaged.
        MatrixError: If an id is missing, or a rating is NaN or out of range; it names the row.
        StorageError: If the system refuses to read it.

    Example:
        >>> read = read_interactions({"user": ["u", "u"], "item": [7, 9], "rating": [4.0, 5.0]})
        >>> read.shape, read.ratings.tolist()
        ((1, 2), [4.0, 5.0])
    """
    if isinstance(data, Interactions):
        return data
    feedback = feedback or Feedback()
    if hasattr(data, "tocoo"):
        clicks = feedback.implicit and not feedback.needs_ratings
        role = "weight" if clicks else "rating"
        table = table_of_matrix(data, user_ids, item_ids, role).blocks()
    else:
        table = read_blocks(data, named)
    if "rating" not in table.roles and feedback.needs_ratings:
        raise ArgumentError(
            f"{table.source} has no ratings.",
            hint=f"Leave out what asks for ratings, or name their column: {naming('rating')}.",
            code="no-ratings",
        )
    return interactions_of(table, feedback, later=later)


def interactions_of(
    table: Table | Blocks, feedback: Feedback, *, later: bool = False
) -> Interactions:
    """The interactions of a table that was read.

    The columns are removed from the table to free their memory.

    Args:
        table: The table that was read.
        feedback: What its ratings stand for.
        later: Whether they are to be added to a history. Then ratings that are neither interactions
            nor dislikes are kept with weight 0, so that they replace older ones.

    Raises:
        MatrixError: As for `read_interactions`.
    """
    blocks = table.blocks() if isinstance(table, Table) else table
    notes = list(blocks.notes)
    # no variable refers to the entries, so the memory of what is sorted or left out is freed at
    # once
    read = once(
        _chosen_only(_checked(blocks, feedback.scale, notes), feedback, notes, later=later), notes
    )
    if read.ratings is not None and len(read) > 1 and np.ptp(read.ratings) == 0:
        notes.append(
            f"All ratings are {read.ratings[0]:g}, so they say nothing of who likes what; taken as "
            "interactions (implicit), they say who chose what."
        )
    return replace(read, notes=tuple(notes))


def _checked(blocks: Blocks, scale: tuple[float, float] | None, notes: list[str]) -> Interactions:
    """All rows of a table in their order, less those of weight 0."""
    gathered = Gathered(blocks)
    (users, rows), (items, columns) = gathered.ids("user"), gathered.ids("item")
    if not len(rows):
        raise MatrixError(
            f"{blocks.source} holds no interactions.", hint="Give at least one row.", code="empty"
        )
    times, clock = gathered.times(notes)
    read = Interactions(
        users=users,
        items=items,
        rows=rows,
        columns=columns,
        ratings=gathered.numbers("rating"),
        weights=gathered.numbers("weight"),
        times=times,
        clock=clock,
    )
    # Arrow's pool keeps the memory that was freed, as much as a block and all ids
    pa.default_memory_pool().release_unused()
    _check(read, blocks.source, scale)
    if read.weights is not None and not read.weights.all():
        kept = read.weights > 0
        if not kept.any():
            raise MatrixError(
                f"All weights of {blocks.source} are 0.",
                hint="Give weights above 0, or name another column.",
                code="empty",
            )
        notes.append(f"{int((~kept).sum()):,} rows of weight 0 are left out.")
        read = read.chosen(kept)
        return with_own_ids(read)
    return read


def _chosen_only(
    read: Interactions, feedback: Feedback, notes: list[str], *, later: bool
) -> Interactions:
    """Replace ratings by interactions if requested; the weights of dislikes are negative."""
    if read.ratings is None or not (feedback.implicit or feedback.judges):
        return read
    if not feedback.judges:
        notes.append("The ratings are left aside: only that there was an interaction counts.")
        return replace(read, ratings=None)
    # repeated ratings are settled before the threshold: the last rating of a pair is judged
    read = once(read, notes)
    kept, bad = _judged(read, feedback, notes)
    read = replace(read, ratings=None)
    if later or feedback.disliked is not None:
        # 1 for a like, −1 for a dislike, 0 for neither
        signs = kept.astype(np.float32) - bad
        read = replace(read, weights=signs if read.weights is None else signs * read.weights)
    if later:
        return read
    if not (kept.any() or bad.any()):
        raise MatrixError(
            f"No rating is at least {feedback.at_least:g}.",
            hint="Give a smaller one.",
            code="empty",
        )
    return with_own_ids(read.chosen(kept | bad))


def _judged(
    read: Interactions, feedback: Feedback, notes: list[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Masks of the ratings that are interactions and of those that are dislikes."""
    at_least, disliked, ratings = feedback.at_least, feedback.disliked, read.ratings
    assert ratings is not None
    bad = np.zeros(len(read), np.bool_) if disliked is None else ratings <= disliked
    kept = ~bad if at_least is None else ratings >= at_least
    if at_least is not None:
        notes.append(f"{int(kept.sum()):,} of {len(kept):,} ratings are at least {at_least:g}.")
    if disliked is not None:
        notes.append(f"{int(bad.sum()):,} of {len(bad):,} ratings are at most {disliked:g}: these "
                     "are dislikes.")  # fmt: skip
    return kept, bad


def taken_anew(
    history: Interactions, anew: Feedback, feedback: Feedback, notes: list[str]
) -> Interactions:
    """The history of a model, with its ratings read as requested now.

    Args:
        history: The interactions of the model.
        anew: What was asked for now.
        feedback: What was asked for, completed by the feedback of the model.
        notes: A list to which notes for the user are appended.

    Raises:
        ArgumentError: If ratings are needed, but the history has only interactions.
        MatrixError: If a rating is off the scale, or no interaction is left.
    """
    if history.ratings is None:
        if anew.needs_ratings:
            raise ArgumentError(
                "The history of the older model has no ratings any more, only who chose what.",
                hint="Leave out what asks for ratings, or fit a new model to the tables.",
                code="no-ratings",
            )
        return history
    _check(history, "the history", anew.scale)
    return _chosen_only(history, feedback, notes, later=False)


def with_own_ids(read: Interactions) -> Interactions:
    """Remove the ids that have neither entries nor attributes."""
    sides: list[tuple[Vocabulary, Places, Attributes | None]] = []
    for vocabulary, places, counts, attributes in (
        (read.users, read.rows, read.user_counts(), read.user_attributes),
        (read.items, read.columns, read.item_counts(), read.item_attributes),
    ):
        there = counts > 0 if attributes is None else (counts > 0) | attributes.known
        # ids with attributes stay known without interactions
        own = Vocabulary(vocabulary.column(np.flatnonzero(there)), vocabulary.whole)
        to_new = np.cumsum(there, dtype=np.int32) - 1
        known = None if attributes is None else attributes.chosen(there)
        sides.append((own, taken(to_new, places), known))
    (users, rows, of_users), (items, columns, of_items) = sides
    return replace(
        read,
        users=users,
        items=items,
        rows=rows,
        columns=columns,
        user_attributes=of_users,
        item_attributes=of_items,
    )


def once(read: Interactions, notes: list[str], *, add: bool | None = None) -> Interactions:
    """Sort interactions by user and item, and keep each pair once.

    Args:
        read: Interactions in any order.
        notes: A list to which notes on repeated pairs are appended.
        add: Whether the weights of equal pairs are added; otherwise the last one counts. None adds
            them if there are no ratings.

    Cost:
        8 bytes for each entry; if the caller holds no reference to `read`, its columns are freed
        one by one.
    """
    found = repeats(read.rows, read.columns)
    if not found:
        return read
    # a table that is sorted already is not sorted again
    order = same_order(len(read)) if found > 0 else pair_order(read.rows, read.columns, read.shape)
    rated, timed, count = read.ratings is not None, read.times is not None, len(read)
    pairs = (read.rows, read.columns)
    order, weights = without_repeats(
        order, pairs, read.times, read.weights, add=not rated if add is None else add
    )
    if len(order) < count:
        notes.append(_of_repeats(count - len(order), rated=rated, timed=timed))
    sides = replace(read, rows=NOTHING, columns=NOTHING, ratings=None, weights=None, times=None)
    columns = {
        name: getattr(read, name) for name in COLUMNS if name != "weights" or weights is None
    }
    # each column is freed as soon as its sorted copy takes its place
    del read, pairs
    for name, values in columns.items():
        columns[name] = None if values is None else taken(values, order)
    if weights is not None:
        columns["weights"] = weights
    return replace(sides, **columns)


def _of_repeats(count: int, *, rated: bool, timed: bool) -> str:
    if not rated:
        return f"{count:,} repeated interactions are added to the weights of the first."
    return (
        f"{count:,} ratings of a pair that is rated again later are left out: "
        f"the last {'in time' if timed else 'in the table'} counts."
    )


def _check(read: Interactions, source: str, scale: tuple[float, float] | None) -> None:
    """Refuse numbers that are not finite, negative weights, and ratings off the scale."""
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
        hint="Correct these rows or leave them out; rows are counted from 1, without the header."
        + (" A scale that is given does not widen." if "outside" in what else ""),
        code="bad-rating" if "rating" in what else "bad-weight",
    )
