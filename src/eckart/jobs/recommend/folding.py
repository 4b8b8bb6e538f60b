"""New interactions, users and items taken into a model, and users taken out, without a new fit."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from eckart.arrays import FLOAT32
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.jobs.recommend.columns import ColumnNames
from eckart.jobs.recommend.exchanged import check_not_exchanged
from eckart.jobs.recommend.interactions import Interactions, interactions_of
from eckart.jobs.recommend.merging import as_known, merged, without_user
from eckart.jobs.recommend.model import Model, as_entries, each_draw, plainest
from eckart.jobs.recommend.reading import Table, read_table
from eckart.offset import Offset
from eckart.samples import Samples
from eckart.solvers import fold_in


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """The result of `add_interactions`.

    Fields:
        model: With what was added.
        interactions: That were added.
        new_users, new_items: Ids that the model did not know.
        changed_users: Known users with new interactions, who were solved anew.
        notes: What a person should know.
    """

    model: Model
    interactions: int
    new_users: int
    new_items: int
    changed_users: int
    notes: tuple[str, ...]

    def sentence(self) -> str:
        """What was done."""
        return (
            f"Added {self.interactions:,} interactions: {self.new_users:,} new users, "
            f"{self.new_items:,} new items, {self.changed_users:,} known users solved anew."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text."""
        return {
            "interactions": self.interactions,
            "new_users": self.new_users,
            "new_items": self.new_items,
            "changed_users": self.changed_users,
            "users": len(self.model.data.users),
            "items": len(self.model.data.items),
            "notes": list(self.notes),
        }


def add_interactions(model: Model, data: Any, named: ColumnNames | None = None) -> Addition:
    """Take new interactions into a model by the equations of its fit.

    Users with new interactions are solved exactly from their whole history, old and new; then new
    items from all who dealt with them; then the users who dealt with those once more. The factors
    of known items stay: they change with a new fit only.

    Args:
        model: That was fitted.
        data: A path, a table, or `Interactions`.
        named: Columns that have other names than usual.

    Raises:
        ArgumentError: If there is no such file.
        FormatError: If it is damaged.
        MatrixError: If a rating is NaN or off the scale, or users and items are exchanged.

    Cost:
        rank² operations for each interaction of the users and items concerned.
    """
    new, notes = _read(model, data, named)
    together = merged(model.data, new)
    known = model.data.shape
    shape = together.shape
    wide = each_draw(model.approximation, lambda draw, _: _widened(draw, shape))
    touched = np.unique(new.rows)
    fitted = _solve_rows(model, wide, together, touched)
    fresh = np.arange(known[1], together.shape[1])
    if len(fresh):
        fitted = _solve_columns(model, fitted, together, fresh)
        of_fresh = np.unique(together.rows[together.columns >= known[1]])
        fitted = _solve_rows(model, fitted, together, of_fresh)
    return Addition(
        model=model.having(replace(together, notes=()), plainest(fitted, model.objective)),
        interactions=len(new),
        new_users=together.shape[0] - known[0],
        new_items=together.shape[1] - known[1],
        changed_users=int((touched < known[0]).sum()),
        notes=(*new.notes, *notes),
    )


def remove_user(model: Model, user: object) -> Model:
    """The model without a user: his id, his factors and his history are gone.

    The factors of the items still are what they became with him; a new fit forgets that as well.

    Args:
        model: That was fitted.
        user: His id.

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
    left = each_draw(model.approximation, lambda draw, _: _without_row(draw, place))
    return model.having(without_user(model.data, place), plainest(left, model.objective))


def _read(model: Model, data: Any, named: ColumnNames | None) -> tuple[Interactions, list[str]]:
    """New interactions over ids that begin with those of the model."""
    if isinstance(data, Interactions):
        return as_known(data, model.data.users, model.data.items), []
    table: Table = read_table(data, named)
    users, items = model.data.users, model.data.items
    rows = users.places(table.columns["user"], "user")
    columns = items.places(table.columns["item"], "item")
    said = check_not_exchanged(table, rows, columns, (users, items))
    new = interactions_of(
        table,
        implicit=None if model.explicit else True,
        scale=model.scale,
        known=(users, items),
    )
    return new, said


def _widened(offset: Offset, shape: tuple[int, int]) -> Offset:
    """Zeros for the new rows and columns."""
    rows, columns = (more - known for more, known in zip(shape, offset.shape, strict=True))
    B = np.pad(offset.factors.B, ((0, rows), (0, 0)))
    A = np.pad(offset.factors.A, ((0, 0), (0, columns)))
    extra = offset.extra_columns
    if extra is not None and extra.shape[1] == offset.shape[1]:
        extra = np.pad(extra, ((0, 0), (0, columns)))
    below = offset.extra_rows
    if below is not None and below.shape[0] == offset.shape[0]:
        below = np.pad(below, ((0, rows), (0, 0)))
    return Offset(
        offset.mean,
        np.pad(offset.row_bias, (0, rows)),
        np.pad(offset.column_bias, (0, columns)),
        Factors(B, A),
        extra,
        below,
    )


def _solve_rows(
    model: Model, known: Offset | Samples, data: Interactions, rows: Any
) -> Offset | Samples:
    """Some users solved anew from all that they dealt with."""
    part = as_entries(_only(data, rows, side=0), model.objective)

    def taken(old: Offset, new: Offset) -> Offset:
        B, bias = old.factors.B.astype(FLOAT32), old.row_bias.copy()
        B[rows], bias[rows] = new.factors.B, new.row_bias
        return old.with_rows(B, bias)

    return each_draw(known, taken, fold_in(known, model.objective, part, "rows"))


def _solve_columns(
    model: Model, known: Offset | Samples, data: Interactions, columns: Any
) -> Offset | Samples:
    """Some items solved anew from all who dealt with them."""
    part = as_entries(_only(data, columns, side=1), model.objective)

    def taken(old: Offset, new: Offset) -> Offset:
        A, bias = old.factors.A.astype(FLOAT32), old.column_bias.copy()
        A[:, columns], bias[columns] = new.factors.A, new.column_bias
        return old.with_columns(A, bias)

    return each_draw(known, taken, fold_in(known, model.objective, part, "columns"))


def _only(data: Interactions, places: Any, *, side: int) -> Interactions:
    """The entries of some rows or columns, which are numbered from 0."""
    own = data.rows if side == 0 else data.columns
    to_new = np.full(data.shape[side], -1, np.int32)
    to_new[places] = np.arange(len(places), dtype=np.int32)
    part = data.chosen(to_new[own] >= 0)
    if side == 0:
        users = replace(data.users, ids=data.users.column(places))
        return replace(part, users=users, rows=to_new[part.rows])
    items = replace(data.items, ids=data.items.column(places))
    return replace(part, items=items, columns=to_new[part.columns])


def _without_row(offset: Offset, place: int) -> Offset:
    extra = offset.extra_rows
    if extra is not None and extra.shape[0] == offset.shape[0]:
        extra = np.delete(extra, place, axis=0)
    B, bias = np.delete(offset.factors.B, place, axis=0), np.delete(offset.row_bias, place)
    return replace(offset.with_rows(B, bias), extra_rows=extra)
