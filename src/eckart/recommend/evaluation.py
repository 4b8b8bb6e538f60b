"""Evaluation of a model on held-out interactions; each figure has its standard error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import Array
from eckart.recommend.interactions import Interactions
from eckart.recommend.model import Model
from eckart.recommend.ranking import (
    Ranking,
    Scorer,
    averages,
    popular_scores,
    popularity,
    rank,
    with_popular,
)
from eckart.recommend.splitting import Split

PerUser: TypeAlias = npt.NDArray[np.float64]
RANKED: Final = ("recall", "precision", "ndcg", "map", "mrr")


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

    def to_dict(self) -> dict[str, float | None]:
        """The value and the error as plain numbers."""
        return {"value": self.value, "error": self.error}


def rating_figures(predicted: Array, actual: Array, users: npt.NDArray[Any]) -> dict[str, Figure]:
    """RMSE and MAE, with standard errors that take the ratings of one user as dependent.

    Args:
        predicted: The predicted ratings, of shape (ratings,).
        actual: The actual ratings, of shape (ratings,).
        users: The place of the user of each rating.

    Example:
        >>> figures = rating_figures(np.array([3.0, 4.0]), np.array([3.0, 2.0]), np.array([0, 1]))
        >>> figures["mae"].value
        1.0
    """
    off = np.abs(np.asarray(predicted, np.float64) - np.asarray(actual, np.float64))
    squared, plain = _clustered(np.square(off), users), _clustered(off, users)
    rmse = math.sqrt(squared.value)
    # the delta method: √x has the derivative 1/(2·√x)
    error = None if squared.error is None or not rmse else squared.error / (2 * rmse)
    return {"rmse": Figure(value=rmse, error=error), "mae": plain}


def _clustered(each: PerUser, clusters: npt.NDArray[Any]) -> Figure:
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

    Args:
        ranking: Lists of k items for some users.
        test: The relevant interactions, over the same ids.
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


CUTS: Final = (10,)
RELEVANT: Final = 0.75
"""Test items are relevant from this share of the way from the lowest to the highest rating."""
EDGES: Final = (1, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 20000, 100000)
"""The first numbers of entries of the ranges by activity and by popularity."""
MOST_USERS: Final = 20_000
"""Users that are ranked in one evaluation, at most; of more, a random sample."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of `evaluate`.

    Fields:
        way: How the test part was made: random, last or users.
        k: Length of the lists.
        tested: Number of ratings or interactions in the test part.
        ranked_users: Number of users whose lists were compared with it.
        unknown_items: Number of test entries whose item has neither training entries nor
            attributes; they do not count as relevant.
        relevant: The lowest rating that counts as relevant; None without ratings.
        figures: By method (model, averages, most popular) and metric.
        by_activity, by_popularity: The model and a baseline, for users or items by their number of
            training entries.
        metric: The metric of these two.
    """

    way: str
    k: int
    tested: int
    ranked_users: int
    unknown_items: int
    relevant: float | None
    figures: dict[str, dict[str, Figure]]
    by_activity: tuple[dict[str, Any], ...]
    by_popularity: tuple[dict[str, Any], ...]
    metric: str

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return {
            "test": self.way,
            "k": self.k,
            "tested": self.tested,
            "ranked_users": self.ranked_users,
            "unknown_items": self.unknown_items,
            "relevant": self.relevant,
            "figures": {
                method: {name: figure.to_dict() for name, figure in own.items()}
                for method, own in self.figures.items()
            },
            "by_activity": list(self.by_activity),
            "by_popularity": list(self.by_popularity),
            "metric": self.metric,
        }


def evaluate(
    model: Model, held: Split, *, k: int = 10, relevant: float | None = None, seed: int = 0
) -> Evaluation:
    """Measure a model on a test part, beside averages and the most popular items.

    Ratings are predicted within their scale, except those of held-out users, for whom the model
    only ranks. Relevant are test items that have interactions in the training part or attributes,
    and, if there are ratings, are rated at least `relevant`. Items that a user has seen are not
    listed, and users of whom nothing is known get the most popular items, as in `top_items`. Users
    without relevant items are left out of the means.

    Args:
        model: The model fitted to the training part, with held-out users folded in.
        held: The split into training and test part.
        k: Length of the lists.
        relevant: The lowest rating that counts as relevant; None takes three quarters of the way
            from the lowest to the highest rating.
        seed: Seed of the sample of users that is ranked if there are more than 20,000.
    """
    test, train = held.test, held.train
    figures: dict[str, dict[str, Figure]] = {"model": {}}
    errors: dict[str, npt.NDArray[np.float64]] = {}
    known = train.item_counts() > 0
    if train.item_attributes is not None:
        # items with attributes have factors, even without interactions
        known |= train.item_attributes.known
    findable = known[test.columns]
    wanted = findable & test.liked
    if test.ratings is not None:
        errors = _rate(model, held, figures)
        if relevant is None:
            low, high = model.scale or (float(test.ratings.min()), float(test.ratings.max()))
            relevant = low + RELEVANT * (high - low)
        wanted = findable & (test.ratings >= relevant)
    target = test.chosen(wanted)
    users = _ranked_users(target, seed)
    popular = popularity(train)
    rankings: dict[str, Ranking] = {}
    # held-out users are known by what is shown of them, which the model's history lacks
    strangers = model.strangers() & (held.seen.user_counts() == 0)
    scorers: dict[str, Scorer] = {
        "model": with_popular(model.scores, popular, strangers),
        "most popular": lambda rows: popular_scores(popular, len(rows)),
    }
    for method, scorer in scorers.items():
        # the baseline ranks the same items under the same filters
        ranking = rank(scorer, users, len(test.items), k, seen=held.seen, allowed=known)
        rankings[method] = ranking
        if len(users):
            figures.setdefault(method, {}).update(ranking_figures(ranking, target))
    metric = "rmse" if test.ratings is not None else f"ndcg@{k}"
    return Evaluation(
        way=held.way,
        k=k,
        tested=len(test),
        ranked_users=len(users),
        unknown_items=int((~findable).sum()),
        relevant=relevant,
        figures=figures,
        by_activity=_by_activity(held, errors, rankings, target),
        by_popularity=_by_popularity(held, errors, rankings, target),
        metric=metric,
    )


def _rate(
    model: Model, held: Split, figures: dict[str, dict[str, Figure]]
) -> dict[str, npt.NDArray[np.float64]]:
    """Add RMSE and MAE of model and averages to the figures; returns squared errors by method."""
    test = held.test
    base = averages(*(part for part in (held.train, held.shown) if part is not None))
    assert test.ratings is not None
    errors: dict[str, npt.NDArray[np.float64]] = {}
    predictions = {
        "model": model.predict(test.rows, test.columns, clip=True),
        "averages": base.predict(test.rows, test.columns),
    }
    for method, predicted in predictions.items():
        within = predicted if model.scale is None else np.clip(predicted, *model.scale)
        figures[method] = rating_figures(within, test.ratings, test.rows)
        errors[method] = np.square(within - test.ratings)
    return errors


def _ranked_users(target: Interactions, seed: int) -> npt.NDArray[np.intp]:
    users = np.unique(target.rows).astype(np.intp)
    if len(users) <= MOST_USERS:
        return users
    drawn = np.random.Generator(np.random.Philox(seed))
    return np.sort(drawn.choice(users, MOST_USERS, replace=False))


def _by_activity(
    held: Split,
    errors: dict[str, npt.NDArray[np.float64]],
    rankings: dict[str, Ranking],
    target: Interactions,
) -> tuple[dict[str, Any], ...]:
    """RMSE or NDCG of users, by their number of known entries."""
    counts = held.seen.user_counts()
    if errors:
        return _binned(counts[held.test.rows], errors, root=True)
    values = {
        method: ranking_per_user(ranking, target)["ndcg"] for method, ranking in rankings.items()
    }
    return _binned(counts[rankings["model"].users], values, root=False)


def _by_popularity(
    held: Split,
    errors: dict[str, npt.NDArray[np.float64]],
    rankings: dict[str, Ranking],
    target: Interactions,
) -> tuple[dict[str, Any], ...]:
    """RMSE, or the share of relevant items that was found, by the number of training entries."""
    counts = held.train.item_counts()
    if errors:
        return _binned(counts[held.test.columns], errors, root=True)
    # entries of users that were not drawn into the sample are neither found nor missed
    users = np.isin(target.rows, rankings["model"].users)
    pairs = target.rows[users].astype(np.int64) * len(target.items) + target.columns[users]
    values: dict[str, npt.NDArray[np.float64]] = {}
    for method, ranking in rankings.items():
        listed = ranking.users.astype(np.int64)[:, None] * len(target.items) + ranking.items
        values[method] = np.isin(pairs, listed[ranking.items >= 0]).astype(np.float64)
    return _binned(counts[target.columns[users]], values, root=False)


def _binned(
    counts: npt.NDArray[Any], values: dict[str, npt.NDArray[np.float64]], *, root: bool
) -> tuple[dict[str, Any], ...]:
    """The mean of values over each range of counts; its square root for squared errors."""
    bins: list[dict[str, Any]] = []
    edges: Sequence[float] = (0, *EDGES, np.inf)
    for low, high in pairwise(edges):
        here = (counts >= low) & (counts < high)
        if not here.any():
            continue
        means = {method: float(np.mean(own[here])) for method, own in values.items()}
        bins.append(
            {
                "from": int(low),
                "to": None if high == np.inf else int(high) - 1,
                "count": int(here.sum()),
                **{method: mean**0.5 if root else mean for method, mean in means.items()},
            }
        )
    return tuple(bins)
