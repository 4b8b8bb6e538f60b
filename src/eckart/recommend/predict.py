"""Predictions for pairs of users and items, and their error where the ratings are known."""

from dataclasses import dataclass
from os import PathLike
from typing import Any, final

import numpy as np
import pyarrow as pa

from eckart.approximations import PosteriorSamples
from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.recommend.answers import Names
from eckart.recommend.columns import ColumnNames
from eckart.recommend.evaluation import Figure, rating_figures
from eckart.recommend.ids import column_of
from eckart.recommend.merging import placed_pairs
from eckart.recommend.model import Model
from eckart.recommend.reading import numbers_of, read_table


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

    users: Any
    items: Any
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

    def _line(self, place: int) -> dict[str, Any]:
        line: dict[str, Any] = {
            "user": self.users[place].as_py(),
            "item": self.items[place].as_py(),
            "predicted": float(self.predicted[place]),
        }
        if self.titles is not None:
            line["title"] = self.titles[place]
        if self.deviation is not None:
            deviation = float(self.deviation[place])
            # JSON has no NaN
            line["deviation"] = deviation if np.isfinite(deviation) else None
        return line

    def to_dict(self, most: int = 1000) -> dict[str, Any]:
        """The counts and figures, and the first predictions, as plain values."""
        return {
            "pairs": len(self.predicted),
            "unknown_users": self.unknown_users,
            "unknown_items": self.unknown_items,
            "rmse": None if self.rmse is None else self.rmse.value,
            "mae": None if self.mae is None else self.mae.value,
            "rmse_error": None if self.rmse is None else self.rmse.error,
            "mae_error": None if self.mae is None else self.mae.error,
            "predictions": [self._line(place) for place in range(min(most, len(self.predicted)))],
            "notes": list(self.notes),
        }


def predict_pairs(
    model: Model,
    pairs: str | PathLike[str] | Any,
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
    rows, columns, said = placed_pairs(table, data.users, data.items)
    predicted = model.predict(rows, columns, clip=clip)
    actual = numbers_of(table, "rating")
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
    users, items = (column_of(table.columns[role])[0] for role in ("user", "item"))
    titles = None
    if names is not None:
        # as the model spells ids, which is how titles are found
        ids = data.items.alike(_plain(items)).to_pylist()
        titles = tuple(names.get(str(one), "") for one in ids)
    return Prediction(
        users=users,
        items=items,
        titles=titles,
        predicted=predicted,
        deviation=_deviation(model, rows, columns),
        actual=actual,
        unknown_users=int((rows < 0).sum()),
        unknown_items=int((columns < 0).sum()),
        rmse=figures.get("rmse"),
        mae=figures.get("mae"),
        notes=(*table.notes, *said),
    )


def _plain(column: Any) -> Any:
    """A column as one Arrow array without a dictionary."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _deviation(model: Model, rows: Any, columns: Any) -> Array | None:
    """The standard deviation of each prediction, NaN if the user or item is unknown."""
    if not isinstance(model.approximation, PosteriorSamples):
        return None
    known = (rows >= 0) & (columns >= 0)
    deviation = np.full(len(rows), np.nan)
    deviation[known] = model.approximation.deviation(rows[known], columns[known])
    return deviation
