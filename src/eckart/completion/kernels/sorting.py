# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Counting sorts of entries, in time and memory proportional to their number."""

import numpy as np

from eckart.completion.kernels import Kernel


@Kernel
def bincount(places, starts):
    """Set `starts` (of length n + 1) to the cumulative counts of 0 … n − 1 in `places`."""
    for place in places:
        # one further on, so that the running sum gives where each place begins
        starts[place + 1] += 1
    for place in range(1, starts.shape[0]):
        starts[place] += starts[place - 1]


@Kernel
def scatter(places, others, values, weights, starts, out_others, out_values, out_weights):
    """Copy each entry to the next free slot of its place; entries of a place keep their order."""
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
def transpose(starts, indices, values, weights, to_starts, to_indices, to_values, to_weights):
    """Compress entries by columns that are compressed by rows; rows ascend in each column."""
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
def first_unordered(starts, indices):
    """Return the first row whose columns do not ascend or has one twice; −1 if there is none."""
    for row in range(starts.shape[0] - 1):
        for entry in range(starts[row] + 1, starts[row + 1]):
            if indices[entry] <= indices[entry - 1]:
                return np.int64(row)
    return np.int64(-1)


@Kernel
def repeated_pairs(rows, columns):
    """Number of pairs (row, column) equal to the one before; −1 if pairs are not in order."""
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
def sort_by_place(places, order, starts, out):
    """Sort the entries of `order` (all if it is empty) by their places, into `out`.

    Entries of a place keep their order, so this is one pass of a radix sort by several keys.
    """
    free = starts[:-1].copy()
    for step in range(places.shape[0]):
        entry = order[step] if order.shape[0] > 0 else step
        to = free[places[entry]]
        free[places[entry]] += 1
        out[to] = entry


@Kernel
def distinct_pairs(order, rows, columns):
    """Number of different pairs (row, column); `order` lists the entries in sorted order."""
    count = min(order.shape[0], 1)
    for step in range(1, order.shape[0]):
        entry, before = order[step], order[step - 1]
        count += rows[entry] != rows[before] or columns[entry] != columns[before]
    return np.int64(count)


@Kernel
def merge(order, rows, columns, times, weights, totals):
    """Move the latest entry of each pair (row, column) to the front of `order`.

    At equal times, or without times, the latest is the last one in `order`. `totals`, unless it has
    length 0, receives the sum of the weights of each pair; without weights each entry counts one.
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
        # >=, so that the last of equal times stays
        elif times.shape[0] == 0 or times[entry] >= times[latest]:
            latest = entry
        total += weights[entry] if weights.shape[0] > 0 else 1.0
    order[made] = latest
    if totals.shape[0] > 0:
        totals[made] = total
