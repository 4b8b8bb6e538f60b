# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Entries put in the order of their rows, in time and memory proportional to their number."""

import numpy as np

from eckart.kernels.compiled import Kernel


@Kernel
def counted(places, starts):
    """Make `starts` (n + 1) the running sum of how often each of 0 … n − 1 is in `places`."""
    for place in places:
        starts[place + 1] += 1
    for place in range(1, starts.shape[0]):
        starts[place] += starts[place - 1]


@Kernel
def scattered(places, others, values, weights, starts, out_others, out_values, out_weights):
    """Put each entry behind the last one of its place; entries of a place keep their order."""
    free = starts[:-1].copy()
    weighted = weights.shape[0] > 0
    for entry in range(places.shape[0]):
        place = places[entry]
        to = free[place]
        free[place] += 1
        out_others[to] = others[entry]
        out_values[to] = values[entry]
        if weighted:
            out_weights[to] = weights[entry]


@Kernel
def transposed(starts, indices, values, weights, to_starts, to_indices, to_values, to_weights):
    """Entries compressed by rows, compressed by columns: each column's rows ascend."""
    free = to_starts[:-1].copy()
    weighted = weights.shape[0] > 0
    for row in range(starts.shape[0] - 1):
        for entry in range(starts[row], starts[row + 1]):
            column = indices[entry]
            to = free[column]
            free[column] += 1
            to_indices[to] = row
            to_values[to] = values[entry]
            if weighted:
                to_weights[to] = weights[entry]


@Kernel
def first_duplicate(starts, indices):
    """The first row that has a column twice, or −1; the columns of each row ascend."""
    for row in range(starts.shape[0] - 1):
        for entry in range(starts[row] + 1, starts[row + 1]):
            if indices[entry] == indices[entry - 1]:
                return np.int64(row)
    return np.int64(-1)
