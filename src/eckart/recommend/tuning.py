"""Choice of λ, of the rank and of other settings, on a validation part of the input."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.completion.base import spread
from eckart.errors import ArgumentError, MissingExtra
from eckart.progress import Report, silent
from eckart.recommend.chunked import take
from eckart.recommend.evaluation import Split, SplitMethod, split
from eckart.recommend.fitting import fit_model
from eckart.recommend.interactions import Interactions
from eckart.recommend.model import Model
from eckart.recommend.ranking import rank, ranking_per_user
from eckart.recommend.settings import Settings

FIRST: Final = {"explicit": 0.1, "implicit": 0.01}
"""The first λ of the search; for ratings in units of their spread."""
STRIDES: Final = (4, 2, 1)
"""Steps of the search, in powers of √2; a smaller one is taken when the middle λ is the best."""
MOST: Final = 16
"""Values of λ after which the search ends."""
FARTHEST: Final = 20
"""The search ends so many powers of √2 from the first λ: a thousand times as large or small."""
DEPTH: Final = 20
"""Length of the lists whose NDCG is compared if there are no ratings."""
MOST_USERS: Final = 5000
"""Users whose lists are compared, at most."""
MOST_ENTRIES: Final = 3_000_000
"""Interactions that trials are fitted to, about; of more, those of a sample of users."""
FEWEST: Final = 20
"""Fewest interactions of which a validation part is taken."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RegularizationChoice:
    """The λ that was chosen, and all that were tried.

    Fields:
        regularization: The best λ.
        tried: Each λ with its figure on the validation part, in the order of λ.
        metric: The metric of the figures: rmse or ndcg@20.
        validated: Number of interactions in the validation part.
    """

    regularization: float
    tried: tuple[tuple[float, float], ...]
    metric: str
    validated: int

    def sentence(self) -> str:
        """The result in a sentence."""
        best = dict(self.tried)[self.regularization]
        return (
            f"λ = {self.regularization:.4g} is the best of {len(self.tried)} on "
            f"{self.validated:,} held-out interactions ({self.metric} {best:.4f})."
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers."""
        return {
            "regularization": self.regularization,
            "metric": self.metric,
            "validated": self.validated,
            "tried": [{"regularization": one, "figure": figure} for one, figure in self.tried],
        }


def choose_regularization(
    data: Interactions,
    settings: Settings,
    *,
    report: Report = silent,
) -> RegularizationChoice | None:
    """Choose the λ that predicts a held-out tenth of the interactions best from the others.

    The search starts at a λ in units of the ratings and moves to its neighbours, 4 times as large
    and as small, as long as one of them is better; then in steps of 2 and of √2.

    Args:
        data: The interactions that may be used.
        settings: Settings of the fit, whose rank and method each trial uses.
        report: Called after each trial with its λ.

    Returns:
        The choice; None if there are too few interactions, or the method has no λ.

    Cost:
        About ten fits to nine tenths of the data; above 3 million entries, to a sample of users.
    """
    if len(data) < FEWEST or settings.method == "gibbs":
        return None
    # one split for all λ, so that their figures can be compared
    held = split(sample_users(data, settings.seed), "random", seed=settings.seed)
    first = FIRST["implicit"] if data.ratings is None else FIRST["explicit"] * spread(data.ratings)
    figures: dict[int, float] = {}

    def judge(halves: int) -> float:
        if halves not in figures:
            one = first * 2 ** (halves / 2)
            fit = fit_model(held.train, replace(settings, regularization=one))
            figures[halves] = score(fit.model, held)
            report(1, said=f"λ = {one:.4g}")
        return figures[halves]

    best = 0
    for stride in STRIDES:
        best = _descend(judge, best, stride, figures)
    metric = "rmse" if data.ratings is not None else f"ndcg@{DEPTH}"
    # NDCG was minimised with a minus sign, and is reported without
    sign = 1.0 if data.ratings is not None else -1.0
    return RegularizationChoice(
        regularization=first * 2 ** (best / 2),
        tried=tuple((first * 2 ** (at / 2), sign * figures[at]) for at in sorted(figures)),
        metric=metric,
        validated=len(held.test),
    )


def score(model: Model, held: Split) -> float:
    """The figure that the search minimises: RMSE for ratings, else −NDCG@20."""
    test = held.test
    if test.ratings is not None:
        predicted = model.predict(test.rows, test.columns, clip=True)
        return float(np.sqrt(np.mean(np.square(predicted - test.ratings))))
    # dislikes are no items to be found
    test = test.select(test.liked)
    users = np.unique(test.rows).astype(np.intp)
    if not len(users):
        return 0.0
    if len(users) > MOST_USERS:
        # every n-th user rather than a random sample: the same ones in every trial
        users = users[:: -(-len(users) // MOST_USERS)]
    ranking = rank(model.scores, users, len(test.items), DEPTH, seen=held.seen)
    return -float(np.mean(ranking_per_user(ranking, test)["ndcg"]))


def sample_users(data: Interactions, seed: int) -> Interactions:
    """The interactions of a sample of users if there are more than 3 million, else all of them."""
    if len(data) <= MOST_ENTRIES:
        return data
    drawn = np.random.Generator(np.random.Philox(seed))
    # whole users, so that the history of each stays complete
    chosen = drawn.random(len(data.users)) < MOST_ENTRIES / len(data)
    part = data.select(take(chosen, data.rows))
    kept = np.cumsum(chosen) - 1
    users = replace(data.users, ids=data.users.column(np.flatnonzero(chosen)))
    attributes = data.user_attributes
    return replace(
        part,
        users=users,
        rows=kept[part.rows].astype(np.int32),
        user_attributes=None if attributes is None else attributes.select(chosen),
    )


def _descend(
    judge: Callable[[int], float], best: int, stride: int, figures: dict[int, float]
) -> int:
    """Move from one place to the better of its two neighbours, until neither is better."""
    while len(figures) < MOST:
        # `judge` remembers each figure, so a place that was tried costs nothing
        near = [place for place in (best - stride, best + stride) if abs(place) <= FARTHEST]
        lowest = min(near, key=judge)
        if judge(lowest) >= judge(best):
            return best
        best = lowest
    return best


TRIALS: Final = 40
"""Trials by default."""
LARGEST_RANK: Final = 256
"""The largest rank that is tried."""
ATTRIBUTE_WEIGHTS: Final = (0.01, 100.0)
"""The range of the weight of attributes that is tried."""

"""A callback that is called with the number of finished trials and the best figure."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The result of `tune`.

    Fields:
        settings: The best settings.
        figure: The figure of the best settings on the validation part.
        metric: The metric of the figure: rmse or ndcg@20.
        trials: The settings and the figure of each trial, in order.
        seconds: Duration of the tuning.
        attributes: Whether there were attributes, whose weight was chosen too.
    """

    settings: Settings
    figure: float
    metric: str
    trials: tuple[dict[str, Any], ...]
    seconds: float
    attributes: bool = False

    def sentence(self) -> str:
        """The result in a sentence."""
        own = self.settings
        alpha = "" if own.unobserved_weight is None else f", α = {own.unobserved_weight:.3g}"
        weight = f", attributes × {own.attribute_weight:.3g}" if self.attributes else ""
        return (
            f"Tuned in {len(self.trials)} trials: rank {own.rank}, λ = {own.regularization:.3g}, "
            f"ν = {own.count_exponent:.2f}{alpha}{weight} ({self.metric} {self.figure:.4f})."
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers."""
        return {
            "settings": self.settings.to_dict(),
            "figure": self.figure,
            "metric": self.metric,
            "trials": list(self.trials),
            "seconds": self.seconds,
        }


def tune(
    data: Interactions,
    settings: Settings,
    *,
    trials: int | None = None,
    time_limit: float | None = None,
    report: Report = silent,
) -> Tuning:
    """Choose the settings that predict a held-out tenth of the interactions best from the others.

    The first trial has the default settings, so the result is never worse than these on the
    validation part. The same seed and number of trials give the same result, unless there is a time
    limit.

    Args:
        data: The interactions that may be used.
        settings: The settings that are not chosen: method, epochs, seed.
        trials: Number of trials; None is 40, or as many as the time limit allows.
        time_limit: Seconds after which no trial begins.
        report: Called after each trial with the best figure so far.

    Raises:
        ArgumentError: If the method has no λ.
        MatrixError: If there are too few interactions for a validation part.
        MissingExtra: If Optuna is not installed.
    """
    if settings.method == "gibbs":
        raise ArgumentError(
            "A Bayesian model has no λ to choose.",
            hint="Leave out `tuned`, or choose another `method`.",
            code="option-does-not-apply",
        )
    optuna = _optuna()
    explicit, attributes = data.ratings is not None, data.has_attributes
    way: SplitMethod = "random"
    held = split(sample_users(data, settings.seed), way, seed=settings.seed)
    largest = max(1, min(LARGEST_RANK, *held.train.shape))
    # λ is suggested for ratings of unit spread, and scaled to theirs
    unit = 1.0 if data.ratings is None else spread(data.ratings)
    records: list[dict[str, Any]] = []
    began = time.perf_counter()

    def trial(suggest: Any) -> float:
        chosen = _rescale(
            _suggest(suggest, settings, explicit=explicit, largest=largest, attributes=attributes),
            held.train,
            unit,
        )
        figure = score(fit_model(held.train, chosen).model, held)
        shown = figure if explicit else -figure
        records.append({**chosen.to_dict(), "figure": shown})
        best = min if explicit else max
        report(1, said=f"best {best(record['figure'] for record in records):.4f}")
        return figure

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.seed))
    first = _first(settings, explicit=explicit, largest=largest, attributes=attributes)
    # the defaults come first, so that tuning is never worse than not tuning
    study.enqueue_trial(first)
    most = trials or (None if time_limit else TRIALS)
    # no exception is caught: a trial that fails is a fault, not a bad score
    study.optimize(trial, n_trials=most, timeout=time_limit, catch=())
    best = min(records, key=lambda record: record["figure"] * (1 if explicit else -1))
    wanted = {name: value for name, value in best.items() if name != "figure"}
    return Tuning(
        settings=Settings(**wanted),
        figure=best["figure"],
        metric="rmse" if explicit else f"ndcg@{DEPTH}",
        trials=tuple(records),
        seconds=time.perf_counter() - began,
        attributes=attributes,
    )


