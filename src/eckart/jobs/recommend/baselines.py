"""What any model has to beat: the most popular items, and averages."""

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.ranking import Scores

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
    return np.bincount(data.columns[data.liked], minlength=len(data.items)).astype(np.float32)


def popular_scores(scores: npt.NDArray[np.float32], users: int) -> Scores:
    """The same scores for every one of some users."""
    return np.tile(scores, (users, 1))


def averages(data: Interactions) -> Averages:
    """The mean and what each user and item adds, each drawn towards 0 by five ratings.

    Raises:
        ValueError: If there are no ratings.
    """
    if data.ratings is None:
        raise ValueError("averages of interactions without ratings")
    weights = np.ones(len(data)) if data.weights is None else data.weights.astype(np.float64)
    mean = float(np.average(data.ratings, weights=weights))
    off = data.ratings.astype(np.float64) - mean
    users, items = np.zeros(len(data.users)), np.zeros(len(data.items))
    for _ in range(SWEEPS):
        users = _damped(data.rows, off - items[data.columns], weights, len(users))
        items = _damped(data.columns, off - users[data.rows], weights, len(items))
    return Averages(mean=mean, users=users, items=items)


def _damped(places: Any, off: Any, weights: Any, count: int) -> npt.NDArray[np.float64]:
    return np.bincount(places, weights * off, minlength=count) / (
        DAMPING + np.bincount(places, weights, minlength=count)
    )
