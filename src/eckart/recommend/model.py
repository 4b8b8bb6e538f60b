"""`Model`: a fitted recommender with factors, ids, and the interactions it was fitted to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, cast, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.approximations import BiasedFactors, PosteriorSamples, Prior, as_biased
from eckart.arrays import Array
from eckart.completion.entries import Entries
from eckart.completion.objective import Observed
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.recommend.chunked import BLOCK, Floats, Numbers, blocks
from eckart.recommend.columns import ColumnNames
from eckart.recommend.interactions import Interactions, Side
from eckart.recommend.ranking import Scores
from eckart.recommend.settings import Feedback
from eckart.recommend.vocabulary import Vocabulary

Approximation: TypeAlias = Factors | BiasedFactors | PosteriorSamples
BESIDE: Final = ("row_bias", "column_bias", "extra_columns", "extra_rows")
"""The arrays of `BiasedFactors` beside the factors; the last two may be None."""
PRIORS: Final = ("row_prior", "column_prior")
DTYPES: Final = {
    "rows": np.int32,
    "columns": np.int32,
    "ratings": np.float32,
    "weights": np.float32,
    "times": np.int64,
}


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A fitted model, the argument of `top_items`, `similar_items`, `explain` and `predict_pairs`.

    Fields:
        data: The interactions that it knows; their ids are those of the rows and columns of W.
        approximation: The approximation of the users × items matrix W.
        objective: The objective of the fit, with all chosen settings but without the attributes,
            which are in `data`. The penalty plays no part in draws from a posterior.
        scale: The lowest and the highest rating; None without ratings.
        document: How the model was made: settings, seed, evaluation, versions.
    """

    data: Interactions
    approximation: Approximation
    objective: Observed
    scale: tuple[float, float] | None
    document: dict[str, Any]

    @property
    def explicit(self) -> bool:
        """Whether the model was fitted to ratings."""
        return self.data.ratings is not None

    @property
    def feedback(self) -> Feedback:
        """What the ratings of later tables stand for, as at the fit.

        It has a scale only if one was given, since one that was found in the ratings widens with
        later ones.
        """
        kept = Feedback.of_dict(self.document.get("feedback", {}))
        # a model of interactions reads no ratings later unless a threshold tells what they mean
        if not self.explicit and kept.at_least is None:
            kept = replace(kept, implicit=True)
        return kept

    @property
    def named(self) -> ColumnNames:
        """The columns that were named at the fit."""
        return ColumnNames.of(self.document.get("columns", {}))

    @property
    def offset(self) -> BiasedFactors:
        """Mean, biases and factors: the mean of a posterior, and zero biases for plain factors."""
        return as_biased(self.approximation)

    def scores(self, users: npt.NDArray[np.intp]) -> Scores:
        """The scores of all items for some users, float32, of shape (users, items)."""
        return self.offset.scores(users).astype(np.float32, copy=False)

    def vectors(self, side: str) -> Floats:
        """The vectors of "users" or "items", of shape (count, rank), one wider with biases."""
        offset = self.offset
        factor = offset.factors.B if side == "users" else offset.factors.A.T
        if not self.objective.has_biases:
            return np.ascontiguousarray(factor, np.float32)
        ones = np.ones(len(factor), np.float32)
        last = ones if side == "users" else offset.column_bias
        return np.concatenate([factor, last[:, None]], axis=1, dtype=np.float32)

    def predict(
        self, rows: npt.NDArray[Any], columns: npt.NDArray[Any], *, clip: bool = False
    ) -> Array:
        """Predict the value of each pair of places.

        For an unknown user (place −1) it is the mean plus the bias of the item, for an unknown item
        the mean plus the bias of the user.
        """
        known = (rows >= 0) & (columns >= 0)
        offset = self.offset
        predicted = np.full(len(rows), offset.mean, np.float64)
        # −1 would index the last user or item
        only_user, only_item = (rows >= 0) & ~known, (columns >= 0) & ~known
        predicted[only_user] += offset.row_bias[rows[only_user]]
        predicted[only_item] += offset.column_bias[columns[only_item]]
        predicted[known] = offset.predict(rows[known], columns[known])
        if clip and self.scale is not None:
            np.clip(predicted, *self.scale, out=predicted)
        return predicted

    def strangers(self) -> npt.NDArray[np.bool_]:
        """A mask of the users that have neither interactions nor attributes."""
        nothing = self.data.user_counts() == 0
        attributes = self.data.user_attributes
        return nothing if attributes is None else nothing & ~attributes.known

    def item(self, item: object) -> int:
        """The place of an item.

        Raises:
            MatrixError: If the item is unknown.
        """
        # users and items are easily exchanged: the message says if the id is one of a user
        exchanged = self.data.users.place(item) >= 0
        return _place(self.data.items, item, "item", ", but a user of that id" if exchanged else "")

    def user(self, user: object) -> int:
        """The place of a user.

        Raises:
            MatrixError: If the user is unknown.
        """
        return _place(self.data.users, user, "user")


