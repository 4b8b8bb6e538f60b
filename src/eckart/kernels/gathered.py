# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Products with the rows of a table that one row's entries name, copied side by side first.

Rows of a large table are far apart; a copy that stays in the cache is read several times. Four rows
are taken at a time, so that each loaded number of the vector serves four products.
"""

import numpy as np

from eckart.kernels.compiled import inner


@inner
def gather(kept, table, indices, first, count):
    """Copy the rows indices[first : first + count] of the table to the top of `kept`."""
    for j in range(count):
        source, to = table[indices[first + j]], kept[j]
        for c in range(kept.shape[1]):
            to[c] = source[c]


@inner
def dots(kept, count, x, out):
    """The product of the first rows of `kept` with x."""
    j = 0
    while j + 4 <= count:
        d0, d1, d2, d3 = kept[j], kept[j + 1], kept[j + 2], kept[j + 3]
        s0 = s1 = s2 = s3 = np.float32(0.0)
        for c in range(x.shape[0]):
            s0 += d0[c] * x[c]
            s1 += d1[c] * x[c]
            s2 += d2[c] * x[c]
            s3 += d3[c] * x[c]
        out[j], out[j + 1], out[j + 2], out[j + 3] = s0, s1, s2, s3
        j += 4
    while j < count:
        d0, s0 = kept[j], np.float32(0.0)
        for c in range(x.shape[0]):
            s0 += d0[c] * x[c]
        out[j] = s0
        j += 1


@inner
def add_combination(kept, count, shares, y):
    """Y += Σ shares·kept, over the first rows."""
    j = 0
    while j + 4 <= count:
        d0, d1, d2, d3 = kept[j], kept[j + 1], kept[j + 2], kept[j + 3]
        s0, s1, s2, s3 = shares[j], shares[j + 1], shares[j + 2], shares[j + 3]
        for c in range(y.shape[0]):
            y[c] += s0 * d0[c] + s1 * d1[c] + s2 * d2[c] + s3 * d3[c]
        j += 4
    while j < count:
        d0, s0 = kept[j], shares[j]
        for c in range(y.shape[0]):
            y[c] += s0 * d0[c]
        j += 1


@inner
def target(entry, column, targets, offsets, mean):
    """What the factors have to give at an entry: its value less what is held fixed."""
    value = targets[entry] if targets.shape[0] > 0 else np.float32(1.0)
    if offsets.shape[0] > 0:
        value -= offsets[column]
    return value - mean


@inner
def weigh(first, count, weights, shares):
    """Multiply the shares by the weights of the entries, in place."""
    if weights.shape[0] > 0:
        for j in range(count):
            shares[j] *= weights[first + j]


@inner
def subtract_from_targets(first, count, indices, targets, offsets, mean, said):
    """Said ← t − said, for the entries from `first`."""
    for j in range(count):
        said[j] = -mean - said[j]
    if targets.shape[0] > 0:
        for j in range(count):
            said[j] += targets[first + j]
    else:
        for j in range(count):
            said[j] += np.float32(1.0)
    if offsets.shape[0] > 0:
        for j in range(count):
            said[j] -= offsets[indices[first + j]]


@inner
def weighed_squares(first, count, weights, left):
    """Left ← w·left; returns Σ w·left²."""
    total = np.float32(0.0)
    if weights.shape[0] > 0:
        for j in range(count):
            total += weights[first + j] * left[j] * left[j]
            left[j] *= weights[first + j]
    else:
        for j in range(count):
            total += left[j] * left[j]
    return total


@inner
def total_weight(begin, end, weights):
    """The sum of the weights of some entries."""
    if weights.shape[0] == 0:
        return np.float32(end - begin)
    total = np.float32(0.0)
    for entry in range(begin, end):
        total += weights[entry]
    return total


@inner
def scale_rows(kept, first, count, weights):
    """Multiply each of the first rows of `kept` by the root of its entry's weight."""
    if weights.shape[0] > 0:
        for j in range(count):
            row, root = kept[j], np.sqrt(weights[first + j])
            for c in range(kept.shape[1]):
                row[c] *= root


@inner
def clear(x):
    """X ← 0; a loop, since what Numba compiles for an assignment of slices takes seconds."""
    for c in range(x.shape[0]):
        x[c] = np.float32(0.0)


@inner
def copy_with_ridge(gram, ridge, H):
    """H ← gram + ridge on the diagonal."""
    for i in range(H.shape[0]):
        row, source = H[i], gram[i]
        for c in range(H.shape[1]):
            row[c] = source[c]
        row[i] += ridge
