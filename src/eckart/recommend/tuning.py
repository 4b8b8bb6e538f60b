"""Choice of λ, of the rank and of other settings, on a validation part of the input."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.completion.base import spread
from eckart.errors import ArgumentError, MissingExtra
from eckart.progress import Report, silent
from eckart.recommend.evaluation import Split, split
from eckart.recommend.fitting import fit_model
from eckart.recommend.interactions import Interactions, restrict
from eckart.recommend.model import Model
from eckart.recommend.ranking import rank, ranking_per_user
from eckart.recommend.settings import DEFAULT_UNOBSERVED_WEIGHT, Settings

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
    data: Interactions, settings: Settings, *, report: Report = silent
) -> RegularizationChoice | None:
    """Choose the λ that predicts a held-out tenth of the interactions best from the others.

    The search starts at a λ in units of the ratings and moves to its neighbours, 4 times as large
    and as small, as long as one of them is better; then in steps of 2 and of √2.

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
        while len(figures) < MOST:
            # `judge` remembers each figure, so a place that was tried costs nothing
            near = [place for place in (best - stride, best + stride) if abs(place) <= FARTHEST]
            lowest = min(near, key=judge)
            if judge(lowest) >= judge(best):
                break
            best = lowest
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
    return restrict(data, "rows", np.flatnonzero(chosen))


TRIALS: Final = 40
"""Trials by default."""
LARGEST_RANK: Final = 256
"""The largest rank that is tried."""
ATTRIBUTE_WEIGHTS: Final = (0.01, 100.0)
"""The range of the weight of attributes that is tried."""


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
        own = asdict(self)
        del own["attributes"]
        return own


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
    """
    if settings.method == "gibbs":
        raise ArgumentError(
            "A Bayesian model has no λ to choose.",
            hint="Leave out `tuned`, or choose another `method`.",
            code="option-does-not-apply",
        )
    optuna = _optuna()
    explicit, attributes = data.ratings is not None, data.has_attributes
    held = split(sample_users(data, settings.seed), "random", seed=settings.seed)
    largest = max(1, min(LARGEST_RANK, *held.train.shape))
    # λ is suggested for ratings of unit spread, and scaled to theirs
    unit = 1.0 if data.ratings is None else spread(data.ratings)
    records: list[dict[str, Any]] = []
    best = min if explicit else max
    began = time.perf_counter()

    def judge(trial: Any) -> float:
        chosen = _suggest(
            trial, settings, explicit=explicit, largest=largest, attributes=attributes
        )
        chosen = _rescale(chosen, held.train, unit)
        figure = score(fit_model(held.train, chosen).model, held)
        records.append({**chosen.to_dict(), "figure": figure if explicit else -figure})
        report(1, said=f"best {best(record['figure'] for record in records):.4f}")
        return figure

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.seed))
    # the defaults come first, so that tuning is never worse than not tuning
    first: dict[str, Any] = {
        "rank": min(settings.rank, largest),
        "regularization": FIRST["explicit" if explicit else "implicit"],
        "count_exponent": 1.0,
    }
    if attributes:
        first["attribute_weight"] = float(np.clip(settings.attribute_weight, *ATTRIBUTE_WEIGHTS))
    if not explicit:
        first["unobserved_weight"] = DEFAULT_UNOBSERVED_WEIGHT
    study.enqueue_trial(first)
    most = trials or (None if time_limit else TRIALS)
    # no exception is caught: a trial that fails is a fault, not a bad score
    study.optimize(judge, n_trials=most, timeout=time_limit, catch=())
    winner = best(records, key=lambda record: record["figure"])
    wanted = {name: value for name, value in winner.items() if name != "figure"}
    return Tuning(
        settings=Settings(**wanted),
        figure=winner["figure"],
        metric="rmse" if explicit else f"ndcg@{DEPTH}",
        trials=tuple(records),
        seconds=time.perf_counter() - began,
        attributes=attributes,
    )


def _suggest(
    trial: Any, settings: Settings, *, explicit: bool, largest: int, attributes: bool
) -> Settings:
    """The settings of one trial, as Optuna suggests them."""
    chosen: dict[str, Any] = {}
    if attributes:
        chosen["attribute_weight"] = trial.suggest_float(
            "attribute_weight", *ATTRIBUTE_WEIGHTS, log=True
        )
    fewest = min(4, settings.rank, largest)
    chosen["rank"] = trial.suggest_int("rank", fewest, largest, log=True)
    chosen["count_exponent"] = trial.suggest_float("count_exponent", 0.25, 1.25)
    low, high = (0.01, 1.0) if explicit else (1e-4, 0.3)
    chosen["regularization"] = trial.suggest_float("regularization", low, high, log=True)
    if not explicit:
        chosen["unobserved_weight"] = trial.suggest_float("unobserved_weight", 3e-3, 1.0, log=True)
    return replace(settings, **chosen)


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
