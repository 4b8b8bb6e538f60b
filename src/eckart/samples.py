"""What a Bayesian factorisation gives: draws from the posterior, their mean and their spread."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT64, Array, DType
from eckart.factors import Factors
from eckart.offset import Offset


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prior:
    """The Gaussian prior of the rows (or columns) of one draw.

    Fields:
        mean: Array of shape (width,): of the factors and, last, of the bias where there is one.
        precision: Array of shape (width, width), divided by that of an entry.
    """

    mean: Array
    precision: Array


@final
@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """Draws (mean, biases, B, A) from the posterior of a factorisation.

    Their mean is itself of low rank, that of all draws beside one another, so it predicts and ranks
    as an `Offset` does.

    Fields:
        draws: The draws that were kept.
        noise: Variance of an entry about what the factors say.
        priors: Of the rows and of the columns of each draw; for folding in new ones.

    Example:
        >>> draws = [Offset(0.0, [0.0], [0.0], Factors([[1.0]], [[value]])) for value in (2.0, 4.0)]
        >>> samples = Samples(draws=tuple(draws), noise=3.0)
        >>> samples.predict([0], [0]), samples.deviation([0], [0])
        (array([3.]), array([2.]))
    """

    draws: tuple[Offset, ...]
    noise: float
    priors: tuple[tuple[Prior, Prior], ...] = ()

    def __repr__(self) -> str:
        return f"Samples({len(self.draws)} draws, {self.draws[0]!r})"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.draws[0].shape

    @property
    def rank(self) -> int:
        """Of each draw."""
        return self.draws[0].rank

    @property
    def dtype(self) -> DType:
        """Of the draws."""
        return self.draws[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all draws."""
        return sum(draw.nbytes for draw in self.draws)

    @cached_property
    def offset(self) -> Offset:
        """The posterior mean, of rank draws × rank."""
        share = 1 / len(self.draws)
        B = np.concatenate([draw.factors.B * share for draw in self.draws], axis=1)
        A = np.concatenate([draw.factors.A for draw in self.draws])
        return Offset(
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
        """The posterior mean at each place (row, column)."""
        return np.mean([draw.predict(rows, columns) for draw in self.draws], axis=0)

    def deviation(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Array:
        """The standard deviation of a new entry at each place: of the draws, and of the noise."""
        drawn = [draw.predict(rows, columns) for draw in self.draws]
        return np.sqrt(np.var(np.asarray(drawn, FLOAT64), axis=0) + self.noise)

    def scores(self, rows: slice | npt.ArrayLike) -> Array:
        """Whole rows of the posterior mean, of shape (len(rows), columns)."""
        return self.offset.scores(rows)
