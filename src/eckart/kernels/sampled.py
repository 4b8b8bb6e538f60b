# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Draws from the Gaussian posterior of one row after another."""

import numpy as np

from eckart.kernels.cholesky import backward, factored, forward
from eckart.kernels.compiled import Kernel
from eckart.kernels.exact import AT_ONCE, assembled


@Kernel
def sampled_rows(first, last, known, precision, linear, noise, X):
    """For each row, draw x ~ N(H⁻¹·right, H⁻¹/α) with H = precision + Σ w·DᵀD.

    All is divided by α, the precision of an entry. `linear` is what the prior adds to the right
    side, the same for all rows; `noise` holds N(0, 1/α) for each number of X.

    Reference:
        Salakhutdinov, Mnih (2008), ICML, equations 11 to 13.
    """
    width = X.shape[1]
    starts = known[0]
    H = np.empty((width, width), np.float32)
    kept, shares = np.empty((AT_ONCE, width), np.float32), np.empty(AT_ONCE, np.float32)
    for row in range(first, last):
        x = X[row]
        for c in range(width):
            x[c] = linear[c]
        assembled(
            starts[row], starts[row + 1], known, precision, np.float32(0.0), H, x, kept, shares
        )
        factored(H)
        forward(H, x)
        for c in range(width):
            x[c] += noise[row, c]
        backward(H, x)
