# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Stochastic gradient descent over known entries."""

from eckart.kernels.compiled import Kernel


@Kernel
def descend(order, rows, columns, values, weights, mean, rate, row_decay, column_decay, B, A):
    """One pass over the entries in a given order; a bias is the last number of B's and A's rows.

    With width numbers in a row, the first width − 1 are multiplied and the last are added.
    """
    width = B.shape[1] - 1
    for step in range(order.shape[0]):
        entry = order[step]
        b, a = B[rows[entry]], A[columns[entry]]
        said = mean + b[width] + a[width]
        for c in range(width):
            said += b[c] * a[c]
        left = values[entry] - said
        if weights.shape[0] > 0:
            left *= weights[entry]
        down, across = row_decay[rows[entry]], column_decay[columns[entry]]
        for c in range(width):
            old = b[c]
            b[c] += rate * (left * a[c] - down * old)
            a[c] += rate * (left * old - across * a[c])
        b[width] += rate * (left - down * b[width])
        a[width] += rate * (left - across * a[width])
