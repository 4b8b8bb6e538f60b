"""A fitted recommender: factors, ids, and the interactions that it was fitted to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.jobs.recommend.baselines import popularity
from eckart.jobs.recommend.columns import ColumnNames
from eckart.jobs.recommend.feedback import Feedback
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.ranking import Scores
from eckart.jobs.recommend.vocabulary import Vocabulary
from eckart.matrices import Entries
from eckart.objectives import Observed
from eckart.offset import Offset
from eckart.samples import Samples

Approximation: TypeAlias = Factors | Offset | Samples


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """What answers: `top_items`, `similar_items`, `explain`, `predict_pairs` take it.

    Fields:
        data: The interactions that it knows; rows and columns of the factors are its ids.
        approximation: Of the users × items matrix.
        objective: That was minimised, with every setting chosen, without the attributes, which are
            those of `data`; of draws from a posterior the penalty plays no part.
        scale: The lowest and the highest rating; None without ratings.
        document: How it was made: settings, seed, evaluation, versions.
    """

    data: Interactions
    approximation: Approximation
    objective: Observed
    scale: tuple[float, float] | None
    document: dict[str, Any]

    @property
    def explicit(self) -> bool:
        """Whether it was fitted to ratings."""
        return self.data.ratings is not None

    @property
    def feedback(self) -> Feedback:
        """What the numbers of later tables stand for: the same as at the fit.

        It has the scale only if it was given: one that was found in the ratings widens with them.
        """
        kept = Feedback.of_dict(self.document.get("feedback", {}))
        if not self.explicit and kept.at_least is None:
            kept = replace(kept, implicit=True)
        return kept

    @property
    def named(self) -> ColumnNames:
        """The columns that were named at the fit."""
        return ColumnNames.of(self.document.get("columns", {}))

    @property
    def offset(self) -> Offset:
        """Mean, biases and factors: of a posterior its mean, without biases zeros."""
        return as_offset(self.approximation)

    def entries(self) -> Entries:
        """The interactions as the objective wants them."""
        return as_entries(self.data, self.objective)

    def scores(self, users: npt.NDArray[np.intp]) -> Scores:
        """Scores of all items for some users: (users, items), float32."""
        return self.offset.scores(users).astype(np.float32, copy=False)

    def predict(
        self, rows: npt.NDArray[Any], columns: npt.NDArray[Any], *, clip: bool = False
    ) -> Array:
        """The value of each pair of places.

        Of an unknown user (place −1) it is the mean and what the item adds to it, of an unknown
        item the mean and what the user adds.
        """
        known = (rows >= 0) & (columns >= 0)
        offset = self.offset
        predicted = np.full(len(rows), offset.mean, np.float64)
        only_user, only_item = (rows >= 0) & ~known, (columns >= 0) & ~known
        predicted[only_user] += offset.row_bias[rows[only_user]]
        predicted[only_item] += offset.column_bias[columns[only_item]]
        predicted[known] = self.approximation_at(rows[known], columns[known])
        if clip and self.scale is not None:
            np.clip(predicted, *self.scale, out=predicted)
        return predicted

    def approximation_at(self, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> Array:
        """The value of each pair of known places."""
        return self.offset.predict(rows, columns)

    def popularity(self) -> npt.NDArray[np.float32]:
        """A score of each item by how many users dealt with it."""
        return popularity(self.data)

    def strangers(self) -> npt.NDArray[np.bool_]:
        """Of which users nothing is known, neither interactions nor attributes."""
        nothing = self.data.user_counts() == 0
        attributes = self.data.user_attributes
        return nothing if attributes is None else nothing & ~attributes.known

    def item(self, item: object) -> int:
        """The place of an item.

        Raises:
            MatrixError: If it is unknown.
        """
        exchanged = self.data.users.place(item) >= 0
        return _place(self.data.items, item, "item", ", but a user of that id" if exchanged else "")

    def user(self, user: object) -> int:
        """The place of a user.

        Raises:
            MatrixError: If it is unknown.
        """
        return _place(self.data.users, user, "user")

    def having(self, data: Interactions, approximation: Approximation) -> "Model":
        """The same model of other interactions."""
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


def as_offset(approximation: Approximation) -> Offset:
    """Any approximation as mean, biases and factors."""
    if isinstance(approximation, Offset):
        return approximation
    if isinstance(approximation, Samples):
        return approximation.offset
    rows, columns = approximation.shape
    dtype = approximation.dtype
    return Offset(0.0, np.zeros(rows, dtype), np.zeros(columns, dtype), approximation)


def each_draw(
    approximation: Approximation,
    function: Callable[[Offset, Offset], Offset],
    other: Approximation | None = None,
) -> Offset | Samples:
    """What a function gives for an approximation, or for each draw of one.

    Args:
        approximation: That is changed.
        function: Of a draw and its counterpart.
        other: An approximation with as many draws; None takes the first one itself.
    """
    second = approximation if other is None else other
    if isinstance(approximation, Samples):
        pairs = zip(approximation.draws, cast("Samples", second).draws, strict=True)
        return replace(approximation, draws=tuple(function(*pair) for pair in pairs))
    return function(as_offset(approximation), as_offset(second))


def plainest(approximation: Offset | Samples, objective: Observed) -> Approximation:
    """Factors alone, where there are neither biases nor factors of attributes."""
    if not isinstance(approximation, Offset) or objective.unobserved_weight == 0:
        return approximation
    more = approximation.extra_columns is not None or approximation.extra_rows is not None
    return approximation if more else approximation.factors


def as_entries(data: Interactions, objective: Observed) -> Entries:
    """Interactions as entries, which share their memory where they can.

    The values are ratings, or ones, of dislikes zeros, that count by their weights.
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
    """An objective with the attributes of some users and items."""
    users, items = data.user_attributes, data.item_attributes
    return replace(
        objective,
        row_attributes=None if users is None else users.matrix,
        column_attributes=None if items is None else items.matrix,
    )
