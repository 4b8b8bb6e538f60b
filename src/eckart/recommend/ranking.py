"""Ranked lists from scores, the baselines, and the figures of both with standard errors."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.approximations import BiasedFactors
from eckart.arrays import Array
from eckart.factors import Factors
from eckart.recommend.chunked import Numbers, bincount, blocks
from eckart.recommend.interactions import Interactions
from eckart.recommend.settings import whole_number

Scores: TypeAlias = npt.NDArray[np.float32]
Scorer: TypeAlias = Callable[[npt.NDArray[np.intp]], Scores]
"""A function of the places of some users that returns their scores of all items: a new array of
shape (users, items) each time, since the ranking overwrites it."""
PerUser: TypeAlias = npt.NDArray[np.float64]
BLOCK_BYTES: Final = 32_000_000
"""Bytes of the scores of one block of users."""
SWEEPS: Final = 10
"""Rounds in which the averages of users and of items are computed in turn."""
DAMPING: Final = 5.0
"""Ratings equal to the mean that are added to those of every user and item."""
RANKED: Final = ("recall", "precision", "ndcg", "map", "mrr")


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
    """The k best items of each user, of `total`, without those that the user has seen.

    Items of `seen` are left out for their users; `allowed` is a mask of the items that may be
    listed, None for all.

    Raises:
        ArgumentError: If k is not a whole number of at least 1.

    Cost:
        users × items scores, 32 MB of them at a time.

    Example:
        >>> table = np.array([[1.0, 3.0, 2.0]], np.float32)
        >>> rank(lambda users: table[users], np.array([0]), 3, 2).items.tolist()
        [[1, 2]]
    """
    found = list(rank_blocks(score, users, total, k, seen=seen, allowed=allowed))
    return Ranking(
        users=users,
        items=np.concatenate([np.zeros((0, k), np.int32), *(one.items for one in found)]),
        scores=np.concatenate([np.zeros((0, k), np.float32), *(one.scores for one in found)]),
    )


def rank_blocks(
    score: Scorer,
    users: npt.NDArray[np.intp],
    total: int,
    k: int,
    *,
    seen: Interactions | None = None,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Iterator[Ranking]:
    """Rank block by block, for lists that do not all fit into memory; arguments as for `rank`."""
    k = whole_number("k", k)
    # one place more, for users who have seen nothing
    starts = None if seen is None else np.append(seen.starts(), len(seen))
    # float32 scores of all items for each user of a block
    height = max(1, BLOCK_BYTES // (4 * max(total, 1)))
    for begin in range(0, len(users), height):
        block = users[begin : begin + height]
        scores = score(block)
        if seen is not None and starts is not None:
            counts = starts[block + 1] - starts[block]
            rows = np.repeat(np.arange(len(block)), counts)
            # the histories of a block as one gather, without a loop over users
            offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            columns = seen.columns[np.repeat(starts[block], counts) + offsets]
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


def with_popular(
    score: Scorer, popular: npt.NDArray[np.float32], strangers: npt.NDArray[np.bool_]
) -> Scorer:
    """The scores of a model, replaced by popularity for users of whom nothing is known."""

    def answered(rows: npt.NDArray[np.intp]) -> Scores:
        known = ~strangers[rows]
        if known.all():
            return score(rows)
        scores = np.tile(popular, (len(rows), 1))
        if known.any():
            scores[known] = score(rows[known])
        return scores

    return answered


def averages(*parts: Interactions) -> BiasedFactors:
    """A baseline: mean and biases of users and items, each drawn towards 0 by five ratings.

    Raises:
        ValueError: If there are no ratings.

    Cost:
        Ten passes over the ratings; memory of a block of them.
    """
    if any(part.ratings is None for part in parts):
        raise ValueError("averages of interactions without ratings")
    # by blocks, so that nothing as long as the ratings is held in float64
    every = [(part, here) for part in parts for here in blocks(len(part))]
    users, items = (np.zeros(count) for count in parts[0].shape)
    mean = math.fsum(float(np.sum(_residuals(part, here, 0, 0.0, items))) for part, here in every)
    mean /= math.fsum(float(np.sum(_weights(part, here))) for part, here in every)

    def sums(side: int, values: Callable[..., Numbers], *given: Any) -> Numbers:
        """The sum of values of each user (side 0) or item (side 1)."""
        found = [
            bincount(
                (part.rows, part.columns)[side],
                part.shape[side],
                lambda here, part=part: values(part, here, *given),
            )
            for part in parts
        ]
        return np.sum(found, axis=0)

    # the counts do not change between sweeps
    user_weights, item_weights = (DAMPING + sums(side, _weights) for side in (0, 1))
    for _ in range(SWEEPS):
        users = sums(0, _residuals, 0, mean, items) / user_weights
        items = sums(1, _residuals, 1, mean, users) / item_weights
    nothing = Factors(np.zeros((len(users), 1)), np.zeros((1, len(items))))
    return BiasedFactors(mean, users, items, nothing)


def _weights(part: Interactions, here: slice) -> Numbers:
    if part.weights is None:
        return np.ones(here.stop - here.start)
    return part.weights[here].astype(np.float64)


def _residuals(part: Interactions, here: slice, side: int, mean: float, biases: Numbers) -> Numbers:
    """The weighted ratings, less the mean and the biases of the other side."""
    assert part.ratings is not None
    others = (part.columns, part.rows)[side]
    left = part.ratings[here].astype(np.float64) - mean - biases[others[here]]
    return _weights(part, here) * left


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean and its standard error; the error is None for fewer than two values.

    Example:
        >>> Figure.mean(np.array([1.0, 3.0]))
        Figure(value=2.0, error=1.0)
    """

    value: float
    error: float | None

    @staticmethod
    def mean(each: PerUser) -> "Figure":
        """The mean of independent values, with its standard error."""
        count = len(each)
        error = float(np.std(each, ddof=1)) / math.sqrt(count) if count > 1 else None
        return Figure(value=float(np.mean(each)), error=error)


