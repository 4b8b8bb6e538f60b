"""Who dealt with what: the known entries of a users × items matrix, with their ids."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from eckart.errors import ArgumentError, MatrixError
from eckart.jobs.recommend.attributes import Attributes
from eckart.jobs.recommend.columns import ColumnNames
from eckart.jobs.recommend.feedback import Feedback
from eckart.jobs.recommend.reading import (
    Numbers,
    Table,
    Times,
    numbers_of,
    read_table,
    table_of_matrix,
    times_of,
)
from eckart.jobs.recommend.vocabulary import Places, Vocabulary


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interactions:
    """Known entries, sorted by user and item, each pair once.

    Fields:
        users, items: The ids of the rows and of the columns.
        rows, columns: Place of the user and of the item of each entry.
        ratings: None where it is only known that there was an interaction.
        weights: None where all are 1; without ratings below 0 for what was disliked.
        times: Seconds or ranks in time; None where they are not known.
        notes: What was done to them that a person should know.
        user_attributes, item_attributes: What else is known of the users and items; None where
            there is no table of them.
    """

    users: Vocabulary
    items: Vocabulary
    rows: Places
    columns: Places
    ratings: Numbers | None = None
    weights: Numbers | None = None
    times: Times | None = None
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
        """Whether anything else is known of users or items."""
        return self.user_attributes is not None or self.item_attributes is not None

    @property
    def liked(self) -> npt.NDArray[np.bool_]:
        """Which entries are no dislikes."""
        if self.ratings is not None or self.weights is None:
            return np.ones(len(self), np.bool_)
        return self.weights > 0

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


def read_interactions(
    data: Any,
    named: ColumnNames | None = None,
    feedback: Feedback | None = None,
    *,
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
        feedback: What ratings stand for; None takes them as ratings.
        user_ids: Of the rows of a sparse matrix; their numbers if left out.
        item_ids: Of its columns.

    Raises:
        ArgumentError: If there is no such file, its suffix is unknown, or `feedback` needs ratings
            and there are none.
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
    feedback = feedback or Feedback()
    if hasattr(data, "tocoo"):
        clicks = feedback.implicit and not feedback.needs_ratings
        table = table_of_matrix(data, user_ids, item_ids, "weight" if clicks else "rating")
    else:
        table = read_table(data, named)
    if "rating" not in table.columns and feedback.needs_ratings:
        raise ArgumentError(
            f"{table.source} has no ratings.",
            hint="Name their column with --rating, or leave out what asks for ratings.",
            code="no-ratings",
        )
    return interactions_of(table, feedback)


def interactions_of(table: Table, feedback: Feedback) -> Interactions:
    """The interactions of a table that was read.

    The columns of users and items are taken out of the table.

    Raises:
        MatrixError: As `read_interactions` does.
    """
    notes = list(table.notes)
    if not len(table.columns["user"]):
        raise MatrixError(
            f"{table.source} holds no interactions.", hint="Give at least one row.", code="empty"
        )
    # taken out of the table, so that ids do not stay in memory beside their places
    users, rows = Vocabulary.encoded(table.columns.pop("user"), "user", untyped=table.untyped)
    items, columns = Vocabulary.encoded(table.columns.pop("item"), "item", untyped=table.untyped)
    read = Interactions(
        users=users,
        items=items,
        rows=rows,
        columns=columns,
        ratings=numbers_of(table, "rating"),
        weights=numbers_of(table, "weight"),
        times=times_of(table, notes),
    )
    _check(read, table.source, feedback.scale)
    if read.weights is not None and not read.weights.all():
        kept = read.weights > 0
        notes.append(f"{int((~kept).sum()):,} rows of weight 0 are left out.")
        read = _with_own_ids(read.chosen(kept))
    read = once(_chosen_only(read, feedback, notes), notes)
    return replace(read, notes=tuple(notes))


def _chosen_only(read: Interactions, feedback: Feedback, notes: list[str]) -> Interactions:
    """Without ratings, where only interactions count; of dislikes the weights are negative."""
    at_least, disliked = feedback.at_least, feedback.disliked
    if read.ratings is None or not (feedback.implicit or at_least is not None):
        return read
    if disliked is not None:
        read = once(read, notes)
    ratings = read.ratings
    assert ratings is not None
    bad = np.zeros(len(read), np.bool_) if disliked is None else ratings <= disliked
    kept = ~bad if at_least is None else ratings >= at_least
    if at_least is None and disliked is None:
        notes.append("The ratings are left aside: only that there was an interaction counts.")
    if at_least is not None:
        notes.append(f"{int(kept.sum()):,} of {len(kept):,} ratings are at least {at_least:g}.")
    if disliked is not None:
        ones = np.ones(len(read), np.float32) if read.weights is None else read.weights
        read = replace(read, weights=np.where(bad, -ones, ones))
        notes.append(f"{int(bad.sum()):,} of {len(bad):,} ratings are at most {disliked:g}: these "
                     "are dislikes.")  # fmt: skip
    kept = kept | bad
    if not kept.any():
        raise MatrixError(
            f"No rating is at least {at_least:g}.", hint="Give a smaller one.", code="empty"
        )
    return replace(_with_own_ids(read.chosen(kept)), ratings=None)


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
    if not (pairs[1:] > pairs[:-1]).all():
        order = np.argsort(pairs, kind="stable")
        if read.times is not None:
            order = np.lexsort((read.times, pairs))
        read, pairs = read.chosen(order), pairs[order]
    last = np.append(pairs[1:] > pairs[:-1], True)
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
    first = np.flatnonzero(np.append(True, pairs[1:] > pairs[:-1]))
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
