# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Least squares with no negative numbers, one row after another, by coordinate descent."""

import numpy as np

from eckart.kernels.compiled import Kernel
from eckart.kernels.exact import AT_ONCE, assembled
from eckart.kernels.gathered import clear


@Kernel
def nonnegative_rows(first, last, cycles, bounded, known, gram, ridge, linear, X, losses):
    """For each row, lower the sum of `exact_rows` over x ≥ 0, from where x is.

    Only the first `bounded` numbers must not be negative. Each coordinate in turn goes to the
    minimum along it, or to 0; until none moves, or for a number of cycles.
    """
    width = X.shape[1]
    starts = known[0]
    H, right = np.empty((width, width), np.float32), np.empty(width, np.float32)
    slope = np.empty(width, np.float32)
    kept, shares = np.empty((AT_ONCE, width), np.float32), np.empty(AT_ONCE, np.float32)
    for row in range(first, last):
        x = X[row]
        clear(right)
        if linear.shape[0] > 0:
            for c in range(width):
                right[c] = linear[row, c]
        loss = assembled(
            starts[row], starts[row + 1], known, gram, ridge[row], H, right, kept, shares
        )
        for i in range(width):
            for j in range(i):
                H[i, j] = H[j, i]
        for i in range(width):
            total = np.float32(0.0)
            for c in range(width):
                total += H[i, c] * x[c]
            slope[i] = total - right[i]
        for _ in range(cycles):
            moved = np.float32(0.0)
            for c in range(width):
                to = x[c] - slope[c] / H[c, c]
                if c < bounded and to < 0:
                    to = np.float32(0.0)
                change = to - x[c]
                if change != 0:
                    x[c] = to
                    moved += change * change * H[c, c]
                    along = H[c]
                    for i in range(width):
                        slope[i] += change * along[i]
            if moved <= np.float32(1e-10) * np.float32(loss):
                break
        for c in range(width):
            loss += x[c] * (slope[c] - right[c])
        losses[row] = loss
