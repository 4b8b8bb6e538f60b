"""Tables of interactions, as they are read, checked and compared with what a model knows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.errors import ArgumentError, MatrixError
from eckart.recommend.chunked import Column, Growing, TableLike, take
from eckart.recommend.columns import ColumnNames, naming
from eckart.recommend.ids import Encoder
from eckart.recommend.interactions import Interactions, deduplicate, drop_unused_ids
from eckart.recommend.reading import Table, as_numbers, read_table, table_of_matrix
from eckart.recommend.settings import Feedback
from eckart.recommend.times import EARLIEST, Clock, TimeBlocks, Times
from eckart.recommend.vocabulary import Places, Vocabulary

FEW_KNOWN: Final = 0.5
"""Share of known pairs up to which exchanged users and items are an error, not a note."""
MANY_KNOWN: Final = 0.9
"""Share of known pairs from which users and items are taken to be in their places."""


def read_interactions(
    data: TableLike,
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
        table = table_of_matrix(data, user_ids, item_ids, role)
    else:
        table = read_table(data, named, whole=False)
    if "rating" not in table.roles and feedback.needs_ratings:
        raise ArgumentError(
            f"{table.source} has no ratings.",
            hint=f"Leave out what asks for ratings, or name their column: {naming('rating')}.",
            code="no-ratings",
        )
    return interactions_of(table, feedback, later=later)


def interactions_of(table: Table, feedback: Feedback, *, later: bool = False) -> Interactions:
    """The interactions of a table that was read, whose columns are removed to free their memory.

    If they are `later` than a history, ratings that are neither interactions nor dislikes are kept
    with weight 0, so that they replace older ones.
    """
    notes = list(table.notes)
    # no variable refers to the entries, so the memory of what is sorted or left out is freed at
    # once
    read = deduplicate(
        _keep_chosen(_check_rows(table, feedback.scale, notes), feedback, notes, later=later), notes
    )
    if read.ratings is not None and len(read) > 1 and np.ptp(read.ratings) == 0:
        notes.append(
            f"All ratings are {read.ratings[0]:g}, so they say nothing of who likes what; taken as "
            "interactions (implicit), they say who chose what."
        )
    return replace(read, notes=tuple(notes))


def _times(table: Table, read: TimeBlocks, notes: list[str]) -> tuple[Times | None, Clock | None]:
    """Times as whole numbers and the clock that they count by; None if all are missing."""
    # a reader infers the type of each block: only the whole column has one type
    if len(read.kinds) > 1 and table.times is not None:
        read = TimeBlocks(table.source)
        read.add(table.times())
    if not read.kinds:
        return None, None
    times, clock = read.finish()
    missing = int(np.count_nonzero(times == EARLIEST))
    if clock is None:
        notes.append("All times are missing.")
        return None, None
    if missing:
        notes.append(f"{missing:,} times are missing; they count as the earliest.")
    return times, clock


def _check_rows(table: Table, scale: tuple[float, float] | None, notes: list[str]) -> Interactions:
    """All rows of a table in their order, less those of weight 0.

    Cost:
        4 bytes for each id, rating and weight, 8 for each time.
    """
    encoders = {role: Encoder(role) for role in ("user", "item")}
    numbers = {role: Growing(np.float32) for role in ("rating", "weight") if role in table.roles}
    timed = TimeBlocks(table.source) if "time" in table.roles else None
    # each column is taken out of its block, so that its memory is free once it is coded
    for columns in table.blocks:
        for role, encoder in encoders.items():
            encoder.add(columns.pop(role))
        for role, kept in numbers.items():
            kept.add(as_numbers(columns.pop(role), role, table.source, before=len(kept)))
        if timed is not None:
            timed.add(columns.pop("time"))
    (users, rows), (items, columns) = (
        Vocabulary.of_codes(encoders.pop(role), untyped=table.untyped) for role in ("user", "item")
    )
    if not len(rows):
        raise MatrixError(
            f"{table.source} holds no interactions.", hint="Give at least one row.", code="empty"
        )
    times, clock = (None, None) if timed is None else _times(table, timed, notes)
    held = {role: kept.join() for role, kept in numbers.items()}
    read = Interactions(
        users=users,
        items=items,
        rows=rows,
        columns=columns,
        ratings=held.get("rating"),
        weights=held.get("weight"),
        times=times,
        clock=clock,
    )
    # Arrow's pool keeps the memory that was freed, as much as a block and all ids
    pa.default_memory_pool().release_unused()
    _check(read, table.source, scale)
    if read.weights is not None and not read.weights.all():
        kept = read.weights > 0
        if not kept.any():
            raise MatrixError(
                f"All weights of {table.source} are 0.",
                hint="Give weights above 0, or name another column.",
                code="empty",
            )
        notes.append(f"{int((~kept).sum()):,} rows of weight 0 are left out.")
        read = drop_unused_ids(read.select(kept))
    return read


def _keep_chosen(
    read: Interactions, feedback: Feedback, notes: list[str], *, later: bool
) -> Interactions:
    """Replace ratings by interactions if requested; the weights of dislikes are negative."""
    if read.ratings is None or not (feedback.implicit or feedback.judges):
        return read
    if not feedback.judges:
        notes.append("The ratings are left aside: only that there was an interaction counts.")
        return replace(read, ratings=None)
    # repeated ratings are settled before the threshold: the last rating of a pair is judged
    read = deduplicate(read, notes)
    assert read.ratings is not None
    at_least, disliked, ratings = feedback.at_least, feedback.disliked, read.ratings
    bad = np.zeros(len(read), np.bool_) if disliked is None else ratings <= disliked
    kept = ~bad if at_least is None else ratings >= at_least
    if at_least is not None:
        notes.append(f"{int(kept.sum()):,} of {len(kept):,} ratings are at least {at_least:g}.")
    if disliked is not None:
        notes.append(f"{int(bad.sum()):,} of {len(bad):,} ratings are at most {disliked:g}: these "
                     "are dislikes.")  # fmt: skip
    read = replace(read, ratings=None)
    if later or disliked is not None:
        # 1 for a like, −1 for a dislike, 0 for neither
        signs = kept.astype(np.float32) - bad
        read = replace(read, weights=signs if read.weights is None else signs * read.weights)
    if later:
        return read
    if not (kept.any() or bad.any()):
        raise MatrixError(
            f"No rating is at least {at_least:g}.", hint="Give a smaller one.", code="empty"
        )
    return drop_unused_ids(read.select(kept | bad))


def read_history(
    history: Interactions, asked: Feedback, feedback: Feedback, notes: list[str]
) -> Interactions:
    """The history of a model, with its ratings read as requested now."""
    if history.ratings is not None:
        _check(history, "the history", asked.scale)
        return _keep_chosen(history, feedback, notes, later=False)
    if asked.needs_ratings:
        raise ArgumentError(
            "The history of the older model has no ratings any more, only who chose what.",
            hint="Leave out what asks for ratings, or fit a new model to the tables.",
            code="no-ratings",
        )
    return history


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


def place_pairs(
    columns: Mapping[str, Column], source: str, users: Vocabulary, items: Vocabulary
) -> tuple[Places, Places, list[str]]:
    """The places of the users and of the items of a table, −1 for unknown ones, and notes."""

    def places(first: Vocabulary, second: Vocabulary) -> tuple[Places, Places]:
        return first.places(columns["user"], "user"), second.places(columns["item"], "item")

    found = places(users, items)
    return *found, _check_exchange(source, found, lambda: places(items, users))


def check_sides(source: str, read: Interactions, users: Vocabulary, items: Vocabulary) -> list[str]:
    """Check that the users and items of interactions are not exchanged; returns notes."""

    def places(first: Vocabulary, second: Vocabulary) -> tuple[Places, Places]:
        return (
            take(first.places(read.users.ids), read.rows),
            take(second.places(read.items.ids), read.columns),
        )

    return _check_exchange(source, places(users, items), lambda: places(items, users))


def _check_exchange(
    source: str, known: tuple[Places, Places], exchanged: Callable[[], tuple[Places, Places]]
) -> list[str]:
    """Compare the pairs of a table with those that a model knows, in both orders of the sides.

    If users and items are both numbered, new users of known items look like items of known users:
    this gives a note, not an error.
    """
    fits = _share(known)
    if fits >= MANY_KNOWN:
        return []
    # looked up only in doubt, since it costs as much as the first look
    other_way = _share(exchanged())
    if other_way < MANY_KNOWN or other_way <= fits:
        return []
    # rows whose items are known may be of new users: these are not refused
    if fits <= FEW_KNOWN and np.mean(known[1] >= 0) <= FEW_KNOWN:
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
    """Refuse a sparse matrix with numbered rows and columns if the model has other ids."""
    for vocabulary, own, what in zip(
        (known.users, known.items), ids, ("user", "item"), strict=True
    ):
        if own is None and not pa.types.is_integer(vocabulary.ids.type):
            raise MatrixError(
                f"The model knows {what}s by name, and those of the matrix have only numbers.",
                hint=f"Give {what}_ids, one for each {'row' if what == 'user' else 'column'}.",
                code="other-ids",
            )