def _place(vocabulary: Vocabulary, one: object, what: str, more: str = "") -> int:
    """The place of an id that must be known."""
    place = vocabulary.place(one)
    if place < 0:
        raise MatrixError(
            f"The model knows no {what} {one}{more}.",
            hint="Give one that it was fitted to, or add its interactions first.",
            code=f"unknown-{what}",
        )
    return place


def solved_anew(
    offset: BiasedFactors, side: Side, places: Numbers, factors: Array, bias: Array
) -> BiasedFactors:
    """The factors, of which those of some users ("rows") or items are replaced."""
    if side == "rows":
        B, own = offset.factors.B.astype(np.float32), offset.row_bias.copy()
        B[places], own[places] = factors, bias
        return offset.with_rows(B, own)
    A, own = offset.factors.A.astype(np.float32), offset.column_bias.copy()
    A[:, places], own[places] = factors.T, bias
    return offset.with_columns(A, own)


def each_draw(
    approximation: Approximation,
    function: Callable[[BiasedFactors, BiasedFactors], BiasedFactors],
    other: Approximation | None = None,
) -> BiasedFactors | PosteriorSamples:
    """Apply a function to an approximation, or to each draw of a posterior."""
    second = approximation if other is None else other
    if isinstance(approximation, PosteriorSamples):
        pairs = zip(approximation.draws, cast("PosteriorSamples", second).draws, strict=True)
        return replace(approximation, draws=tuple(function(*pair) for pair in pairs))
    return function(as_biased(approximation), as_biased(second))


def simplify(approximation: BiasedFactors | PosteriorSamples, objective: Observed) -> Approximation:
    """The plain factors, if the approximation has neither biases nor factors of attributes."""
    # with ratings there are biases, also if they happen to be zero
    if not isinstance(approximation, BiasedFactors) or objective.unobserved_weight == 0:
        return approximation
    more = approximation.extra_columns is not None or approximation.extra_rows is not None
    return approximation if more else approximation.factors


def as_entries(data: Interactions, objective: Observed) -> Entries:
    """Interactions as entries of the objective, which share memory with them where possible.

    The values are ratings; without ratings they are ones, and zeros for dislikes, and count by
    their weights.
    """
    values, weights = data.ratings, data.weights
    if values is None and weights is not None:
        if weights.min(initial=0) < 0:
            values, weights = data.liked.astype(np.float32), np.abs(weights)
        elif objective.unobserved_weight > 0:
            values, weights = weights, None  # the values say how much an entry counts there
    if values is None:
        values = np.ones(len(data), np.float32)
    return Entries.of_rows(data.user_counts(), data.columns, values, weights, data.shape)


def with_attributes(objective: Observed, data: Interactions) -> Observed:
    """An objective completed by the attributes of users and items."""
    users, items = data.user_attributes, data.item_attributes
    return replace(
        objective,
        row_attributes=None if users is None else users.matrix,
        column_attributes=None if items is None else items.matrix,
    )


def check_sound(model: Model) -> None:
    """Refuse a model whose parts do not fit together.

    Raises:
        ValueError: If parts do not fit together, or a number is not finite.
        Exception: KeyError, TypeError or AttributeError, if its settings are not as they were
            written.

    Cost:
        A pass over the interactions, a block at a time.
    """
    data = model.data
    for ids in (data.users.ids, data.items.ids):
        # the two types that `Vocabulary` keeps
        known = pa.types.is_int64(ids.type) or pa.types.is_string(ids.type)
        if not known or ids.null_count or len(ids.unique()) != len(ids):
            raise ValueError("some of its ids are missing, occur twice, or are of another type")
    for name, dtype in DTYPES.items():
        values = getattr(data, name)
        if values is not None and (values.dtype != dtype or values.shape != data.rows.shape):
            raise ValueError(f"its {name} are not as they were written")
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"some of its {name} are no numbers")
    _check_places(data)
    _check_finite(model.approximation)
    if model.approximation.shape != data.shape:
        raise ValueError("the factors do not fit the ids")
    if model.scale is not None and not -np.inf < model.scale[0] <= model.scale[1] < np.inf:
        raise ValueError(f"its ratings are from {model.scale[0]} to {model.scale[1]}")
    # both are read from the document lazily, so a damaged one would fail only at its first use
    _ = model.feedback, model.named


