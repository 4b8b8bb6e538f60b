"""How good predicted ratings and ranked lists are, each figure with its standard error.

The definitions are those of the user's page, docs/recommend.md. Nothing here loops over users.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import Array
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.ranking import Ranking

PerUser: TypeAlias = npt.NDArray[np.float64]
RANKED: Final = ("recall", "precision", "ndcg", "map", "mrr")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean and its standard error; None where it takes two to tell.

    Example:
        >>> Figure.mean(np.array([1.0, 3.0]))
        Figure(value=2.0, error=1.0)
    """

    value: float
    error: float | None

    @staticmethod
    def mean(each: PerUser) -> "Figure":
        """Of independent values."""
        count = len(each)
        error = float(np.std(each, ddof=1)) / math.sqrt(count) if count > 1 else None
        return Figure(value=float(np.mean(each)), error=error)

    def to_dict(self) -> dict[str, float | None]:
        """Both numbers."""
        return {"value": self.value, "error": self.error}


def rating_figures(predicted: Array, actual: Array, users: npt.NDArray[Any]) -> dict[str, Figure]:
    """RMSE and MAE. The errors of a user's ratings are not independent, those of users are.

    Args:
        predicted: Of shape (ratings,).
        actual: Of the same shape.
        users: Place of the user of each.

    Example:
        >>> figures = rating_figures(np.array([3.0, 4.0]), np.array([3.0, 2.0]), np.array([0, 1]))
        >>> figures["mae"].value
        1.0
    """
    off = np.abs(np.asarray(predicted, np.float64) - np.asarray(actual, np.float64))
    squared, plain = _clustered(np.square(off), users), _clustered(off, users)
    rmse = math.sqrt(squared.value)
    error = None if squared.error is None or not rmse else squared.error / (2 * rmse)
    return {"rmse": Figure(value=rmse, error=error), "mae": plain}


def _clustered(each: PerUser, clusters: npt.NDArray[Any]) -> Figure:
    """The mean, and its standard error where only the clusters are independent."""
    mean = float(np.mean(each))
    _, places = np.unique(clusters, return_inverse=True)
    sums = np.bincount(places, each - mean)
    count = len(sums)
    if count < 2:
        return Figure(value=mean, error=None)
    error = math.sqrt(count / (count - 1) * float(np.sum(np.square(sums)))) / len(each)
    return Figure(value=mean, error=error)


def ranking_per_user(ranking: Ranking, test: Interactions) -> dict[str, PerUser]:
    """Recall, Precision, NDCG, MAP and MRR of each ranked user who has something to be found.

    With k the length of the lists, R the items to be found and h_i whether place i holds one:
    recall Σh / |R|; precision Σh / k; NDCG Σ h_i/log₂(i+1) over that of a perfect list of
    min(k, |R|); MAP Σ h_i·(h_1+…+h_i)/i over min(k, |R|); MRR 1/i of the first h_i.

    Args:
        ranking: Lists of k items for some users.
        test: What was to be found, of the same ids.
    """
    total = len(test.items)
    wanted = np.bincount(test.rows, minlength=len(test.users))[ranking.users]
    keys = test.rows.astype(np.int64) * total + test.columns
    listed = ranking.users.astype(np.int64)[:, None] * total + ranking.items
    hits = np.isin(listed, keys) & (ranking.items >= 0)
    some = wanted > 0
    hits, wanted = hits[some], wanted[some]
    k = ranking.items.shape[1]
    place = np.arange(1, k + 1)
    gain = 1 / np.log2(place + 1)
    best = np.minimum(wanted, k)
    first = np.argmax(hits, axis=1) + 1
    found = hits.sum(axis=1)
    return {
        "recall": found / wanted,
        "precision": found / k,
        "ndcg": (hits @ gain) / np.cumsum(gain)[best - 1],
        "map": (hits * np.cumsum(hits, axis=1) / place).sum(axis=1) / best,
        "mrr": np.where(found > 0, 1 / first, 0.0),
    }


def ranking_figures(ranking: Ranking, test: Interactions) -> dict[str, Figure]:
    """The means over users, and the share of all items that is in anybody's list."""
    each = ranking_per_user(ranking, test)
    figures = {name: Figure.mean(each[name]) for name in RANKED if len(each[name])}
    shown = np.unique(ranking.items[ranking.items >= 0])
    figures["coverage"] = Figure(value=len(shown) / max(len(test.items), 1), error=None)
    return figures
