"""Interactions put together: a history and what came later, or parts of one."""

from dataclasses import replace
from typing import Any

import numpy as np

from eckart.errors import MatrixError
from eckart.jobs.recommend.attributes import Attributes
from eckart.jobs.recommend.blockwise import taken
from eckart.jobs.recommend.interactions import Interactions, once
from eckart.jobs.recommend.pairs import pair_order
from eckart.jobs.recommend.vocabulary import Vocabulary


def merged(old: Interactions, new: Interactions) -> Interactions:
    """A history with later interactions, over the ids of the later ones.

    A new rating takes the place of the old one of its pair, and so does a like that of a dislike,
    or the reverse; other interactions without ratings are added up.

    Args:
        old: The history.
        new: Its ids begin with those of the history, in their order.

    Raises:
        MatrixError: If one has ratings and the other has none.
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
    return once(_changed_minds(joined(old, new)), [])


def _changed_minds(both: Interactions) -> Interactions:
    """Without the weight of whoever liked later what he had disliked, or the reverse."""
    if both.ratings is not None or both.weights is None or not (both.weights < 0).any():
        return both
    weights = both.weights.copy()
    again = (both.rows[1:] == both.rows[:-1]) & (both.columns[1:] == both.columns[:-1])
    weights[:-1][again & (weights[1:] * weights[:-1] < 0)] = 0.0
    return replace(both, weights=weights)


def joined(old: Interactions, new: Interactions) -> Interactions:
    """All entries of two, over the ids of the second, sorted; of one pair the old one first."""
    times = None
    if old.times is not None and new.times is not None:
        times = np.concatenate([old.times, new.times])
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
        user_attributes=_widest(old.user_attributes, new.user_attributes, len(new.users)),
        item_attributes=_widest(old.item_attributes, new.item_attributes, len(new.items)),
    )
    return both.chosen(pair_order(both.rows, both.columns, both.shape))


def as_known(data: Interactions, users: Vocabulary, items: Vocabulary) -> Interactions:
    """The same interactions over ids that begin with those of `users` and `items`.

    Attributes stay behind: those of another table have other columns.
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
    """The same interactions less those of one user, and less his id."""
    kept = data.chosen(data.rows != place)
    rows = kept.rows - (kept.rows > place).astype(np.int32)
    attributes = data.user_attributes
    if attributes is not None:
        attributes = attributes.chosen(np.delete(np.arange(len(attributes)), place))
    users = data.users.without(place)
    return replace(kept, users=users, rows=rows, user_attributes=attributes)


def _widest(old: Attributes | None, new: Attributes | None, count: int) -> Attributes | None:
    """The later attributes, or the older ones with empty rows for ids that came later."""
    if new is not None or old is None:
        return new
    return old.widened(count)


def _weights(old: Interactions, new: Interactions) -> Any:
    if old.weights is None and new.weights is None:
        return None
    own = [np.ones(len(one), np.float32) if one.weights is None else one.weights
           for one in (old, new)]  # fmt: skip
    return np.concatenate(own)
