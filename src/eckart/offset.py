"""What ratings are explained by: a mean, a bias of each row and column, and B·A."""

from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from eckart.arguments import check_number
from eckart.arrays import FLOAT64, Array, DType, plain_array, working_array
from eckart.errors import MatrixError
from eckart.factors import Factors, as_factors

AT_ONCE: Final = 2**22
"""Numbers of one factor that are gathered at a time."""


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Offset:
    """mean + row_bias_i + column_bias_j + (B·A)_ij.

    Fields:
        mean: Of the known entries, or 0.
        row_bias: Array of shape (rows,).
        column_bias: Array of shape (columns,).
        factors: B (rows × rank) and A (rank × columns).
        extra_columns: Right factor of the columns that attributes and implicit features add to W,
            of shape (rank, more); for folding in new rows.
        extra_rows: Left factor of the rows that they add, of shape (more, rank).

    Raises:
        MatrixError: If the biases do not fit the factors.

    Example:
        >>> offset = Offset(3.0, [0.5, -0.5], [0.0, 1.0, 0.0], Factors([[1], [0]], [[0, 0, 2]]))
        >>> offset.predict([0, 0, 1], [1, 2, 0])
        array([4.5, 5.5, 2.5])
        >>> offset.scores(slice(0, 1))
        array([[3.5, 4.5, 5.5]])
    """

    mean: float
    row_bias: Array
    column_bias: Array
    factors: Factors
    extra_columns: Array | None = None
    extra_rows: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", as_factors(self.factors))
        object.__setattr__(self, "mean", check_number("mean", self.mean))
        dtype = self.factors.dtype
        for name, length in zip(("row_bias", "column_bias"), self.shape, strict=True):
            bias = working_array(getattr(self, name)).astype(dtype, copy=False)
            if bias.shape != (length,):
                raise MatrixError(
                    f"The {name.replace('_', ' ')} has shape {bias.shape}.",
                    hint=f"Give {length} numbers.",
                    code="shapes-differ",
                )
            object.__setattr__(self, name, bias)

    def __repr__(self) -> str:
        return f"Offset(mean {self.mean:.6g}, {self.factors!r})"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.factors.shape

    @property
    def rank(self) -> int:
        """Of the factors."""
        return self.factors.rank

    @property
    def dtype(self) -> DType:
        """Of the factors."""
        return self.factors.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of factors and biases."""
        return self.factors.nbytes + self.row_bias.nbytes + self.column_bias.nbytes

    def predict(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Array:
        """The value at each place (row, column), in float64.

        Cost:
            2·rank operations for each; memory of a block at a time.
        """
        row, column = _places(rows, self.shape[0], "row"), _places(columns, self.shape[1], "column")
        if len(row) != len(column):
            raise MatrixError(
                f"There are {len(row)} rows and {len(column)} columns.",
                hint="Give one of each for every place.",
                code="shapes-differ",
            )
        out = np.empty(len(row), FLOAT64)
        B, A = self.factors.B, self.factors.A.T
        height = max(1, AT_ONCE // self.rank)
        for start in range(0, len(row), height):
            here = slice(start, start + height)
            out[here] = np.einsum("ij,ij->i", B[row[here]], A[column[here]], dtype=FLOAT64)
        return out + self.mean + self.row_bias[row] + self.column_bias[column]

    def scores(self, rows: slice | npt.ArrayLike) -> Array:
        """Whole rows, of shape (len(rows), columns), in the dtype of the factors.

        Raises:
            MatrixError: If they are no list of rows, or one is out of range.
        """
        here: Any = rows if isinstance(rows, slice) else _places(rows, self.shape[0], "row")
        scores = self.factors.B[here] @ self.factors.A
        scores += self.column_bias
        scores += self.row_bias[here][:, None] + scores.dtype.type(self.mean)
        return scores

    def with_rows(self, B: Array, row_bias: Array) -> "Offset":
        """The same columns with other rows."""
        return replace(self, row_bias=row_bias, factors=Factors(B, self.factors.A))

    def with_columns(self, A: Array, column_bias: Array) -> "Offset":
        """The same rows with other columns."""
        return replace(self, column_bias=column_bias, factors=Factors(self.factors.B, A))


def _places(places: npt.ArrayLike, count: int, name: str) -> npt.NDArray[Any]:
    """A list of rows or columns.

    Raises:
        MatrixError: If it is none, or one is out of range.
    """
    array = plain_array(places)
    whole = array.ndim == 1 and (array.dtype.kind in "iu" or not array.size)
    if not whole or (array.size and not 0 <= int(array.min()) <= int(array.max()) < count):
        raise MatrixError(
            f"The {name}s are not a list of whole numbers from 0 to {count - 1}.",
            hint=f"Number {name}s as where this was fitted.",
            code="bad-index",
        )
    return array if array.size else array.astype(np.intp)
