"""From a table of columns to a matrix: which are numbers, which are names."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eckart.arrays import FLOAT32, FLOAT64, Array, DType
from eckart.errors import MatrixError


def select(names: list[str], columns: tuple[str, ...] | None, path: object) -> list[int]:
    """Positions of the asked-for columns, or of all.

    Raises:
        MatrixError: If a name is not there.
    """
    if columns is None:
        return list(range(len(names)))
    missing = [name for name in columns if name not in names]
    if missing:
        raise MatrixError(
            f"{path} has no column '{missing[0]}'.",
            hint=f"It has: {', '.join(names[:30])}{' …' if len(names) > 30 else ''}.",
            code="no-such-column",
        )
    return [names.index(name) for name in columns]


def is_number(kind: Any) -> bool:
    """Whether an Arrow type holds numbers."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def matrix_of(table: Any) -> Array:
    """An Arrow table of numbers as one array; a missing value becomes NaN.

    float32 where every column is float32 or narrower, else float64.
    """
    narrow = all(
        pa.types.is_float32(kind) or pa.types.is_float16(kind) for kind in table.schema.types
    )
    dtype: DType = FLOAT32 if narrow else FLOAT64
    W = np.empty((table.num_rows, table.num_columns), dtype=dtype)
    for position, column in enumerate(table.columns):
        numbers = pc.cast(column, pa.float32() if narrow else pa.float64())
        W[:, position] = numbers.to_numpy(zero_copy_only=False)
    return W


def table_of(W: Array, names: list[str] | None = None) -> Any:
    """An array as an Arrow table, with columns named 0, 1, 2 … or as given."""
    labels = names or [str(position) for position in range(W.shape[1])]
    return pa.table([pa.array(column) for column in W.T], names=labels)
