"""Scores of rows with gaps."""

from typing import Final

import numpy as np

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.matrices import Entries
from eckart.objectives import Observed
from eckart.solvers import fold_in

LEAST: Final = 1e-6
"""Of the penalty: float32 shows no difference between a smaller one and none."""


def scores_of_known(around: Array, A: Array, ridges: Array) -> Array:
    """The scores s of each row x that minimise Σ_known (x − s·A)² + Σ ridges·s².

    Args:
        around: Rows, centred and scaled, of shape (rows, columns); what is missing is NaN.
        A: Orthonormal rows, of shape (rank, columns).
        ridges: Array of shape (rank,), at least 0.

    Raises:
        MatrixError: If an entry is infinite.

    Cost:
        rank² operations for each known entry and rank³/3 for each row.

    Reference:
        Tipping, Bishop (1999), Journal of the Royal Statistical Society B 61(3).
    """
    if np.isinf(around).any():
        raise MatrixError(
            "An entry is infinite.", hint="Correct it, or leave it empty.", code="not-finite"
        )
    rows, columns = np.nonzero(~np.isnan(around))
    if not len(rows):
        return np.zeros((len(around), len(A)))
    sizes = np.where(np.isnan(around), 0.0, np.abs(around)).max(axis=1, keepdims=True)
    units = np.ldexp(1.0, np.frexp(sizes)[1])  # a power of two brings each row near 1
    lengths = 1 / np.sqrt(np.maximum(ridges, LEAST))[:, np.newaxis]  # one penalty for all then
    unit = float(np.square(lengths * A).max()) or 1.0
    near_one = (around / units)[rows, columns]
    known = Entries.of(rows, columns, near_one, shape=around.shape)
    scaled = Factors(np.zeros((1, len(A))), lengths * A / np.sqrt(unit))
    objective = Observed(regularization=1 / unit, count_exponent=0, biases=False)
    return fold_in(scaled, objective, known).factors.B * (lengths.T / np.sqrt(unit)) * units
