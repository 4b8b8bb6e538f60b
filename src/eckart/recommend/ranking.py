"""The best items of many users block by block, and the baselines: averages and popularity."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.recommend.chunked import blocks, counted, summed
from eckart.recommend.feedback import whole_number
from eckart.recommend.interactions import Interactions

Scores: TypeAlias = npt.NDArray[np.float32]
Scorer: TypeAlias = Callable[[npt.NDArray[np.intp]], Scores]
"""A function of the places of some users that returns their scores of all items: a new array of
shape (users, items) each time, since the ranking overwrites it."""

History: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]
"""The items that users have seen: the first entry of each user and the end, and the items."""
BLOCK_BYTES: Final = 32_000_000
"""Bytes of the scores of one block of users."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """The best items of some users.

    Fields:
        users: Places of the users.
        items: Places of the items, of shape (users, k), the best first; −1 beyond the end of a
            list.
        scores: Scores of the items, of shape (users, k); NaN beyond the end of a list.
    """

    users: npt.NDArray[np.intp]
    items: npt.NDArray[np.int32]
    scores: Scores


def rank(
    score: Scorer,
    users: npt.NDArray[np.intp],
    total: int,
    k: int,
    *,
    seen: Interactions | None = None,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Ranking:
    """The k best items of each user, without those that the user has seen.

    Args:
        score: The function that returns the scores of all items for some users.
        users: Places of the users.
        total: Number of items.
        k: Length of each list.
        seen: Interactions whose items are left out for their users; None leaves nothing out.
        allowed: A mask of the items that may be listed; None allows all.

    Raises:
        ArgumentError: If k is not a whole number of at least 1.

    Cost:
        users × items scores, 32 MB of them at a time.

    Example:
        >>> table = np.array([[1.0, 3.0, 2.0]], np.float32)
        >>> rank(lambda users: table[users], np.array([0]), 3, 2).items.tolist()
        [[1, 2]]
    """
    history = None if seen is None else (seen.starts(), seen.columns)
    blocks = list(ranked_blocks(score, users, total, k, history=history, allowed=allowed))
    if not blocks:
        return Ranking(
            users=users, items=np.zeros((0, k), np.int32), scores=np.zeros((0, k), np.float32)
        )
    return Ranking(
        users=users,
        items=np.concatenate([block.items for block in blocks]),
        scores=np.concatenate([block.scores for block in blocks]),
    )


def ranked_blocks(
    score: Scorer,
    users: npt.NDArray[np.intp],
    total: int,
    k: int,
    *,
    history: History | None = None,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Iterator[Ranking]:
    """Rank block by block, for lists that do not all fit into memory; arguments as for `rank`.

    Raises:
        ArgumentError: If k is not a whole number of at least 1.
    """
    k = whole_number("k", k)
    # float32 scores of all items for each user of a block
    height = max(1, BLOCK_BYTES // (4 * max(total, 1)))
    for begin in range(0, len(users), height):
        block = users[begin : begin + height]
        scores = score(block)
        if history is not None:
            starts, items = history
            counts = starts[block + 1] - starts[block]
            rows = np.repeat(np.arange(len(block)), counts)
            # the histories of a block as one gather, without a loop over users
            offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            columns = items[np.repeat(starts[block], counts) + offsets]
            # −∞ is never among the best, and marks the end of a list that is shorter
            scores[rows, columns] = -np.inf
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        yield _best(block, scores, k)


def _best(users: npt.NDArray[np.intp], scores: Scores, k: int) -> Ranking:
    """The k best items of each row of scores; among equal scores the earlier item comes first."""
    width = min(k, scores.shape[1])
    if width < scores.shape[1]:
        # in the order of items, so that the stable sort below breaks ties by it
        chosen = np.sort(_largest(scores, width), axis=1)
    else:
        chosen = np.broadcast_to(np.arange(width), scores.shape)
    values = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    items = np.full((len(users), k), -1, np.int32)
    best = np.full((len(users), k), np.nan, np.float32)
    items[:, :width] = np.take_along_axis(chosen, order, axis=1)
    best[:, :width] = np.take_along_axis(values, order, axis=1)
    gone = ~np.isfinite(best)
    items[gone], best[gone] = -1, np.nan
    return Ranking(users=users, items=items, scores=best)


def _largest(scores: Scores, width: int) -> npt.NDArray[np.intp]:
    """The places of the `width` largest scores of each row; ties go to the earlier places."""
    chosen = np.argpartition(scores, -width, axis=1)[:, -width:]
    least = np.take_along_axis(scores, chosen, axis=1).min(axis=1)
    # argpartition picks any of several equal scores: such rows are chosen again, in order
    tied = np.flatnonzero(np.count_nonzero(scores >= least[:, None], axis=1) > width)
    for row in tied[np.isfinite(least[tied])]:
        above = np.flatnonzero(scores[row] > least[row])
        equal = np.flatnonzero(scores[row] == least[row])
        chosen[row] = np.append(above, equal[: width - len(above)])
    return chosen


Numbers: TypeAlias = npt.NDArray[np.float64]
SWEEPS: Final = 10
"""Rounds in which the averages of users and of items are computed in turn."""
DAMPING: Final = 5.0
"""Ratings equal to the mean that are added to those of every user and item."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Averages:
    """A baseline that predicts ratings by the mean and the biases of user and item.

    Fields:
        mean: Mean of all ratings.
        users, items: The bias of each user and of each item.
    """

    mean: float
    users: npt.NDArray[np.float64]
    items: npt.NDArray[np.float64]

    def predict(self, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> Any:
        """Predict the rating of each pair of places."""
        return self.mean + self.users[rows] + self.items[columns]


def popularity(data: Interactions) -> npt.NDArray[np.float32]:
    """The popularity of each item: how many users interacted with it, without dislikes.

    Among equally popular items the earlier one is ranked higher.
    """
    liked = data.liked
    columns = data.columns if liked.all() else data.columns[liked]
    return counted(columns, len(data.items)).astype(np.float32)


def popular_scores(scores: npt.NDArray[np.float32], users: int) -> Scores:
    """The same scores of all items for each of some users."""
    return np.tile(scores, (users, 1))


def with_popular(
    score: Scorer, popular: npt.NDArray[np.float32], strangers: npt.NDArray[np.bool_]
) -> Scorer:
    """The scores of a model, replaced by popularity for users of whom nothing is known.

    Args:
        score: The function that returns the scores of the model.
        popular: The popularity of each item.
        strangers: A mask of the users of whom nothing is known; the model is not asked for them.
    """

    def answered(rows: npt.NDArray[np.intp]) -> Scores:
        known = ~strangers[rows]
        if known.all():
            return score(rows)
        scores = popular_scores(popular, len(rows))
        if known.any():
            scores[known] = score(rows[known])
        return scores

    return answered


def averages(*parts: Interactions) -> Averages:
    """The mean and the bias of each user and item, each drawn towards 0 by five ratings.

    Args:
        parts: Interactions over the same ids, taken together.

    Raises:
        ValueError: If there are no ratings.

    Cost:
        Ten passes over the ratings; memory of a block of them.
    """
    if any(part.ratings is None for part in parts):
        raise ValueError("averages of interactions without ratings")
    # by blocks, so that nothing as long as the ratings is held in float64
    every = [(part, here) for part in parts for here in blocks(len(part))]
    mean = math.fsum(float(np.sum(_weights(part, here) * _off(part, here, 0.0)))
                     for part, here in every)  # fmt: skip
    mean /= math.fsum(float(np.sum(_weights(part, here))) for part, here in every)
    users, items = (np.zeros(count) for count in parts[0].shape)
    # the counts do not change between sweeps
    of_users = DAMPING + _total(summed(part.rows, len(users), _weighing(part)) for part in parts)
    of_items = DAMPING + _total(summed(part.columns, len(items), _weighing(part)) for part in parts)
    for _ in range(SWEEPS):
        users = _total(_beside_items(part, mean, items) for part in parts) / of_users
        items = _total(_beside_users(part, mean, users) for part in parts) / of_items
    return Averages(mean=mean, users=users, items=items)


def _total(parts: Iterable[Numbers]) -> Numbers:
    return np.sum(list(parts), axis=0)


def _weights(part: Interactions, here: slice) -> Numbers:
    if part.weights is None:
        return np.ones(here.stop - here.start)
    return part.weights[here].astype(np.float64)


def _weighing(part: Interactions) -> Callable[[slice], Numbers]:
    return lambda here: _weights(part, here)


def _off(part: Interactions, here: slice, mean: float) -> Numbers:
    assert part.ratings is not None
    return part.ratings[here].astype(np.float64) - mean


def _beside_items(part: Interactions, mean: float, items: Numbers) -> Numbers:
    """The sum of the residuals of each user, beside the mean and the biases of items."""

    def left(here: slice) -> Numbers:
        return _weights(part, here) * (_off(part, here, mean) - items[part.columns[here]])

    return summed(part.rows, len(part.users), left)


def _beside_users(part: Interactions, mean: float, users: Numbers) -> Numbers:
    """The sum of the residuals of each item, beside the mean and the biases of users."""

    def left(here: slice) -> Numbers:
        return _weights(part, here) * (_off(part, here, mean) - users[part.rows[here]])

    return summed(part.columns, len(part.items), left)
