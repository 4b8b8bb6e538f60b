# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Stochastic gradient descent over known entries."""

import numpy as np

from eckart.completion.kernels.compiled import Kernel


@Kernel
def descend(order, rows, columns, values, weights, mean, rate, row_decay, column_decay, lift, B, A):
    """One pass over the entries in a given order; a bias is the last number in a row of B or A.

    Biases decay `lift` times as fast as factors. The prediction is the mean, plus both biases, plus
    the inner product of the other numbers.
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
        # an implicit step for the penalty, which is stable for any λ
        keep_b, keep_a = one / (one + down), one / (one + across)
        for c in range(width):
            # both factors move from their old values
            old = b[c]
            b[c] = (old + move * a[c]) * keep_b
            a[c] = (a[c] + move * old) * keep_a
        b[width] = (b[width] + move) / (one + lift * down)
        a[width] = (a[width] + move) / (one + lift * across)
