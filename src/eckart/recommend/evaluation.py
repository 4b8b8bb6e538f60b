"""A held-out part of the interactions, and the evaluation of a model on it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.errors import ArgumentError, MatrixError
from eckart.recommend.chunked import BLOCK, Numbers, take
from eckart.recommend.columns import naming
from eckart.recommend.interactions import COLUMNS, NOTHING, Interactions
from eckart.recommend.model import Model
from eckart.recommend.ranking import (
    Figure,
    Ranking,
    Scorer,
    averages,
    rank,
    ranking_figures,
    ranking_per_user,
    rating_figures,
    with_popular,
)
from eckart.recommend.settings import check_word

SplitMethod: TypeAlias = Literal["random", "last", "users"]
SPLIT_METHODS: Final[tuple[SplitMethod, ...]] = ("random", "last", "users")
Errors: TypeAlias = npt.NDArray[np.float64]
SHARE: Final = 0.1
"""Share of the interactions, or of the users, in the test part by default."""
HIDDEN: Final = 0.2
"""Share of the items of a held-out user that are hidden, to be predicted from the others."""
FEWEST: Final = 5
"""Items that a user must have to be held out: the hidden fifth is then at least one."""
TRAIN, SHOWN, TEST = range(3)
"""The codes of the parts in `Split.parts`."""
RELEVANT: Final = 0.75
"""Test items are relevant from this share of the way from the lowest to the highest rating."""
EDGES: Final = (1, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 20000, 100000)
"""The first numbers of entries of the ranges by activity and by popularity."""
MOST_USERS: Final = 20_000
"""Users that are ranked in one evaluation, at most; of more, a random sample."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A training part and a test part over the same ids, without times.

    Fields:
        way: How the split was made: random, last or users.
        train: The interactions that a model is fitted to.
        shown: The interactions of held-out users by which they are folded in; None for other ways.
        test: The interactions that the answers are compared with.
        parts: The part of each entry, as TRAIN, SHOWN or TEST.
        rest: Everything that the parts lack: the times and the notes.
    """

    way: SplitMethod
    train: Interactions
    test: Interactions
    shown: Interactions | None
    parts: npt.NDArray[np.uint8]
    rest: Interactions

    @property
    def seen(self) -> Interactions:
        """The known interactions of the tested users, whose items are not recommended again."""
        return self.train if self.shown is None else self.shown

    def join(self) -> Interactions:
        """The interactions before the split; the whole need not be kept beside the parts."""
        pieces = {TRAIN: self.train, SHOWN: self.shown, TEST: self.test}
        columns: dict[str, Numbers] = {}
        for name in COLUMNS:
            first = getattr(self.train, name)
            if first is None:
                continue
            columns[name] = np.empty(len(self.parts), first.dtype)
            for part, piece in pieces.items():
                if piece is not None:
                    columns[name][self.parts == part] = getattr(piece, name)
        return replace(self.rest, **columns)


def split(
    data: Interactions, way: SplitMethod, *, share: float = SHARE, seed: int = 0, most: int = 10_000
) -> Split:
    """Split interactions into a training part and a test part.

    Args:
        data: The interactions.
        way: "random" takes a share of the entries; "last" the last entries of each user in time, at
            least one of each user who has two; "users" takes whole users, of whose items 80 % are
            shown to the model afterwards and 20 % are hidden.
        share: Share of the entries, or of the users, in the test part.
        seed: Seed of the random choice.
        most: The most users that are held out.

    Raises:
        ArgumentError: If the way is unknown, the share is not between 0 and 1, or there are no
            times for "last".
        MatrixError: If there are too few interactions.

    Example:
        >>> from eckart.recommend.interaction_tables import read_interactions
        >>> data = read_interactions({"user": [1, 1, 1, 2], "item": [1, 2, 3, 1],
        ...                           "time": [3, 2, 1, 0]})
        >>> len(split(data, "last").test)
        1
    """
    check_word("test", way, SPLIT_METHODS)
    if not 0 < share < 1:
        raise ArgumentError(
            f"The share of the test part is {share}.",
            hint="Give a number between 0 and 1, such as 0.1.",
            code="bad-share",
        )
    drawn = np.random.Generator(np.random.Philox(seed))
    if way == "users":
        return _by_users(data, share, drawn, most)
    if way == "last":
        hidden = _last(data, share)
    else:
        hidden = np.zeros(len(data), np.bool_)
        count = max(1, round(share * len(data)))
        hidden[drawn.choice(len(data), count, replace=False)] = True
    # an empty part could be neither fitted nor measured
    if not hidden.any() or hidden.all():
        raise _too_few(data)
    return _make_split(data, way, np.where(hidden, np.uint8(TEST), np.uint8(TRAIN)))


def _make_split(data: Interactions, way: SplitMethod, parts: npt.NDArray[np.uint8]) -> Split:
    # no fit or evaluation needs times, which take 8 bytes for each entry
    timeless = replace(data, times=None, clock=None)
    return Split(
        way=way,
        train=timeless.select(parts == TRAIN),
        shown=timeless.select(parts == SHOWN) if way == "users" else None,
        test=timeless.select(parts == TEST),
        parts=parts,
        rest=replace(data, rows=NOTHING, columns=NOTHING, ratings=None, weights=None),
    )


def _last(data: Interactions, share: float) -> npt.NDArray[np.bool_]:
    counts, times = data.user_counts(), data.times
    if times is None:
        raise ArgumentError(
            "There are no times, so the last interactions are not known.",
            hint=f"Test on a random part, or name their column: {naming('time')}.",
            code="no-times",
        )
    # a user with one entry keeps it: without it nothing would be known of the user
    wanted = np.where(counts > 1, np.maximum(1, np.floor(share * counts)), 0)
    return ~_first(data, lambda here: times[here], (counts - wanted).astype(np.int64))


def _by_users(data: Interactions, share: float, drawn: np.random.Generator, most: int) -> Split:
    counts = data.user_counts()
    able = np.flatnonzero(counts >= FEWEST)
    count = min(most, max(1, round(share * len(data.users))), len(able))
    # somebody must be left to fit
    if not len(able) or count == len(data.users):
        raise _too_few(data)
    held = np.zeros(len(data.users), np.bool_)
    held[drawn.choice(able, count, replace=False)] = True
    of_held = take(held, data.rows)

    # a random order within each user, whose first fifth is hidden
    hidden = _first(
        data,
        lambda here: drawn.random(len(data.rows[here])),
        np.floor(HIDDEN * counts).astype(np.int64),
    )
    hidden &= of_held
    parts = np.where(of_held, np.uint8(SHOWN), np.uint8(TRAIN))
    parts[hidden] = TEST
    return _make_split(data, "users", parts)


def _first(
    data: Interactions, keys: Callable[[slice], Numbers], wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """A mask of the first `wanted` entries of each user by a key, formed for blocks of users.

    `keys` returns the keys of consecutive slices of the entries; among equal keys the earlier entry
    is first.
    """
    starts = data.starts()
    first = np.zeros(len(data), np.bool_)
    ends = np.searchsorted(starts, np.arange(BLOCK, len(data) + BLOCK, BLOCK))
    edges = np.unique(np.append(0, np.minimum(ends, len(wanted))))
    for low, high in pairwise(edges):
        here = slice(int(starts[low]), int(starts[high]))
        # the last key is the primary one
        order = np.lexsort((keys(here), data.rows[here]))
        counts = np.diff(starts[low : high + 1])
        place = np.arange(len(order)) - np.repeat(starts[low:high] - here.start, counts)
        first[here.start + order] = place < np.repeat(wanted[low:high], counts)
    return first


def _too_few(data: Interactions) -> MatrixError:
    return MatrixError(
        f"There are too few interactions for a test part: {len(data)} of {len(data.users)} users.",
        hint="Leave out `test`, or give more data.",
        code="too-few",
    )


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
        own = asdict(self)
        return {"test": own.pop("way"), **own}


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
    errors: dict[str, Errors] = {}
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
    target = test.select(wanted)
    users = np.unique(target.rows).astype(np.intp)
    if len(users) > MOST_USERS:
        drawn = np.random.Generator(np.random.Philox(seed))
        users = np.sort(drawn.choice(users, MOST_USERS, replace=False))
    popular = train.popularity()
    rankings: dict[str, Ranking] = {}
    # held-out users are known by what is shown of them, which the model's history lacks
    strangers = model.strangers() & (held.seen.user_counts() == 0)
    scorers: dict[str, Scorer] = {
        "model": with_popular(model.scores, popular, strangers),
        "most popular": lambda rows: np.tile(popular, (len(rows), 1)),
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
        **_ranges(held, errors, rankings, target),
        metric=metric,
    )


def _rate(model: Model, held: Split, figures: dict[str, dict[str, Figure]]) -> dict[str, Errors]:
    """Add RMSE and MAE of model and averages to the figures; returns squared errors by method."""
    test = held.test
    assert test.ratings is not None
    base = averages(*(part for part in (held.train, held.shown) if part is not None))
    errors: dict[str, Errors] = {}
    for method, predicted in (
        ("model", model.predict(test.rows, test.columns, clip=True)),
        ("averages", base.predict(test.rows, test.columns)),
    ):
        within = predicted if model.scale is None else np.clip(predicted, *model.scale)
        figures[method] = rating_figures(within, test.ratings, test.rows)
        errors[method] = np.square(within - test.ratings)
    return errors


def _ranges(
    held: Split, errors: dict[str, Errors], rankings: dict[str, Ranking], target: Interactions
) -> dict[str, tuple[dict[str, Any], ...]]:
    """The model and a baseline by the activity of users and by the popularity of items.

    These are RMSE if there are ratings; else NDCG of users, by their number of known entries, and
    the share of relevant items that was found, by their number of training entries.
    """
    test, activity, popularity = held.test, held.seen.user_counts(), held.train.item_counts()
    if errors:
        return {
            "by_activity": _bin(activity[test.rows], errors, root=True),
            "by_popularity": _bin(popularity[test.columns], errors, root=True),
        }
    # entries of users that were not drawn into the sample are neither found nor missed
    ranked = np.isin(target.rows, rankings["model"].users)
    pairs = target.rows[ranked].astype(np.int64) * len(target.items) + target.columns[ranked]
    gains, found = dict[str, Errors](), dict[str, Errors]()
    for method, ranking in rankings.items():
        gains[method] = ranking_per_user(ranking, target)["ndcg"]
        shown = ranking.users.astype(np.int64)[:, None] * len(target.items) + ranking.items
        found[method] = np.isin(pairs, shown[ranking.items >= 0]).astype(np.float64)
    return {
        "by_activity": _bin(activity[rankings["model"].users], gains, root=False),
        "by_popularity": _bin(popularity[target.columns[ranked]], found, root=False),
    }


def _bin(counts: Numbers, values: dict[str, Errors], *, root: bool) -> tuple[dict[str, Any], ...]:
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
