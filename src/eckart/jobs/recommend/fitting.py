"""From interactions to a model: one run of a solver, and what makes it answer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.arrays import as_randomness
from eckart.factorization import Factorization, Interrupted, factorize
from eckart.factors import Factors
from eckart.jobs.recommend.feedback import Feedback
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.mapping import mapped
from eckart.jobs.recommend.methods import make_solver
from eckart.jobs.recommend.model import (
    Approximation,
    Model,
    as_entries,
    as_offset,
    attributed,
    each_draw,
    plainest,
)
from eckart.jobs.recommend.settings import Settings
from eckart.jobs.recommend.splitting import Split
from eckart.matrices import Entries
from eckart.objectives import Observed
from eckart.offset import Offset
from eckart.samples import Samples
from eckart.solvers import Step, fold_in

OnStep = Callable[[Step], None]
SMALL: Final = 0.1
"""Length of the factors that new users and items begin with, as `factorize` begins."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A model and the run that made it.

    Fields:
        model: That answers.
        run: Of the solver.
        notes: What had to be changed in the settings.
    """

    model: Model
    run: Factorization
    notes: tuple[str, ...]


def fit_model(
    data: Interactions,
    settings: Settings,
    *,
    regularization: float | None = None,
    scale: tuple[float, float] | None = None,
    start: Model | None = None,
    time_limit: float | None = None,
    on_step: OnStep | None = None,
    keep_interrupted: bool = False,
) -> Fit:
    """Fit a model to all of some interactions.

    Unless the solver draws from a posterior, the users are solved exactly once more at the end, so
    that a user of the model is the same as one who is added later, and explanations sum to scores.

    Args:
        data: The interactions.
        settings: Of the fit.
        regularization: λ, where it was chosen after the settings were made.
        scale: The lowest and the highest rating; None takes those of the data.
        start: An older model to begin at.
        time_limit: Seconds after which the solver stops.
        on_step: Called with every step.
        keep_interrupted: At Ctrl-C make a model of what was reached, instead of raising.

    Raises:
        ArgumentError: If a setting means nothing for these interactions.
        MatrixError: If there are none.

    Cost:
        That of the solver, and of one exact sweep over the users.
    """
    settings, notes = settings.fitting(data)
    explicit = data.ratings is not None
    plain = settings.objective(explicit=explicit, regularization=regularization)
    objective = attributed(plain, data)
    entries = as_entries(data, objective)
    begun = None if start is None else warm_start(start, data, settings, objective)
    try:
        run = factorize(
            entries,
            settings.rank,
            objective=objective,
            solver=make_solver(settings, data.shape),
            start=begun,
            time_limit=time_limit,
            seed=settings.seed,
            on_step=on_step,
        )
    except Interrupted as interrupted:
        if not keep_interrupted:
            raise
        run = interrupted.partial
    approximation = _answering(run.approximation, data, entries, objective)
    low_high = scale
    if explicit and scale is None and data.ratings is not None:
        low_high = (float(data.ratings.min()), float(data.ratings.max()))
    return Fit(
        model=Model(
            data=replace(data, notes=()),
            approximation=plainest(each_draw(approximation, _laid_out), plain),
            objective=plain,
            scale=low_high if explicit else None,
            document={
                "settings": {**settings.to_dict(), "regularization": objective.strength},
                "feedback": Feedback(scale=scale).to_dict(),
            },
        ),
        run=run,
        notes=tuple(notes),
    )


def _answering(
    found: Approximation,
    data: Interactions,
    entries: Entries,
    objective: Observed,
) -> Approximation:
    """What a solver found with all that it leaves to be solved or predicted."""
    if isinstance(found, Samples):
        return found
    # items first: with what is unobserved the users' equations hold all of them
    nonnegative = objective.nonnegative
    offset = mapped(as_offset(found), data, "columns", nonnegative=nonnegative)
    offset = fold_in(offset, objective, entries, "rows")
    return mapped(offset, data, "rows", nonnegative=nonnegative)


def _laid_out(offset: Offset, _: Offset) -> Offset:
    """With factors in memory as they are when they are read from a file.

    Products depend on that in their last bits, and a model is to answer the same after reading.
    """
    B, A = (np.ascontiguousarray(factor) for factor in (offset.factors.B, offset.factors.A))
    return offset.with_rows(B, offset.row_bias).with_columns(A, offset.column_bias)


def fit_split(held: Split, settings: Settings, **arguments: Any) -> Fit:
    """Fit a model to the training part of a split, with held-out users folded in.

    The model's history is the training part: what is shown of held-out users is in the split.
    """
    fit = fit_model(held.train, settings, **arguments)
    if held.shown is None:
        return fit
    shown, model = held.shown, fit.model
    objective = attributed(model.objective, shown)
    randomness = np.random.default_rng([settings.seed, len(shown)])
    folded = fold_in(
        model.approximation, objective, as_entries(shown, objective), "rows", seed=randomness
    )
    held_out = shown.user_counts() > 0

    def taken(old: Offset, new: Offset) -> Offset:
        B = np.where(held_out[:, None], new.factors.B, old.factors.B)
        return old.with_rows(B, np.where(held_out, new.row_bias, old.row_bias))

    both = each_draw(model.approximation, taken, folded)
    answering = model.having(held.train, plainest(both, objective))
    return replace(fit, model=answering)


def warm_start(old: Model, data: Interactions, settings: Settings, objective: Observed) -> Offset:
    """The factors of an older model, with small random ones for new users and items.

    Where the rank has grown new columns are random too, where it has shrunk the leading ones stay.
    """
    offset = old.offset
    factors = offset.factors
    if factors.rank > settings.rank:
        factors = factors.truncate(settings.rank)
    drawn = as_randomness(settings.seed)
    sides: list[Any] = []
    for vocabulary, known, factor, bias in (
        (data.users, old.data.users, factors.B, offset.row_bias),
        (data.items, old.data.items, factors.A.T, offset.column_bias),
    ):
        places = known.places(vocabulary.ids)
        first = drawn.standard_normal((len(vocabulary), settings.rank)).astype(np.float32)
        first *= np.float32(SMALL / np.sqrt(settings.rank))
        own = places >= 0
        first[own, : factors.rank] = factor[places[own]]
        own_bias = np.zeros(len(vocabulary), np.float32)
        own_bias[own] = bias[places[own]]
        sides.append((first, own_bias if objective.has_biases else np.zeros_like(own_bias)))
    (B, row_bias), (A, column_bias) = sides
    mean = objective.mean(as_entries(data, objective))
    return Offset(mean, row_bias, column_bias, Factors(B, A.T))
