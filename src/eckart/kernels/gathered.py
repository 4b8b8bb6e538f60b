"""Products with the rows of a table that one row's entries name, four at a time.

D stands for those rows, w for the weights of the entries. Four dot products share each load of x,
and each loaded piece of D is used for both Dx and Dᵀ(·) while it is in the first cache.
"""

import numpy as np

from eckart.kernels.compiled import inner


@inner
def target(entry, column, targets, offsets, mean):
    """What the factors have to give at an entry: its value less what is held fixed."""
    value = targets[entry] if targets.shape[0] > 0 else np.float32(1.0)
    if offsets.shape[0] > 0:
        value -= offsets[column]
    return value - mean


@inner
def add_residuals(
    begin, end, indices, targets, weights, offsets, mean, table, x, gradient, squares, kept
):
    """gradient += Dᵀ w(t − Dx) and squares += Σ w D²; the rows of D go to `kept` where it has room.

    Returns:
        Σ w (t − Dx)².
    """
    width = x.shape[0]
    keeps = kept.shape[0] >= end - begin
    total = 0.0
    entry = begin
    while entry + 4 <= end:
        i0, i1, i2, i3 = indices[entry], indices[entry + 1], indices[entry + 2], indices[entry + 3]
        d0, d1, d2, d3 = table[i0], table[i1], table[i2], table[i3]
        s0 = s1 = s2 = s3 = np.float32(0.0)
        for c in range(width):
            s0 += d0[c] * x[c]
            s1 += d1[c] * x[c]
            s2 += d2[c] * x[c]
            s3 += d3[c] * x[c]
        s0 = target(entry, i0, targets, offsets, mean) - s0
        s1 = target(entry + 1, i1, targets, offsets, mean) - s1
        s2 = target(entry + 2, i2, targets, offsets, mean) - s2
        s3 = target(entry + 3, i3, targets, offsets, mean) - s3
        w0 = w1 = w2 = w3 = np.float32(1.0)
        if weights.shape[0] > 0:
            w0, w1, w2, w3 = weights[entry], weights[entry + 1], weights[entry + 2], weights[entry + 3]
        total += w0 * s0 * s0 + w1 * s1 * s1 + w2 * s2 * s2 + w3 * s3 * s3
        s0, s1, s2, s3 = w0 * s0, w1 * s1, w2 * s2, w3 * s3
        for c in range(width):
            gradient[c] += s0 * d0[c] + s1 * d1[c] + s2 * d2[c] + s3 * d3[c]
            squares[c] += (
                w0 * d0[c] * d0[c] + w1 * d1[c] * d1[c] + w2 * d2[c] * d2[c] + w3 * d3[c] * d3[c]
            )
        if keeps:
            place = entry - begin
            kept[place, :] = d0
            kept[place + 1, :] = d1
            kept[place + 2, :] = d2
            kept[place + 3, :] = d3
        entry += 4
    while entry < end:
        d0 = table[indices[entry]]
        s0 = np.float32(0.0)
        for c in range(width):
            s0 += d0[c] * x[c]
        s0 = target(entry, indices[entry], targets, offsets, mean) - s0
        w0 = weights[entry] if weights.shape[0] > 0 else np.float32(1.0)
        total += w0 * s0 * s0
        s0 *= w0
        for c in range(width):
            gradient[c] += s0 * d0[c]
            squares[c] += w0 * d0[c] * d0[c]
        if keeps:
            kept[entry - begin, :] = d0
        entry += 1
    return total


@inner
def add_curvature(count, indices, first, weights, first_weight, table, x, out):
    """out += Dᵀ w(Dx), for the rows indices[first : first + count] of the table."""
    width = x.shape[0]
    weighted = weights.shape[0] > 0
    j = 0
    while j + 4 <= count:
        d0, d1 = table[indices[first + j]], table[indices[first + j + 1]]
        d2, d3 = table[indices[first + j + 2]], table[indices[first + j + 3]]
        s0 = s1 = s2 = s3 = np.float32(0.0)
        for c in range(width):
            s0 += d0[c] * x[c]
            s1 += d1[c] * x[c]
            s2 += d2[c] * x[c]
            s3 += d3[c] * x[c]
        if weighted:
            at = first_weight + j
            s0 *= weights[at]
            s1 *= weights[at + 1]
            s2 *= weights[at + 2]
            s3 *= weights[at + 3]
        for c in range(width):
            out[c] += s0 * d0[c] + s1 * d1[c] + s2 * d2[c] + s3 * d3[c]
        j += 4
    while j < count:
        d0 = table[indices[first + j]]
        s0 = np.float32(0.0)
        for c in range(width):
            s0 += d0[c] * x[c]
        if weighted:
            s0 *= weights[first_weight + j]
        for c in range(width):
            out[c] += s0 * d0[c]
        j += 1
