"""From interactions to a model: one run of a solver, and what makes it answer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt
import scipy.linalg

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.arrays import FLOAT32, FLOAT64, Array, as_randomness
from eckart.completion.als import AlternatingLeastSquares
from eckart.completion.base import EntriesSolver
from eckart.completion.entries import Entries
from eckart.completion.equations import Cholesky, CoordinateBlocks
from eckart.completion.fold_in import fold_in
from eckart.completion.gibbs import GibbsSampling
from eckart.completion.objective import Observed
from eckart.completion.sgd import StochasticGradient
from eckart.engine import Factorization, Interrupted
from eckart.errors import ArgumentError
from eckart.factorization import factorize
from eckart.factors import Factors
from eckart.recommend.feedback import Feedback
from eckart.recommend.interactions import Interactions
from eckart.recommend.model import (
    Approximation,
    Model,
    as_entries,
    as_offset,
    attributed,
    each_draw,
    plainest,
)
from eckart.recommend.settings import Settings
from eckart.recommend.splitting import Split
from eckart.solvers import Step
from eckart.threads import one_blas_thread

DRAWN_BYTES: Final = 2**30
"""Of all draws of a posterior that are kept."""
FEWEST_DRAWS: Final = 10
BURN_IN: Final = 50
ROWS: Final = {"als": None, "cholesky": Cholesky(), "blocks": CoordinateBlocks()}
"""How alternating least squares solves a row; None chooses."""


def make_solver(settings: Settings, shape: tuple[int, int]) -> EntriesSolver:
    """The solver that the settings name.

    Args:
        settings: Of the fit.
        shape: (users, items), for what fits into memory.

    Raises:
        ArgumentError: If the solver does not keep factors from being negative as was asked.

    Example:
        >>> make_solver(Settings(epochs=3), (10, 10)).epochs
        3
    """
    epochs: dict[str, Any] = {} if settings.epochs is None else {"epochs": settings.epochs}
    if settings.nonnegative and settings.method != "als":
        raise ArgumentError(
            f"The solver {settings.method} does not keep factors from being negative.",
            hint="Leave it out.",
            code="option-does-not-apply",
        )
    if settings.method == "gd":
        return StochasticGradient(**epochs)
    if settings.method == "gibbs":
        samples = {} if settings.epochs is None else {"samples": settings.epochs}
        draw = 4 * (settings.rank + 1) * sum(shape)
        keep = min(GibbsSampling().keep, max(FEWEST_DRAWS, DRAWN_BYTES // draw))
        return GibbsSampling(burn_in=BURN_IN, keep=keep, **samples)
    return AlternatingLeastSquares(by=ROWS[settings.method], **epochs)


Side: TypeAlias = Literal["rows", "columns"]
DAMPING: Final = 2.0
"""Users of the average who stand beside those of each attribute."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mapping:
    """Factors and bias of a user or item by its attributes: [M 1]·Γ.

    The equations of the fit alone would take it for one who was shown everything and chose nothing;
    and factors that explain attributes best are not those that attributes predict best.

    Fields:
        weights: Γ, of shape (attributes + 1, rank + 1), the average and the bias last.
        lowest: Of each factor: 0 where factors must not be negative, else −∞.

    Reference:
        Gantner et al. (2010), ICDM: attribute-to-feature mappings for cold starts.
    """

    weights: Array
    lowest: float

    def applied(self, matrix: Any) -> tuple[Array, Array]:
        """Factors and biases of the rows of a matrix of attributes."""
        found = (matrix @ self.weights[:-1] + self.weights[-1]).astype(FLOAT32)
        return np.maximum(found[:, :-1], self.lowest), found[:, -1]


