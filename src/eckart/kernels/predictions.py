# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""What the factors say of the known entries, and how far that is off."""

import numpy as np

from eckart.kernels.compiled import Kernel
from eckart.kernels.gathered import target


@Kernel
def squared_errors(
    first, last, starts, indices, targets, weights, offsets, mean, table, X, own, sums, squares
):
    """Σ w(t − mean − own − offset − ⟨x, D⟩)² of each row, and Σ w t²."""
    width = X.shape[1]
    for row in range(first, last):
        total, square = 0.0, 0.0
        for entry in range(starts[row], starts[row + 1]):
            column = indices[entry]
            said = np.float32(0.0)
            d, x = table[column], X[row]
            for c in range(width):
                said += d[c] * x[c]
            left = target(entry, column, targets, offsets, mean) - own[row] - said
            given = targets[entry] if targets.shape[0] > 0 else np.float32(1.0)
            w = weights[entry] if weights.shape[0] > 0 else np.float32(1.0)
            total += w * left * left
            square += w * given * given
        sums[row], squares[row] = total, square