def rating_figures(predicted: Array, actual: Array, users: Numbers) -> dict[str, Figure]:
    """RMSE and MAE, with standard errors that take the ratings of one user as dependent.

    Example:
        >>> figures = rating_figures(np.array([3.0, 4.0]), np.array([3.0, 2.0]), np.array([0, 1]))
        >>> figures["mae"].value
        1.0
    """
    off = np.abs(np.asarray(predicted, np.float64) - np.asarray(actual, np.float64))
    squared, plain = _clustered_mean(np.square(off), users), _clustered_mean(off, users)
    rmse = math.sqrt(squared.value)
    # the delta method: √x has the derivative 1/(2·√x)
    error = None if squared.error is None or not rmse else squared.error / (2 * rmse)
    return {"rmse": Figure(value=rmse, error=error), "mae": plain}


def _clustered_mean(each: PerUser, clusters: Numbers) -> Figure:
    """The mean, and its standard error if only the clusters are independent."""
    mean = float(np.mean(each))
    # the variance of a mean whose clusters are independent: the sums over clusters are squared
    _, places = np.unique(clusters, return_inverse=True)
    sums = np.bincount(places, each - mean)
    count = len(sums)
    if count < 2:
        return Figure(value=mean, error=None)
    error = math.sqrt(count / (count - 1) * float(np.sum(np.square(sums)))) / len(each)
    return Figure(value=mean, error=error)


def ranking_per_user(ranking: Ranking, test: Interactions) -> dict[str, PerUser]:
    """Recall, precision, NDCG, MAP and MRR of each ranked user who has relevant test items.

    With k the length of the lists, R the relevant items and h_i = 1 if place i holds one, else 0:
    recall Σh / |R|; precision Σh / k; NDCG Σ h_i/log₂(i+1) over that of a perfect list of
    min(k, |R|); MAP Σ h_i·(h_1+…+h_i)/i over min(k, |R|); MRR 1/i of the first h_i.
    """
    total = len(test.items)
    wanted = np.bincount(test.rows, minlength=len(test.users))[ranking.users]
    # one number for each pair; users × items can exceed 32 bits
    keys = test.rows.astype(np.int64) * total + test.columns
    listed = ranking.users.astype(np.int64)[:, None] * total + ranking.items
    hits = np.isin(listed, keys) & (ranking.items >= 0)
    some = wanted > 0
    hits, wanted = hits[some], wanted[some]
    k = ranking.items.shape[1]
    place = np.arange(1, k + 1)
    gain = 1 / np.log2(place + 1)
    best = np.minimum(wanted, k)
    # 1 also for lists without a hit, which `mrr` sets to 0 below
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
    """The means over users, and the coverage: the share of all items that is in any list."""
    each = ranking_per_user(ranking, test)
    figures = {name: Figure.mean(each[name]) for name in RANKED if len(each[name])}
    shown = np.unique(ranking.items[ranking.items >= 0])
    figures["coverage"] = Figure(value=len(shown) / max(len(test.items), 1), error=None)
    return figures
