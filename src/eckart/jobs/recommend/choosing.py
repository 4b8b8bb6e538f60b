"""λ chosen on a validation part of the input, where it was left out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.jobs.recommend.blockwise import taken
from eckart.jobs.recommend.fitting import fit_model
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.metrics import ranking_per_user
from eckart.jobs.recommend.model import Model
from eckart.jobs.recommend.ranking import rank
from eckart.jobs.recommend.settings import Settings
from eckart.jobs.recommend.splitting import Split, split
from eckart.solvers.units import spread

FIRST: Final = {"explicit": 0.1, "implicit": 0.01}
STRIDES: Final = (4, 2, 1)
"""Powers of √2 between neighbours; the search goes on with fewer where a middle one is best."""
MOST: Final = 16
FARTHEST: Final = 20
"""Powers of √2 from the first λ: a thousand times as large and as small."""
DEPTH: Final = 20
"""Of the lists that λ is chosen by where there are no ratings."""
MOST_USERS: Final = 5000
MOST_ENTRIES: Final = 3_000_000
FEWEST: Final = 20
"""Interactions that a validation part can be taken from."""

OnTrial = Callable[[str], None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen, and what it was chosen from.

    Fields:
        regularization: The best λ.
        tried: Each λ with its figure on the validation part, in the order of λ.
        metric: What the figure is: rmse, or ndcg@20.
        validated: Interactions of the validation part.
    """

    regularization: float
    tried: tuple[tuple[float, float], ...]
    metric: str
    validated: int

    def sentence(self) -> str:
        """What a person should know."""
        best = dict(self.tried)[self.regularization]
        return (
            f"λ = {self.regularization:.4g} is the best of {len(self.tried)} on "
            f"{self.validated:,} held-out interactions ({self.metric} {best:.4f})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
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
    scale: tuple[float, float] | None = None,
    on_trial: OnTrial | None = None,
) -> Choice | None:
    """The λ that predicts a tenth of the interactions best from the others.

    The search goes from a λ in units of the ratings to its neighbours, 4 times as large and as
    small, as long as one is better; then in steps of 2 and of √2. None where there are too few
    interactions to tell, or λ plays no part.

    Args:
        data: All that may be looked at.
        settings: Of the fit; its rank and method are those of each trial.
        scale: Of the ratings.
        on_trial: Called with a word on each trial.

    Cost:
        About ten fits to nine tenths of the data, of a sample of its users above 3 million entries.
    """
    if len(data) < FEWEST or settings.method == "gibbs":
        return None
    held = split(sampled(data, settings.seed), "random", seed=settings.seed)
    first = FIRST["implicit"] if data.ratings is None else FIRST["explicit"] * spread(data.ratings)
    figures: dict[int, float] = {}

    def judge(halves: int) -> float:
        if halves not in figures:
            one = first * 2 ** (halves / 2)
            fit = fit_model(held.train, settings, regularization=one, scale=scale)
            figures[halves] = score(fit.model, held)
            if on_trial is not None:
                on_trial(f"λ = {one:.4g}")
        return figures[halves]

    best = 0
    for stride in STRIDES:
        best = _descend(judge, best, stride, figures)
    metric = "rmse" if data.ratings is not None else f"ndcg@{DEPTH}"
    sign = 1.0 if data.ratings is not None else -1.0
    return Choice(
        regularization=first * 2 ** (best / 2),
        tried=tuple((first * 2 ** (at / 2), sign * figures[at]) for at in sorted(figures)),
        metric=metric,
        validated=len(held.test),
    )


def score(model: Model, held: Split) -> float:
    """The figure that is made small: RMSE, or −NDCG@20."""
    test = held.test
    if test.ratings is not None:
        predicted = model.predict(test.rows, test.columns, clip=True)
        return float(np.sqrt(np.mean(np.square(predicted - test.ratings))))
    test = test.chosen(test.liked)
    users = np.unique(test.rows).astype(np.intp)
    if not len(users):
        return 0.0
    if len(users) > MOST_USERS:
        users = users[:: -(-len(users) // MOST_USERS)]
    ranking = rank(model.scores, users, len(test.items), DEPTH, seen=held.seen)
    return -float(np.mean(ranking_per_user(ranking, test)["ndcg"]))


def sampled(data: Interactions, seed: int) -> Interactions:
    """The interactions of a sample of users, where there are more than 3 million."""
    if len(data) <= MOST_ENTRIES:
        return data
    drawn = np.random.Generator(np.random.Philox(seed))
    chosen = drawn.random(len(data.users)) < MOST_ENTRIES / len(data)
    part = data.chosen(taken(chosen, data.rows))
    kept = np.cumsum(chosen) - 1
    users = replace(data.users, ids=data.users.column(np.flatnonzero(chosen)))
    attributes = data.user_attributes
    return replace(
        part,
        users=users,
        rows=kept[part.rows].astype(np.int32),
        user_attributes=None if attributes is None else attributes.chosen(chosen),
    )


def _descend(
    judge: Callable[[int], float], best: int, stride: int, figures: dict[int, float]
) -> int:
    """From one place to the better of its two neighbours, until neither is."""
    while len(figures) < MOST:
        near = [place for place in (best - stride, best + stride) if abs(place) <= FARTHEST]
        lowest = min(near, key=judge)
        if judge(lowest) >= judge(best):
            return best
        best = lowest
    return best
