"""How far an approximation is from the known entries."""

import math

import numpy as np

from eckart.arrays import FLOAT32
from eckart.matrices import Entries
from eckart.objectives import Observed
from eckart.offset import Offset
from eckart.solvers.equations import cut
from eckart.threads import in_threads


def known_error(entries: Entries, objective: Observed, offset: Offset) -> tuple[float, float]:
    """Σ w·(W − ŷ)² and Σ w·W² over the known entries, in float64."""
    from eckart.kernels.predictions import squared_errors

    order = entries.by_rows
    sums, squares = np.zeros((2, entries.shape[0]))
    table = np.ascontiguousarray(offset.factors.A.T, FLOAT32)
    B = np.ascontiguousarray(offset.factors.B, FLOAT32)
    column_bias, row_bias = (bias.astype(FLOAT32) for bias in (offset.column_bias, offset.row_bias))

    def kernel(piece: tuple[int, int]) -> None:
        squared_errors(
            *piece,
            order.starts,
            order.indices,
            objective.targets(order),
            objective.weights(order),
            column_bias,
            np.float32(offset.mean),
            table,
            B,
            row_bias,
            sums,
            squares,
        )

    in_threads(kernel, cut(order.starts, per_row=1))
    return math.fsum(sums), math.fsum(squares)
