"""Fold-in: adding interactions, users and items to a model, and removing users, without a fit."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.arrays import Randomness
from eckart.completion.fold_in import fold_in
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.recommend.attribute_tables import AttributeTables, attach
from eckart.recommend.chunked import Numbers, TableLike
from eckart.recommend.columns import ColumnNames
from eckart.recommend.fitting import map_cold
from eckart.recommend.interaction_tables import check_numbered, interactions_of, place_pairs
from eckart.recommend.interactions import Interactions, Side, align, align_new, merge, restrict
from eckart.recommend.model import (
    Model,
    as_entries,
    each_draw,
    simplify,
    solved_anew,
    with_attributes,
)
from eckart.recommend.reading import read_table, table_of_matrix


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """The result of `add_interactions`.

    Fields:
        model: The model with what was added.
        interactions: Number of interactions that were added.
        new_users, new_items: Number of ids that the model did not know.
        changed_users: Number of known users with new interactions, who were solved again.
        notes: What the user should know.
    """

    model: Model
    interactions: int
    new_users: int
    new_items: int
    changed_users: int
    notes: tuple[str, ...]

    def sentence(self) -> str:
        """What was done, in a sentence."""
        return (
            f"Added {self.interactions:,} interactions: {self.new_users:,} new users, "
            f"{self.new_items:,} new items, {self.changed_users:,} known users solved anew."
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return {
            "interactions": self.interactions,
            "new_users": self.new_users,
            "new_items": self.new_items,
            "changed_users": self.changed_users,
            "users": len(self.model.data.users),
            "items": len(self.model.data.items),
            "notes": list(self.notes),
        }


def add_interactions(
    model: Model,
    data: TableLike,
    named: ColumnNames | None = None,
    *,
    attributes: AttributeTables | None = None,
    user_ids: Any = None,
    item_ids: Any = None,
) -> Addition:
    """Add new interactions, users and items to a model by the equations of its fit.

    Users with new interactions or attributes are solved exactly from all that is known of them, old
    and new; then new items from their interactions and attributes; then the users of these items
    once more. The factors of known items change only in a new fit.

    Args:
        model: The fitted model.
        data: A path, a table, a SciPy sparse matrix of users × items, or `Interactions`; None adds
            attributes only.
        named: Names of columns with unusual names; by default those of the fit.
        attributes: Tables of new users and items, or of known ones whose attributes they replace;
            with the columns of the fit.
        user_ids: Ids of the rows of a sparse matrix; by default their numbers.
        item_ids: Ids of its columns; by default their numbers.

    Raises:
        ArgumentError: If there is no such file.
        FormatError: If the file is damaged.
        MatrixError: If a rating is NaN or off the scale, users and items are exchanged, or the
            model was fitted without attributes.

    Cost:
        rank² operations for each interaction of the users and items concerned.
    """
    named = (named or ColumnNames()).like(model.named)
    new, notes = _read(model, data, named, (user_ids, item_ids))
    together = merge(model.data, new, notes, judged=model.feedback.judges)
    users = np.unique(new.rows)
    if attributes is not None:
        together, rows, said = attach(together, attributes, named, later=True)
        notes += said
        users = np.union1d(users, rows.get("user", users))
    known = model.data.shape
    scale = _widen_scale(model, together)
    if model.scale != scale and model.scale is not None and scale is not None:
        notes.append("The scale of the ratings was {:g} to {:g} and is now {:g} to {:g}."
                     .format(*model.scale, *scale))  # fmt: skip
    after = replace(
        model,
        data=replace(together, notes=()),
        approximation=simplify(_solve(model, together, users), model.objective),
        scale=scale,
    )
    return Addition(
        model=after,
        interactions=len(new) if new.weights is None else int(np.count_nonzero(new.weights)),
        new_users=together.shape[0] - known[0],
        new_items=together.shape[1] - known[1],
        changed_users=int((users < known[0]).sum()),
        notes=(*new.notes, *notes),
    )


def remove_user(model: Model, user: object) -> Model:
    """Remove a user from a model: their id, factors and history.

    The factors of the items stay as the fit with this user left them; only a new fit changes that.

    Args:
        model: The fitted model.
        user: Id of the user.

    Raises:
        MatrixError: If the user is unknown, or the only one.
    """
    place = model.user(user)
    if len(model.data.users) == 1:
        raise ArgumentError(
            f"User {user} is the only one of the model.",
            hint="Delete the model instead.",
            code="last-user",
        )
    # with implicit features every user has a row in the factors of the pattern too
    pattern = model.objective.implicit_features > 0
    left = each_draw(
        model.approximation, lambda draw, _: _without_row(draw, place, pattern=pattern)
    )
    return replace(
        model,
        data=restrict(model.data, "rows", np.delete(np.arange(model.data.shape[0]), place)),
        approximation=simplify(left, model.objective),
    )


def _read(
    model: Model, data: TableLike, named: ColumnNames, ids: tuple[Any, Any]
) -> tuple[Interactions, list[str]]:
    """Read new interactions, over ids that begin with those of the model."""
    users, items = model.data.users, model.data.items
    if data is None:
        # no entries over the ids of the model, so that only the attributes are new
        return replace(model.data.select(np.zeros(0, np.intp)), notes=()), []
    if isinstance(data, Interactions):
        return align(data, users, items), []
    if hasattr(data, "tocoo"):
        check_numbered(model.data, ids)
        rated = model.explicit or model.feedback.needs_ratings
        table = table_of_matrix(data, *ids, "rating" if rated else "weight")
    else:
        table = read_table(data, named)
    (columns,) = table.blocks
    *_, said = place_pairs(columns, table.source, users, items)
    table = replace(table, blocks=iter([columns]))
    read = interactions_of(table, model.feedback, later=True)
    return align_new(read, users, items), said


def _widen_scale(model: Model, data: Interactions) -> tuple[float, float] | None:
    """The scale of the ratings, old and later; one that was given does not widen."""
    if model.scale is None or data.ratings is None or model.feedback.scale is not None:
        return model.scale
    low, high = model.scale
    return min(low, float(data.ratings.min())), max(high, float(data.ratings.max()))


def _solve(model: Model, data: Interactions, users: Numbers) -> BiasedFactors | PosteriorSamples:
    """Solve some users and all new items of a model from what is now known of them."""
    pattern = model.objective.implicit_features > 0
    fitted = each_draw(
        model.approximation, lambda draw, _: _widen(draw, data.shape, pattern=pattern)
    )
    # one generator for all steps, seeded anew for each addition: draws have to be independent
    randomness = np.random.default_rng([len(data), len(model.data), *data.shape])
    fitted = _solve_side(model, fitted, data, "rows", users, randomness)
    known_items = model.data.shape[1]
    fresh = np.arange(known_items, data.shape[1])
    if len(fresh):
        fitted = _solve_side(model, fitted, data, "columns", fresh, randomness)
        # the first solution of these users knew the new items with factors of zero only
        of_fresh = np.unique(data.rows[data.columns >= known_items])
        fitted = _solve_side(model, fitted, data, "rows", of_fresh, randomness)
    return fitted


def _widen(offset: BiasedFactors, shape: tuple[int, int], *, pattern: bool) -> BiasedFactors:
    """Append zeros for new rows and columns, also to the factors of a pattern."""
    rows, columns = (more - known for more, known in zip(shape, offset.shape, strict=True))
    B = np.pad(offset.factors.B, ((0, rows), (0, 0)))
    A = np.pad(offset.factors.A, ((0, 0), (0, columns)))
    extra, below = offset.extra_columns, offset.extra_rows
    if pattern and extra is not None and below is not None:
        # the factors of the pattern come first, one for each row or column, then those of
        # attributes
        extra = np.insert(extra, [offset.shape[1]] * columns, 0, axis=1)
        below = np.insert(below, [offset.shape[0]] * rows, 0, axis=0)
    biases = np.pad(offset.row_bias, (0, rows)), np.pad(offset.column_bias, (0, columns))
    return BiasedFactors(offset.mean, *biases, Factors(B, A), extra, below)


def _solve_side(
    model: Model,
    known: BiasedFactors | PosteriorSamples,
    data: Interactions,
    side: Side,
    places: Numbers,
    randomness: Randomness,
) -> BiasedFactors | PosteriorSamples:
    """Solve some users (or items) again from all that is known of them, the others held fixed."""
    if not len(places):
        return known
    part = restrict(data, side, places)
    objective = with_attributes(model.objective, part)

    def take(old: BiasedFactors, new: BiasedFactors) -> BiasedFactors:
        if side == "rows":
            return solved_anew(old, side, places, new.factors.B, new.row_bias)
        return solved_anew(old, side, places, new.factors.A.T, new.column_bias)

    entries = as_entries(part, objective)
    found = each_draw(known, take, fold_in(known, objective, entries, side, seed=randomness))
    # the Gibbs sampler takes no attributes
    if isinstance(found, PosteriorSamples):
        return found
    # from the factors and attributes of the model alone, so an addition gives the same as the fit
    learned = (model.offset, model.data)
    return map_cold(found, data, side, objective, learned=learned, places=places)


def _without_row(offset: BiasedFactors, place: int, *, pattern: bool) -> BiasedFactors:
    extra = offset.extra_rows
    if pattern and extra is not None:
        extra = np.delete(extra, place, axis=0)
    B, bias = np.delete(offset.factors.B, place, axis=0), np.delete(offset.row_bias, place)
    return replace(offset.with_rows(B, bias), extra_rows=extra)
