# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Stochastic gradient descent over known entries."""

import numpy as np

from eckart.completion.kernels.compiled import Kernel


@Kernel
def descend(order, rows, columns, values, weights, mean, rate, row_decay, column_decay, lift, B, A):
    """One pass over the entries in a given order; a bias is the last number of B's and A's rows.

    Biases decay so many times (`lift`) as fast as factors. With width numbers in a row, the first
    width − 1 are multiplied and the last are added.
    """
    width = B.shape[1] - 1
    one = np.float32(1)
    for step in range(order.shape[0]):
        entry = order[step]
        b, a = B[rows[entry]], A[columns[entry]]
        said = mean + b[width] + a[width]
        for c in range(width):
            said += b[c] * a[c]
        left = values[entry] - said
        if weights.shape[0] > 0:
            left *= weights[entry]
        move = rate * left
        down, across = rate * row_decay[rows[entry]], rate * column_decay[columns[entry]]
        keep_b, keep_a = one / (one + down), one / (one + across)
        for c in range(width):
            old = b[c]
            b[c] = (old + move * a[c]) * keep_b
            a[c] = (a[c] + move * old) * keep_a
        b[width] = (b[width] + move) / (one + lift * down)
        a[width] = (a[width] + move) / (one + lift * across)