def _first(settings: Settings, *, explicit: bool, largest: int, attributes: bool) -> dict[str, Any]:
    shared = {
        "rank": min(settings.rank, largest),
        "regularization": 0.1 if explicit else 0.01,
        "count_exponent": 1.0,
    }
    if attributes:
        shared["attribute_weight"] = float(np.clip(settings.attribute_weight, *ATTRIBUTE_WEIGHTS))
    return shared if explicit else {**shared, "unobserved_weight": 0.1}


def _suggest(
    suggest: Any, settings: Settings, *, explicit: bool, largest: int, attributes: bool
) -> Settings:
    """The settings of one trial, as Optuna suggests them."""
    if attributes:
        weight = suggest.suggest_float("attribute_weight", *ATTRIBUTE_WEIGHTS, log=True)
        settings = replace(settings, attribute_weight=weight)
    fewest = min(4, settings.rank, largest)
    ranks = suggest.suggest_int("rank", fewest, largest, log=True)
    exponent = suggest.suggest_float("count_exponent", 0.25, 1.25)
    if explicit:
        chosen = suggest.suggest_float("regularization", 0.01, 1.0, log=True)
        return replace(settings, rank=ranks, regularization=chosen, count_exponent=exponent)
    return replace(
        settings,
        rank=ranks,
        regularization=suggest.suggest_float("regularization", 1e-4, 0.3, log=True),
        count_exponent=exponent,
        unobserved_weight=suggest.suggest_float("unobserved_weight", 3e-3, 1.0, log=True),
    )


def _rescale(chosen: Settings, data: Interactions, unit: float) -> Settings:
    """Rescale λ so that its total over all users and items is as large as with ν = 1.

    So λ and ν can be searched independently (Rendle et al. 2022, section 3). λ is also multiplied
    by the unit of the ratings, since it grows with them as the squares of factors do.
    """
    assert chosen.regularization is not None
    alpha = chosen.unobserved_weight or 0.0
    rows = data.user_counts() + alpha * len(data.items)
    columns = data.item_counts() + alpha * len(data.users)
    counts = np.maximum(np.concatenate([rows, columns]), 1.0)
    share = float(np.sum(counts) / np.sum(counts**chosen.count_exponent))
    return replace(chosen, regularization=chosen.regularization * share * unit)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra(
            "Tuning needs Optuna.",
            hint="Install it with: pip install 'eckart[tune]'",
            code="missing-extra",
        ) from error
    # Optuna logs every trial to stderr
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
