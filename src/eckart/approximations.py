"""Results of fitting known entries: factors with biases, and draws from the posterior."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from eckart.arguments import check_number
from eckart.arrays import FLOAT64, Array, DType, plain_array, working_array
from eckart.errors import MatrixError
from eckart.factors import Factors, as_factors

GATHERED_ENTRIES: Final = 2**22
"""Number of factor entries that `predict` gathers at a time: 16 to 32 MB."""


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BiasedFactors:
    """Factors with biases: entry (i, j) is mean + row_bias_i + column_bias_j + (B·A)_ij.

    Fields:
        mean: Mean of the known entries, or 0 if it is not fitted.
        row_bias: Bias of each row, an array of shape (rows,).
        column_bias: Bias of each column, an array of shape (columns,).
        factors: B (rows × rank) and A (rank × columns).
        extra_columns: Right factor of the columns that attributes and implicit features add to W,
            of shape (rank, extra columns); used to fold in new rows.
        extra_rows: Left factor of the rows that they add to W, of shape (extra rows, rank).

    Raises:
        MatrixError: If the biases do not fit the factors.

    Example:
        >>> factors = Factors([[1], [0]], [[0, 0, 2]])
        >>> offset = BiasedFactors(3.0, [0.5, -0.5], [0.0, 1.0, 0.0], factors)
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
        # a frozen dataclass allows no assignment
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
        return f"BiasedFactors(mean {self.mean:.6g}, {self.factors!r})"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns) of the matrix that is approximated."""
        return self.factors.shape

    @property
    def rank(self) -> int:
        """Rank of the factors."""
        return self.factors.rank

    @property
    def dtype(self) -> DType:
        """Dtype of the factors."""
        return self.factors.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the factors and biases."""
        return self.factors.nbytes + self.row_bias.nbytes + self.column_bias.nbytes

    def predict(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Array:
        """Predict the entry at each index pair (row, column), in float64.

        Cost:
            2·rank operations for each entry; blocks of 2²² numbers are gathered at a time.
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
        height = max(1, GATHERED_ENTRIES // self.rank)
        for start in range(0, len(row), height):
            here = slice(start, start + height)
            # gathered by blocks, because B[row] of all pairs may be far larger than the factors
            out[here] = np.einsum("ij,ij->i", B[row[here]], A[column[here]], dtype=FLOAT64)
        return out + self.mean + self.row_bias[row] + self.column_bias[column]

    def scores(self, rows: slice | npt.ArrayLike) -> Array:
        """Predict whole rows: shape (len(rows), columns), in the dtype of the factors.

        Raises:
            MatrixError: If `rows` is no list of rows, or one is out of range.
        """
        here: Any = rows if isinstance(rows, slice) else _places(rows, self.shape[0], "row")
        scores = self.factors.B[here] @ self.factors.A
        scores += self.column_bias
        scores += self.row_bias[here][:, None] + scores.dtype.type(self.mean)
        return scores

    def with_rows(self, B: Array, row_bias: Array) -> "BiasedFactors":
        """Return a copy with another B and other row biases."""
        return replace(self, row_bias=row_bias, factors=Factors(B, self.factors.A))

    def with_columns(self, A: Array, column_bias: Array) -> "BiasedFactors":
        """Return a copy with another A and other column biases."""
        return replace(self, column_bias=column_bias, factors=Factors(self.factors.B, A))


def _places(places: npt.ArrayLike, count: int, name: str) -> npt.NDArray[Any]:
    """Return a list of row or column indices as an array."""
    array = plain_array(places)
    whole = array.ndim == 1 and (array.dtype.kind in "iu" or not array.size)
    if not whole or (array.size and not 0 <= int(array.min()) <= int(array.max()) < count):
        raise MatrixError(
            f"The {name}s are not a list of whole numbers from 0 to {count - 1}.",
            hint=f"Number {name}s as where this was fitted.",
            code="bad-index",
        )
    # an empty list is float64, which is no index
    return array if array.size else array.astype(np.intp)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prior:
    """The Gaussian prior of the rows (or columns) of the factors of one draw.

    Fields:
        mean: Mean of the factors and, last, of the bias if there is one; shape (width,).
        precision: Precision matrix divided by the precision of an entry; shape (width, width).
    """

    mean: Array
    precision: Array


@final
@dataclass(frozen=True, eq=False, repr=False)
class PosteriorSamples:
    """Draws (mean, biases, B, A) from the posterior of a factorisation.

    The mean of the draws has low rank too (the ranks of all draws add up), so it predicts and ranks
    as a `BiasedFactors` does.

    Fields:
        draws: The draws that were kept.
        noise: Variance of an entry about its prediction.
        priors: Prior of the rows and of the columns of each draw; used to fold in new ones.

    Example:
        >>> factors = [Factors([[1.0]], [[value]]) for value in (2.0, 4.0)]
        >>> draws = [BiasedFactors(0.0, [0.0], [0.0], one) for one in factors]
        >>> samples = PosteriorSamples(draws=tuple(draws), noise=3.0)
        >>> samples.predict([0], [0]), samples.deviation([0], [0])
        (array([3.]), array([2.]))
    """

    draws: tuple[BiasedFactors, ...]
    noise: float
    priors: tuple[tuple[Prior, Prior], ...] = ()

    def __repr__(self) -> str:
        return f"PosteriorSamples({len(self.draws)} draws, {self.draws[0]!r})"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns) of the matrix that is approximated."""
        return self.draws[0].shape

    @property
    def rank(self) -> int:
        """Rank of each draw."""
        return self.draws[0].rank

    @property
    def dtype(self) -> DType:
        """Dtype of the draws."""
        return self.draws[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all draws."""
        return sum(draw.nbytes for draw in self.draws)

    @cached_property
    def offset(self) -> BiasedFactors:
        """The posterior mean; its rank is the number of draws times the rank of a draw."""
        # Σ B_d·A_d / draws is one product: all B side by side times all A stacked
        share = 1 / len(self.draws)
        B = np.concatenate([draw.factors.B * share for draw in self.draws], axis=1)
        A = np.concatenate([draw.factors.A for draw in self.draws])
        return BiasedFactors(
            float(np.mean([draw.mean for draw in self.draws])),
            np.mean([draw.row_bias for draw in self.draws], axis=0),
            np.mean([draw.column_bias for draw in self.draws], axis=0),
            Factors(B.astype(self.dtype), A),
        )

    @property
    def factors(self) -> Factors:
        """B and A of the posterior mean."""
        return self.offset.factors

    def predict(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Array:
        """Predict the posterior mean at each index pair (row, column), in float64."""
        return np.mean([draw.predict(rows, columns) for draw in self.draws], axis=0)

    def deviation(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Array:
        """Standard deviation of a new entry at each index pair: spread of the draws, and noise."""
        drawn = [draw.predict(rows, columns) for draw in self.draws]
        # the law of total variance: spread of the means, and noise about each
        return np.sqrt(np.var(np.asarray(drawn, FLOAT64), axis=0) + self.noise)

    def scores(self, rows: slice | npt.ArrayLike) -> Array:
        """Predict whole rows of the posterior mean, of shape (len(rows), columns)."""
        return self.offset.scores(rows)


def as_biased(approximation: Factors | BiasedFactors | PosteriorSamples) -> BiasedFactors:
    """Return mean, biases and factors: the mean of draws, and zero biases for plain factors."""
    if isinstance(approximation, Factors):
        rows, columns = (np.zeros(count, approximation.dtype) for count in approximation.shape)
        return BiasedFactors(0.0, rows, columns, approximation)
    return approximation.offset if isinstance(approximation, PosteriorSamples) else approximation