def _check_places(data: Interactions) -> None:
    """Refuse entries that lie outside the matrix, or are not sorted with each pair once."""
    # in blocks, since keys in int64 take more memory than the pairs
    for here in blocks(len(data.rows), BLOCK):
        # one entry more than the block, so that the order across blocks is checked too
        row, column = (places[here.start : here.stop + 1].astype(np.int64)
                       for places in (data.rows, data.columns))  # fmt: skip
        inside = all(
            ((places >= 0) & (places < count)).all()
            for places, count in zip((row, column), data.shape, strict=True)
        )
        if not inside or (np.diff(row * data.shape[1] + column) <= 0).any():
            raise ValueError("its interactions lie outside, or are not in order")


def _check_finite(approximation: Approximation) -> None:
    """Refuse numbers beside the factors that are not finite, or that do not fit the factors."""
    if isinstance(approximation, Factors):
        return  # `Factors` checks itself that it is finite
    draws = approximation.draws if isinstance(approximation, PosteriorSamples) else (approximation,)
    if len({(draw.shape, draw.rank) for draw in draws}) != 1:
        raise ValueError("its draws are not of one shape")
    beside: list[Array | float] = []
    for draw in draws:
        beside += [draw.mean, draw.row_bias, draw.column_bias]
        beside += [extra for extra in (draw.extra_columns, draw.extra_rows) if extra is not None]
        ranks = [] if draw.extra_columns is None else [draw.extra_columns.shape[:1]]
        ranks += [] if draw.extra_rows is None else [draw.extra_rows.shape[1:]]
        if any(rank != (draw.rank,) for rank in ranks):
            raise ValueError("what attributes add does not fit the factors")
    if isinstance(approximation, PosteriorSamples):
        beside += [approximation.noise, *_priors(approximation)]
    if not all(np.isfinite(np.asarray(one)).all() for one in beside):
        raise ValueError("some of its factors are no numbers")


def _priors(samples: PosteriorSamples) -> Iterator[Array]:
    """The numbers of the priors, after a check that they fit the factors, with or without bias."""
    for prior in (one for pair in samples.priors for one in pair):
        width = prior.mean.size
        fits = prior.mean.shape == (width,) and prior.precision.shape == (width, width)
        if not fits or not samples.rank <= width <= samples.rank + 1:
            raise ValueError("its priors do not fit the factors")
        yield from (prior.mean, prior.precision)


def pack(approximation: Approximation) -> tuple[dict[str, Any], dict[str, Array]]:
    """An approximation as a description in plain values, and its arrays by name."""
    if isinstance(approximation, PosteriorSamples):
        arrays: dict[str, Array] = {}
        pairs = zip(approximation.draws, approximation.priors, strict=True)
        for place, (draw, priors) in enumerate(pairs):
            # safetensors is flat: each draw has a prefix of its number
            arrays |= {f"{place}.{name}": array for name, array in pack(draw)[1].items()}
            for side, prior in zip(PRIORS, priors, strict=True):
                arrays[f"{place}.{side}.mean"] = prior.mean
                arrays[f"{place}.{side}.precision"] = prior.precision
        described = {
            "kind": "samples",
            "draws": len(approximation.draws),
            "means": [draw.mean for draw in approximation.draws],
            "noise": approximation.noise,
        }
        return described, arrays
    if isinstance(approximation, Factors):
        return {"kind": "factors"}, {"B": approximation.B, "A": approximation.A}
    arrays = {"B": approximation.factors.B, "A": approximation.factors.A}
    beside = {name: getattr(approximation, name) for name in BESIDE}
    arrays |= {name: array for name, array in beside.items() if array is not None}
    return {"kind": "offset", "mean": approximation.mean}, arrays


def unpack(described: dict[str, Any], arrays: dict[str, Array]) -> Approximation:
    """The approximation that `pack` described."""
    if described["kind"] == "factors":
        return Factors(arrays["B"], arrays["A"])
    if described["kind"] == "offset":
        return BiasedFactors(
            float(described["mean"]),
            arrays["row_bias"],
            arrays["column_bias"],
            Factors(np.asarray(arrays["B"]), np.asarray(arrays["A"])),
            arrays.get("extra_columns"),
            arrays.get("extra_rows"),
        )
    draws: list[BiasedFactors] = []
    priors: list[tuple[Prior, Prior]] = []
    for place in range(int(described["draws"])):
        prefix = f"{place}."
        own = {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        draw = unpack({"kind": "offset", "mean": described["means"][place]}, own)
        draws.append(cast("BiasedFactors", draw))
        rows, columns = (
            Prior(mean=own[f"{side}.mean"], precision=own[f"{side}.precision"]) for side in PRIORS
        )
        priors.append((rows, columns))
    return PosteriorSamples(
        draws=tuple(draws), noise=float(described["noise"]), priors=tuple(priors)
    )
