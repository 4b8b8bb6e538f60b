"""From interactions to a model: one run of a solver, and the steps that complete its factors."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import scipy.linalg

from eckart.approximations import BiasedFactors, PosteriorSamples, as_biased
from eckart.arrays import FLOAT32, FLOAT64, Array, as_randomness
from eckart.completion.als import AlternatingLeastSquares, Cholesky, CoordinateBlocks
from eckart.completion.base import EntriesSolver
from eckart.completion.entries import Entries
from eckart.completion.fold_in import fold_in
from eckart.completion.gibbs import GibbsSampling
from eckart.completion.objective import Observed
from eckart.completion.run import START_LENGTH
from eckart.completion.sgd import StochasticGradient
from eckart.engine import Factorization, Interrupted
from eckart.errors import ArgumentError
from eckart.factorization import factorize
from eckart.factors import Factors
from eckart.recommend.chunked import Numbers
from eckart.recommend.evaluation import Split
from eckart.recommend.interactions import Interactions, Side
from eckart.recommend.model import (
    Approximation,
    Model,
    as_entries,
    each_draw,
    simplify,
    solved_anew,
    with_attributes,
)
from eckart.recommend.settings import Feedback, Settings
from eckart.solvers import Step
from eckart.threads import one_blas_thread

DRAWS_BYTES: Final = 2**30
"""Memory in bytes for all draws of a posterior that a model keeps."""
FEWEST_DRAWS: Final = 10
"""Draws that are kept at least, whatever memory they take."""
BURN_IN: Final = 50
"""Sweeps of the Gibbs sampler before the first draw that counts."""
ROWS: Final = {"als": None, "cholesky": Cholesky(), "blocks": CoordinateBlocks()}
"""How alternating least squares solves a row, by method; None lets the solver choose."""


def make_solver(settings: Settings, shape: tuple[int, int]) -> EntriesSolver:
    """The solver that the settings name.

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
        # bytes of one draw: float32 factors of both sides with a bias each
        draw = 4 * (settings.rank + 1) * sum(shape)
        keep = min(GibbsSampling().keep, max(FEWEST_DRAWS, DRAWS_BYTES // draw))
        return GibbsSampling(burn_in=BURN_IN, keep=keep, **samples)
    return AlternatingLeastSquares(by=ROWS[settings.method], **epochs)


DAMPING: Final = 2.0
"""Ridge of the regression on attributes, in users or items of average factors that are added to
those of each attribute."""


def _learn_mapping(offset: BiasedFactors, data: Interactions, side: Side) -> Array | None:
    """Learn Γ by ridge regression on all users or items with interactions and attributes.

    Returns:
        Γ, of shape (attributes + 1, rank + 1): the last row is the constant, the last column the
        bias; None if no user or item has both.

    Cost:
        One operation for each pair of attributes of each user or item, and width³/3 to solve.
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
    # one thread gives the same bits on any number of threads
    with one_blas_thread():
        # centred afterwards: subtracting the means from M would make every row full
        G = (M.T @ M).toarray() - len(both) * np.outer(means, means)
        right = M.T @ (X - average)
        G[np.diag_indices_from(G)] += DAMPING
        weights = scipy.linalg.solve(G, right, assume_a="pos")
        constant = average - means @ weights
    return np.vstack([weights, constant])


def map_cold(
    offset: BiasedFactors,
    data: Interactions,
    side: Side,
    objective: Observed,
    *,
    learned: tuple[BiasedFactors, Interactions] | None = None,
    places: Numbers | None = None,
) -> BiasedFactors:
    """Set the factors and biases of users or items with attributes but no interactions: [M 1]·Γ.

    The equations of the fit alone would treat such a user as one who was shown every item and chose
    none; and the factors that explain attributes best are not those that attributes predict best.
    Γ is learned from these factors and interactions, unless others are given; `places` are those
    that may be set, by default all.

    Reference:
        Gantner et al. (2010), ICDM: attribute-to-feature mappings for cold starts.
    """
    weights = _learn_mapping(*(learned or (offset, data)), side)
    attributes, counts = _of(data, side)
    if weights is None or attributes is None:
        return offset
    # those with interactions are solved by the equations of the fit
    cold = attributes.known & (counts == 0)
    here = np.flatnonzero(cold) if places is None else places[cold[places]]
    if not len(here):
        return offset
    found = (attributes.matrix[here] @ weights[:-1] + weights[-1]).astype(FLOAT32)
    factors = np.maximum(found[:, :-1], 0.0) if objective.nonnegative else found[:, :-1]
    return solved_anew(offset, side, here, factors, found[:, -1])


def _of(data: Interactions, side: Side) -> tuple[Any, npt.NDArray[np.int64]]:
    if side == "rows":
        return data.user_attributes, data.user_counts()
    return data.item_attributes, data.item_counts()


OnStep = Callable[[Step], None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A model and the run that made it.

    Fields:
        model: The fitted model.
        run: The run of the solver.
    """

    model: Model
    run: Factorization


def fit_model(
    data: Interactions,
    settings: Settings,
    *,
    start: Model | None = None,
    on_step: OnStep | None = None,
    keep_interrupted: bool = False,
    cluster: object = None,
) -> Fit:
    """Fit a model to all given interactions.

    Unless the solver draws from a posterior, all users are solved exactly once more at the end, so
    that a user who is added later gets the same factors, and explanations sum to scores.

    Cost:
        The cost of the solver and of one exact sweep over the users.
    """
    settings, _ = settings.adapt(data)
    explicit = data.ratings is not None
    plain = settings.objective(explicit=explicit)
    objective = with_attributes(plain, data)
    entries = as_entries(data, objective)
    begun = None if start is None else warm_start(start, data, settings, objective)
    try:
        run = factorize(
            entries,
            settings.rank,
            objective=objective,
            solver=make_solver(settings, data.shape),
            start=begun,
            seed=settings.seed,
            on_step=on_step,
            cluster=cluster,
        )
    except Interrupted as interrupted:
        if not keep_interrupted:
            raise
        run = interrupted.partial
    approximation = _complete(run.approximation, data, entries, objective, cluster)
    # predictions are clipped to what was seen if no scale was given
    scale = data.scale
    if scale is None and data.ratings is not None:
        scale = (float(data.ratings.min()), float(data.ratings.max()))
    return Fit(
        model=Model(
            data=replace(data, notes=()),
            approximation=simplify(each_draw(approximation, _in_file_order), plain),
            objective=plain,
            scale=scale if explicit else None,
            document={
                "settings": {**settings.to_dict(), "regularization": objective.strength},
                "feedback": asdict(Feedback(scale=data.scale)),
            },
        ),
        run=run,
    )


def _complete(
    found: Approximation,
    data: Interactions,
    entries: Entries,
    objective: Observed,
    cluster: object,
) -> Approximation:
    """The result of a solver, with users solved exactly and the factors of cold users and items."""
    # draws are samples as they are: a solution in place of one would not be
    if isinstance(found, PosteriorSamples):
        return found
    # items first: where unobserved entries count, the equations of a user hold all items
    offset = map_cold(as_biased(found), data, "columns", objective)
    offset = fold_in(offset, objective, entries, "rows", cluster=cluster)
    return map_cold(offset, data, "rows", objective)


def _in_file_order(offset: BiasedFactors, _: BiasedFactors) -> BiasedFactors:
    """The factors in the memory order that they have when read from a file.

    The last bits of products depend on that order, and a model must answer the same after reading.
    """
    B, A = (np.ascontiguousarray(factor) for factor in (offset.factors.B, offset.factors.A))
    return offset.with_rows(B, offset.row_bias).with_columns(A, offset.column_bias)


def fit_split(held: Split, settings: Settings, **arguments: Any) -> Fit:
    """Fit a model to the training part of a split, with held-out users folded in.

    The history of the model is the training part only: what is shown of held-out users stays in the
    split.
    """
    fit = fit_model(held.train, settings, **arguments)
    if held.shown is None:
        return fit
    shown, model = held.shown, fit.model
    # the attributes of the users that are shown, which the model's objective lacks
    objective = with_attributes(model.objective, shown)
    randomness = np.random.default_rng([settings.seed, len(shown)])
    folded = fold_in(
        model.approximation, objective, as_entries(shown, objective), "rows", seed=randomness
    )
    held_out = np.flatnonzero(shown.user_counts())

    def take(old: BiasedFactors, new: BiasedFactors) -> BiasedFactors:
        return solved_anew(old, "rows", held_out, new.factors.B[held_out], new.row_bias[held_out])

    both = each_draw(model.approximation, take, folded)
    answering = replace(model, data=held.train, approximation=simplify(both, objective))
    return replace(fit, model=answering)


def warm_start(
    old: Model, data: Interactions, settings: Settings, objective: Observed
) -> BiasedFactors:
    """The factors of an older model as a start, with small random ones for new users and items.

    If the rank is larger, the new components are random too; if smaller, the leading ones are kept.
    """
    offset = old.offset
    factors = offset.factors
    # the singular value decomposition of B·A tells which components lead
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
        first *= np.float32(START_LENGTH / np.sqrt(settings.rank))
        own = places >= 0
        # components beyond the older rank stay random
        first[own, : factors.rank] = factor[places[own]]
        own_bias = np.zeros(len(vocabulary), np.float32)
        own_bias[own] = bias[places[own]]
        sides.append((first, own_bias if objective.has_biases else np.zeros_like(own_bias)))
    (B, row_bias), (A, column_bias) = sides
    mean = objective.mean(as_entries(data, objective))
    return BiasedFactors(mean, row_bias, column_bias, Factors(B, A.T))