def learned_mapping(
    offset: BiasedFactors, data: Interactions, side: Side, *, nonnegative: bool
) -> Mapping | None:
    """The best Γ for those who have both interactions and attributes, drawn towards their average.

    Args:
        offset: Factors and biases.
        data: Whose they are.
        side: rows for users, columns for items.
        nonnegative: Whether factors must not be negative.

    Returns:
        None where nobody has both.

    Cost:
        Pairs of attributes of each user or item, and width³/3 operations.
    """
    attributes, counts = _of(data, side)
    if attributes is None:
        return None
    both = np.flatnonzero(attributes.known & (counts > 0))
    if not len(both):
        return None
    factors, bias = (
        (offset.factors.B, offset.row_bias)
        if side == "rows"
        else (offset.factors.A.T, offset.column_bias)
    )
    X = np.column_stack([factors[both], bias[both]]).astype(FLOAT64)
    M = attributes.matrix[both].astype(FLOAT64)
    average = X.mean(axis=0)
    means = np.asarray(M.mean(axis=0)).ravel()
    with one_blas_thread():
        G = (M.T @ M).toarray() - len(both) * np.outer(means, means)
        right = M.T @ (X - average)
        G[np.diag_indices_from(G)] += DAMPING
        weights = scipy.linalg.solve(G, right, assume_a="pos")
        constant = average - means @ weights
    return Mapping(weights=np.vstack([weights, constant]), lowest=0.0 if nonnegative else -np.inf)


def mapped(
    offset: BiasedFactors, data: Interactions, side: Side, *, nonnegative: bool
) -> BiasedFactors:
    """With factors by attributes for all who have no interactions."""
    mapping = learned_mapping(offset, data, side, nonnegative=nonnegative)
    return offset if mapping is None else placed(mapping, offset, data, side)


def placed(
    mapping: Mapping,
    offset: BiasedFactors,
    data: Interactions,
    side: Side,
    places: npt.NDArray[Any] | None = None,
) -> BiasedFactors:
    """With what a mapping gives for those who have attributes and no interactions.

    Args:
        mapping: From attributes to factors.
        offset: That is changed.
        data: Of its rows and columns.
        side: Which are changed.
        places: Those that may be; None lets all.
    """
    attributes, counts = _of(data, side)
    assert attributes is not None
    cold = attributes.known & (counts == 0)
    here = np.flatnonzero(cold) if places is None else places[cold[places]]
    if not len(here):
        return offset
    found, bias = mapping.applied(attributes.matrix[here])
    if side == "rows":
        B, row_bias = offset.factors.B.copy(), offset.row_bias.copy()
        B[here], row_bias[here] = found, bias
        return offset.with_rows(B, row_bias)
    A, column_bias = offset.factors.A.copy(), offset.column_bias.copy()
    A[:, here], column_bias[here] = found.T, bias
    return offset.with_columns(A, column_bias)


def _of(data: Interactions, side: Side) -> tuple[Any, npt.NDArray[np.int64]]:
    if side == "rows":
        return data.user_attributes, data.user_counts()
    return data.item_attributes, data.item_counts()


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
    if isinstance(found, PosteriorSamples):
        return found
    # items first: with what is unobserved the users' equations hold all of them
    nonnegative = objective.nonnegative
    offset = mapped(as_offset(found), data, "columns", nonnegative=nonnegative)
    offset = fold_in(offset, objective, entries, "rows")
    return mapped(offset, data, "rows", nonnegative=nonnegative)


def _laid_out(offset: BiasedFactors, _: BiasedFactors) -> BiasedFactors:
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

    def taken(old: BiasedFactors, new: BiasedFactors) -> BiasedFactors:
        B = np.where(held_out[:, None], new.factors.B, old.factors.B)
        return old.with_rows(B, np.where(held_out, new.row_bias, old.row_bias))

    both = each_draw(model.approximation, taken, folded)
    answering = model.having(held.train, plainest(both, objective))
    return replace(fit, model=answering)


def warm_start(
    old: Model, data: Interactions, settings: Settings, objective: Observed
) -> BiasedFactors:
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
    return BiasedFactors(mean, row_bias, column_bias, Factors(B, A.T))
