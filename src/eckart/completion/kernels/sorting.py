# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Entries put in the order of their rows, in time and memory proportional to their number."""

import numpy as np

from eckart.completion.kernels.compiled import Kernel


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


@Kernel
def ascending(starts, indices):
    """Whether the columns of each row ascend and none is there twice."""
    for row in range(starts.shape[0] - 1):
        for entry in range(starts[row] + 1, starts[row + 1]):
            if indices[entry] <= indices[entry - 1]:
                return False
    return True


@Kernel
def repeated(rows, columns):
    """How many pairs (row, column) equal the one before them; −1 where pairs are not in order."""
    same = 0
    for entry in range(1, rows.shape[0]):
        if rows[entry] > rows[entry - 1]:
            continue
        if rows[entry] < rows[entry - 1] or columns[entry] < columns[entry - 1]:
            return np.int64(-1)
        if columns[entry] == columns[entry - 1]:
            same += 1
    return np.int64(same)


@Kernel
def placed(places, order, starts, out):
    """Put the entries of `order` behind the last one of their place; of length 0 it is all entries.

    Entries of a place keep their order, so this is one pass of a sort by several keys.
    """
    free = starts[:-1].copy()
    for step in range(places.shape[0]):
        entry = order[step] if order.shape[0] > 0 else step
        to = free[places[entry]]
        free[places[entry]] += 1
        out[to] = entry


@Kernel
def distinct(order, rows, columns):
    """How many different pairs there are; `order` names them in their order."""
    count = min(order.shape[0], 1)
    for step in range(1, order.shape[0]):
        entry, before = order[step], order[step - 1]
        count += rows[entry] != rows[before] or columns[entry] != columns[before]
    return np.int64(count)


@Kernel
def merged(order, rows, columns, times, weights, totals):
    """Leave in the first places of `order` the latest entry of each pair.

    Of equal times, or without times, it is the last one of `order`. `totals`, unless it is of
    length 0, is made the sum of the weights of each pair; without weights each entry counts one.
    """
    made, total = 0, 0.0
    latest = order[0]
    for step in range(order.shape[0]):
        entry = order[step]
        if rows[entry] != rows[latest] or columns[entry] != columns[latest]:
            order[made] = latest
            if totals.shape[0] > 0:
                totals[made] = total
            made, total, latest = made + 1, 0.0, entry
        elif times.shape[0] == 0 or times[entry] >= times[latest]:
            latest = entry
        total += weights[entry] if weights.shape[0] > 0 else 1.0
    order[made] = latest
    if totals.shape[0] > 0:
        totals[made] = total
