"""The scores of given pairs: predictions, their error, and what each item of a history adds."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.approximations import PosteriorSamples
from eckart.arrays import Array
from eckart.errors import ArgumentError, MatrixError
from eckart.recommend.chunked import Numbers, TableLike, as_document, one_array
from eckart.recommend.columns import ColumnNames, Names
from eckart.recommend.ids import column_of
from eckart.recommend.interaction_tables import place_pairs
from eckart.recommend.model import Model
from eckart.recommend.ranking import Figure, rating_figures
from eckart.recommend.reading import as_numbers, read_table
from eckart.recommend.vocabulary import Id


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """The result of `predict_pairs`.

    Fields:
        users, items: The ids as they were given, as Arrow columns.
        predicted: The predicted value of each pair.
        deviation: The standard deviation of each prediction, NaN if the user or item is unknown;
            None unless the model is Bayesian.
        actual: The actual ratings; None if the table has no column of them.
        unknown_users, unknown_items: Number of pairs with an unknown user or item.
        titles: Titles of the items; None where no names were given.
        rmse, mae: Errors of the predictions; None without actual ratings.
        notes: What the user should know.
    """

    users: TableLike
    items: TableLike
    predicted: Array
    deviation: Array | None
    actual: Array | None
    unknown_users: int
    unknown_items: int
    titles: tuple[str, ...] | None
    rmse: Figure | None
    mae: Figure | None
    notes: tuple[str, ...]

    def columns(self) -> dict[str, Any]:
        """All predictions as the columns of a table."""
        table = {"user": self.users, "item": self.items, "predicted": self.predicted}
        if self.deviation is not None:
            # null, not NaN, for unknown pairs: CSV and JSON know no NaN
            table["deviation"] = pa.array(self.deviation, mask=np.isnan(self.deviation))
        if self.actual is not None:
            table["rating"] = self.actual
        if self.titles is not None:
            table["title"] = list(self.titles)
        return table

    def to_dict(self, most: int = 1000) -> dict[str, Any]:
        """The counts and figures, and the first predictions, as plain values."""
        columns = {name: values[:most] for name, values in self.columns().items()}
        columns.pop("rating", None)
        return {
            "pairs": len(self.predicted),
            "unknown_users": self.unknown_users,
            "unknown_items": self.unknown_items,
            "rmse": None if self.rmse is None else self.rmse.value,
            "mae": None if self.mae is None else self.mae.value,
            "rmse_error": None if self.rmse is None else self.rmse.error,
            "mae_error": None if self.mae is None else self.mae.error,
            "predictions": pa.table(columns).to_pylist(),
            "notes": list(self.notes),
        }


def predict_pairs(
    model: Model,
    pairs: TableLike,
    named: ColumnNames | None = None,
    *,
    clip: bool = False,
    names: Names | None = None,
) -> Prediction:
    """Predict the value of each pair of a table.

    For an unknown user it is the mean plus the bias of the item, for an unknown item the mean plus
    the bias of the user, and the mean if both are unknown.

    Args:
        model: The fitted model.
        pairs: A path or a table with columns of users and items, and optionally of ratings.
        named: Names of columns with unusual names; by default those of the fit.
        clip: Whether predictions are kept within the scale of the ratings.
        names: Titles by id.

    Raises:
        ArgumentError: If there is no such file, or its suffix is unknown.
        FormatError: If the file is damaged.
        MatrixError: If a column is missing, a rating is not finite, or users and items are
            exchanged.
    """
    table = read_table(pairs, (named or ColumnNames()).like(model.named))
    data = model.data
    (held,) = table.blocks
    rows, columns, said = place_pairs(held, table.source, data.users, data.items)
    predicted = model.predict(rows, columns, clip=clip)
    rated = held.get("rating")
    actual = None if rated is None else as_numbers(rated, "rating", table.source)
    # one missing rating would make RMSE and MAE NaN
    if actual is not None and not np.isfinite(actual).all():
        row = int(np.argmin(np.isfinite(actual))) + 1
        raise MatrixError(
            f"Row {row} of {table.source} has no rating that is a finite number.",
            hint="Correct or leave out such rows; they are counted from 1, without the header.",
            code="bad-rating",
        )
    figures: dict[str, Figure] = {}
    if actual is not None and len(actual):
        figures = rating_figures(predicted, actual, rows)
    deviation = None
    if isinstance(model.approximation, PosteriorSamples):
        known = (rows >= 0) & (columns >= 0)
        deviation = np.full(len(rows), np.nan)
        deviation[known] = model.approximation.deviation(rows[known], columns[known])
    users, items = (column_of(held[role])[0] for role in ("user", "item"))
    titles = None
    if names is not None:
        # as the model spells ids, which is how titles are found
        ids = data.items.convert(one_array(items)).to_pylist()
        titles = tuple(names.get(str(one), "") for one in ids)
    return Prediction(
        users=users,
        items=items,
        titles=titles,
        predicted=predicted,
        deviation=deviation,
        actual=actual,
        unknown_users=int((rows < 0).sum()),
        unknown_items=int((columns < 0).sum()),
        rmse=figures.get("rmse"),
        mae=figures.get("mae"),
        notes=(*table.notes, *said),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What one item of a user's history adds to a score.

    Fields:
        item: Id of the item of the history.
        adds: What it adds to the score; negative if it lowers it.
        rating: The rating that the user gave it; None without ratings.
        title: Title of the item; None where no names were given.
    """

    item: Id
    adds: float
    rating: float | None
    title: str | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The result of `explain`: score = base + attributes + the sum of what the items add.

    Fields:
        user, item: Ids of the user and of the item.
        score: Score of the item for the user.
        base: The part of the score that is the same for all users: the mean and the bias of the
            item; 0 for interactions.
        attributes: What the attributes of the user add; None if the model has none of users.
        reasons: The items of the history, the one that adds most first.
        fitted: The score by the model's own factors; it differs if the solver had not converged.
        title: Title of the item; None where no names were given.
    """

    user: Id
    item: Id
    title: str | None
    score: float
    base: float
    attributes: float | None
    fitted: float
    reasons: tuple[Reason, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        own = as_document(self, ("title", "attributes"))
        return {**own, "reasons": [as_document(reason) for reason in self.reasons]}


def explain(model: Model, user: object, item: object, *, names: Names | None = None) -> Explanation:
    """Split the score of an item for a user into what each item of the user's history adds.

    The factors of a user solve M·x = Σ w_i·t_i·z_i over the items i of their history, where t_i is
    the rating less its expected value (or 1) and z_i are the factors of the item with a one for
    the bias of the user. So the score of item j is base + Σ w_i·t_i·(z_jᵀ·M⁻¹·z_i), one term for
    each item; attributes of the user add terms of the same form.

    Args:
        model: The fitted model.
        user: Id of the user.
        item: Id of the item.
        names: Titles by id.

    Raises:
        ArgumentError: If the model is Bayesian or its factors are nonnegative, since these
            equations do not hold then.
        MatrixError: If the user or item is unknown, or nothing is known of the user.

    Cost:
        One system of rank × rank, and the history of the user.

    Reference:
        Hu, Koren, Volinsky (2008), section 5.
    """
    # the mean of draws solves no equations, and bounds make the solution no sum over the items
    if isinstance(model.approximation, PosteriorSamples) or model.objective.nonnegative:
        raise ArgumentError(
            "The answers of this model are no sum over a user's items.",
            hint="Fit one of another `method`, without `nonnegative`, to have explanations.",
            code="not-explainable",
        )
    row, column = model.user(user), model.item(item)
    starts = model.data.starts()
    history = slice(int(starts[row]), int(starts[row + 1]))
    if model.strangers()[row]:
        raise MatrixError(
            f"Nothing is known of user {user}, so nothing speaks for an item.",
            hint="Add interactions of the user first.",
            code="no-history",
        )
    base, adds, by_attributes = _split_score(model, row, column, history)
    places = model.data.columns[history]
    ratings = model.data.ratings
    order = np.argsort(-adds, kind="stable")
    reasons = tuple(
        Reason(
            item=one,
            adds=float(adds[place]),
            rating=None if ratings is None else float(ratings[history][place]),
            title=None if names is None else names.get(str(one), ""),
        )
        for one, place in zip(model.data.items.to_list(places[order]), order, strict=True)
    )
    own = model.data.items.at(column)
    return Explanation(
        user=model.data.users.at(row),
        item=own,
        score=base + float(adds.sum()) + (by_attributes or 0.0),
        base=base,
        attributes=by_attributes,
        reasons=reasons,
        fitted=float(model.predict(np.array([row]), np.array([column]))[0]),
        title=None if names is None else names.get(str(own), ""),
    )


def _split_score(
    model: Model, row: int, column: int, history: slice
) -> tuple[float, npt.NDArray[np.float64], float | None]:
    """The part of a score that is the same for all, and what items and attributes add to it."""
    offset, objective, data = model.offset, model.objective, model.data
    places = data.columns[history]
    D = offset.factors.A.T[np.append(places, column)].astype(np.float64)
    if objective.has_biases:
        # a one for the bias of the user, which is solved for together with the factors
        D = np.concatenate([D, np.ones((len(D), 1))], axis=1)
    weights = np.ones(len(places))
    if data.weights is not None:
        # the sign of a weight marks a dislike, whose target is 0
        weights = np.abs(data.weights[history], dtype=np.float64)
    targets = data.liked[history].astype(np.float64)
    if data.ratings is not None:
        expected = offset.mean + offset.column_bias[places]
        targets = data.ratings[history].astype(np.float64) - expected
    attributes, C = data.user_attributes, None
    count = len(places) + objective.unobserved_weight * len(data.items)
    if attributes is not None and offset.extra_columns is not None:
        count += objective.attribute_weight * attributes.width
        # attributes come last, behind the pattern if there is one
        C = offset.extra_columns.T[-attributes.width :].astype(np.float64)
    M, linear = _shared_equations(model, places, C)
    # as in the fit, or the terms would not sum to the fitted score
    ridge = objective.strength * max(count, 1.0) ** objective.count_exponent
    own = D[:-1]
    M = M + (own * weights[:, None]).T @ own + ridge * np.eye(D.shape[1])
    direction = np.linalg.solve(M, D[-1])
    adds = (own @ direction) * weights * targets + linear @ direction
    base = float(offset.mean + offset.column_bias[column])
    if attributes is None or C is None:
        return base, adds, None
    # factors of a user without interactions come from the regression on attributes
    if not len(places):
        fitted = model.predict(np.array([row]), np.array([column]))
        return base, adds, float(fitted[0]) - base
    has = attributes.matrix[[row]].toarray()[0]
    by_attributes = objective.attribute_weight * (has @ C) @ direction[: C.shape[1]]
    return base, adds, float(by_attributes)


def _shared_equations(
    model: Model, places: Numbers, attributes: Array | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The system matrix without the ratings, and what each item adds to the right side.

    `attributes` holds the factors of the attributes of users, of shape (attributes, rank).
    """
    A, objective = model.offset.factors.A.astype(np.float64), model.objective
    width = len(A) + objective.has_biases
    M, linear = np.zeros((width, width)), np.zeros((len(places), width))
    if objective.unobserved_weight > 0:
        M[: len(A), : len(A)] = objective.unobserved_weight * (A @ A.T)
    extra = model.offset.extra_columns
    if extra is not None and objective.implicit_features > 0:
        # the pattern comes first among the further columns, then the attributes
        C = extra.T[: len(model.data.items)].astype(np.float64)
        M[: len(A), : len(A)] += objective.implicit_features * (C.T @ C)
        linear[:, : len(A)] = objective.implicit_features * C[places]
    if attributes is not None:
        M[: len(A), : len(A)] += objective.attribute_weight * (attributes.T @ attributes)
    return M, linear
