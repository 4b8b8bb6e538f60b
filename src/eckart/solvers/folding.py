"""New rows or columns of a fitted matrix, by the equations of the fit and without fitting again."""

from dataclasses import replace
from typing import Literal

import numpy as np

from eckart.arrays import FLOAT32
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.matrices import Entries
from eckart.objectives import Observed
from eckart.offset import Offset
from eckart.samples import Samples
from eckart.solvers.rows import Cholesky
from eckart.solvers.tables import Tables
from eckart.threads import one_blas_thread


def fold_in(
    approximation: Offset | Factors | Samples,
    objective: Observed,
    entries: Entries,
    side: Literal["rows", "columns"] = "rows",
) -> Offset:
    """Fit new rows (or columns) to a factorisation whose columns (or rows) stay as they are.

    Each new row is the exact solution of the equations that a fitted one solves, so a row of the
    fit folded in anew is itself once the fit has converged.

    Args:
        approximation: That was fitted.
        objective: By which it was fitted; attributes, if any, are those of the new rows.
        entries: Of the new rows: (new rows, columns), or (rows, new columns).
        side: Which are new.

    Returns:
        An `Offset` of the shape of `entries`: the new rows with the old columns, or the reverse. A
        row without entries and attributes has factors and bias of 0.

    Raises:
        MatrixError: If the side that stays has another length.

    Cost:
        rank² operations for each entry and rank³/3 for each row.

    Example:
        >>> fitted = Offset(0.0, [0.0], [0.0, 0.0], Factors([[1.0]], [[1.0, 2.0]]))
        >>> new = Entries.of([0], [1], [4.0], shape=(1, 2))
        >>> objective = Observed(regularization=1e-6, biases=False)
        >>> fold_in(fitted, objective, new).factors.B.round(3)
        array([[2.]], dtype=float32)
    """
    fitted = _offset(approximation)
    along = 1 if side == "rows" else 0
    if entries.shape[along] != fitted.shape[along]:
        kept = "columns" if side == "rows" else "rows"
        raise MatrixError(
            f"The entries have {entries.shape[along]} {kept}, the factors {fitted.shape[along]}.",
            hint=f"Number {kept} as when the factors were fitted.",
            code="shapes-differ",
        )
    if side == "rows":
        start = fitted.with_rows(
            np.zeros((entries.shape[0], fitted.rank), FLOAT32), np.zeros(entries.shape[0], FLOAT32)
        )
        only = replace(objective, column_attributes=None)
        start = replace(start, extra_rows=None)
    else:
        start = fitted.with_columns(
            np.zeros((fitted.rank, entries.shape[1]), FLOAT32), np.zeros(entries.shape[1], FLOAT32)
        )
        only = replace(objective, row_attributes=None)
        start = replace(start, extra_columns=None)
    tables = Tables(entries, only, start)
    new, old = (tables.rows, tables.columns) if side == "rows" else (tables.columns, tables.rows)
    with one_blas_thread():
        tables.improve(new, old, Cholesky(), turning=False)
    return replace(
        tables.offset(), extra_columns=fitted.extra_columns, extra_rows=fitted.extra_rows
    )


def _offset(approximation: Offset | Factors | Samples) -> Offset:
    if isinstance(approximation, Samples):
        return approximation.offset
    if isinstance(approximation, Offset):
        return approximation
    rows, columns = approximation.shape
    return Offset(0.0, np.zeros(rows), np.zeros(columns), approximation)
