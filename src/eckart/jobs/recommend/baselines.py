"""What any model has to beat: the most popular items, and averages."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.jobs.recommend.blockwise import blocks, counted, summed
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.ranking import Scorer, Scores

Numbers: TypeAlias = npt.NDArray[np.float64]
SWEEPS: Final = 10
DAMPING: Final = 5.0
"""Ratings of the mean that every user and item is given beside its own."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Averages:
    """Ratings by the mean, the user and the item alone.

    Fields:
        mean: Of all ratings.
        users, items: What each adds to it.
    """

    mean: float
    users: npt.NDArray[np.float64]
    items: npt.NDArray[np.float64]

    def predict(self, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> Any:
        """The rating of each pair of places."""
        return self.mean + self.users[rows] + self.items[columns]


def popularity(data: Interactions) -> npt.NDArray[np.float32]:
    """A score for each item: how many users dealt with it, dislikes apart.

    Of equal ones the earlier is better.
    """
    liked = data.liked
    columns = data.columns if liked.all() else data.columns[liked]
    return counted(columns, len(data.items)).astype(np.float32)


def popular_scores(scores: npt.NDArray[np.float32], users: int) -> Scores:
    """The same scores for every one of some users."""
    return np.tile(scores, (users, 1))


def with_popular(
    score: Scorer, popular: npt.NDArray[np.float32], strangers: npt.NDArray[np.bool_]
) -> Scorer:
    """Scores as a model gives them, and for users of whom nothing is known those of popularity.

    Args:
        score: Of the model.
        popular: A score of each item.
        strangers: Of which users nothing is known; they are not asked for from the model.
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
    """The mean and what each user and item adds, each drawn towards 0 by five ratings.

    Args:
        parts: Interactions over the same ids, taken together.

    Raises:
        ValueError: If there are no ratings.

    Cost:
        Ten passes over the ratings; memory of a block of them.
    """
    if any(part.ratings is None for part in parts):
        raise ValueError("averages of interactions without ratings")
    every = [(part, here) for part in parts for here in blocks(len(part))]
    mean = math.fsum(float(np.sum(_weights(part, here) * _off(part, here, 0.0)))
                     for part, here in every)  # fmt: skip
    mean /= math.fsum(float(np.sum(_weights(part, here))) for part, here in every)
    users, items = (np.zeros(count) for count in parts[0].shape)
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
    """What is left of the ratings of each user, summed."""

    def left(here: slice) -> Numbers:
        return _weights(part, here) * (_off(part, here, mean) - items[part.columns[here]])

    return summed(part.rows, len(part.users), left)


def _beside_users(part: Interactions, mean: float, users: Numbers) -> Numbers:
    """What is left of the ratings of each item, summed."""

    def left(here: slice) -> Numbers:
        return _weights(part, here) * (_off(part, here, mean) - users[part.rows[here]])

    return summed(part.columns, len(part.items), left)
