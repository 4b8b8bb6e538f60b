"""`Model`: a fitted recommender with factors, ids, and the interactions it was fitted to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, cast, final

import numpy as np
import numpy.typing as npt

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.arrays import Array
from eckart.completion.entries import Entries
from eckart.completion.objective import Observed
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.recommend.columns import ColumnNames
from eckart.recommend.feedback import Feedback
from eckart.recommend.interactions import Interactions
from eckart.recommend.ranking import Scores, popularity
from eckart.recommend.vocabulary import Vocabulary

Approximation: TypeAlias = Factors | BiasedFactors | PosteriorSamples


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
        return as_offset(self.approximation)

    def entries(self) -> Entries:
        """The interactions as the entries of the objective."""
        return as_entries(self.data, self.objective)

    def scores(self, users: npt.NDArray[np.intp]) -> Scores:
        """The scores of all items for some users, float32, of shape (users, items)."""
        return self.offset.scores(users).astype(np.float32, copy=False)

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
        predicted[known] = self.approximation_at(rows[known], columns[known])
        if clip and self.scale is not None:
            np.clip(predicted, *self.scale, out=predicted)
        return predicted

    def approximation_at(self, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> Array:
        """Predict the value of each pair of known places."""
        return self.offset.predict(rows, columns)

    def popularity(self) -> npt.NDArray[np.float32]:
        """The popularity of each item: how many users interacted with it."""
        return popularity(self.data)

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

    def having(self, data: Interactions, approximation: Approximation) -> "Model":
        """This model with other interactions and factors."""
        return replace(self, data=data, approximation=approximation)


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


def as_offset(approximation: Approximation) -> BiasedFactors:
    """An approximation of any kind as mean, biases and factors."""
    if isinstance(approximation, BiasedFactors):
        return approximation
    if isinstance(approximation, PosteriorSamples):
        return approximation.offset
    rows, columns = approximation.shape
    dtype = approximation.dtype
    return BiasedFactors(0.0, np.zeros(rows, dtype), np.zeros(columns, dtype), approximation)


def each_draw(
    approximation: Approximation,
    function: Callable[[BiasedFactors, BiasedFactors], BiasedFactors],
    other: Approximation | None = None,
) -> BiasedFactors | PosteriorSamples:
    """Apply a function to an approximation, or to each draw of a posterior.

    Args:
        approximation: The approximation to change.
        function: A function of a draw and of its counterpart in `other`.
        other: An approximation with as many draws; None takes `approximation` itself.
    """
    second = approximation if other is None else other
    if isinstance(approximation, PosteriorSamples):
        pairs = zip(approximation.draws, cast("PosteriorSamples", second).draws, strict=True)
        return replace(approximation, draws=tuple(function(*pair) for pair in pairs))
    return function(as_offset(approximation), as_offset(second))


def plainest(approximation: BiasedFactors | PosteriorSamples, objective: Observed) -> Approximation:
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


def attributed(objective: Observed, data: Interactions) -> Observed:
    """An objective completed by the attributes of users and items."""
    users, items = data.user_attributes, data.item_attributes
    return replace(
        objective,
        row_attributes=None if users is None else users.matrix,
        column_attributes=None if items is None else items.matrix,
    )


MOST: Final = 1500
"""Items that the map shows, at most: the most popular ones, without those that have no users."""


def item_map(model: Model, names: dict[str, str] | None = None) -> dict[str, Any]:
    """Map the most popular items by the two leading principal components of their factors.

    Args:
        model: The fitted model.
        names: Titles by id.

    Returns:
        Lists of equal length: x, y, id, title, number of users, mean rating; and the share of the
        variance that the plane shows.
    """
    data = model.data
    counts = data.item_counts()
    places = np.argsort(-counts, kind="stable")[: min(MOST, np.count_nonzero(counts))]
    # balanced, so that the map does not depend on how the solver scaled the factors
    points = model.offset.factors.balance().A.T[places].astype(np.float64)
    points = points - points.mean(axis=0)
    U, S, _ = np.linalg.svd(points, full_matrices=False)
    # zeros for a model of rank 1
    plane = np.pad(U * S, ((0, 0), (0, 2)))[:, :2]
    # the signs of singular vectors are arbitrary: the most popular item gets positive coordinates
    plane = plane * np.where(plane[0] < 0, -1, 1)
    total = float(np.square(S).sum())
    means = np.zeros(len(counts))
    if data.ratings is not None:
        sums = np.bincount(data.columns, data.ratings, minlength=len(counts))
        means = sums / np.maximum(counts, 1)
    ids = data.items.listed(places)
    return {
        "x": plane[:, 0].tolist(),
        "y": plane[:, 1].tolist(),
        "ids": [str(one) for one in ids],
        "titles": [names.get(str(one), "") for one in ids] if names else None,
        "users": counts[places].tolist(),
        "means": means[places].tolist() if data.ratings is not None else None,
        "share": float(np.square(S[:2]).sum()) / total if total else 0.0,
    }
