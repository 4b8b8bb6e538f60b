# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Products with the factor rows that the entries of one row refer to."""

import numpy as np

from eckart.completion.kernels.compiled import Kernel, inner


@inner
def gather(kept, table, indices, first, count):
    """Copy the rows indices[first : first + count] of the table to the top of `kept`."""
    for j in range(count):
        source, to = table[indices[first + j]], kept[j]
        for c in range(kept.shape[1]):
            to[c] = source[c]


@inner
def dots(kept, count, x, out):
    """Out ← the products of the first rows of `kept` with x."""
    j = 0
    while j + 4 <= count:  # four rows at a time are as fast as BLAS, without the cost of a call
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
    """Y += Σ shares·kept, summed over the first rows of `kept`."""
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
    """Target of the factors at an entry: its value less mean and offset, which are held fixed."""
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
    """Said ← t − said for `count` entries from `first` on."""
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
    """The sum of the weights of the entries from `begin` to `end`."""
    if weights.shape[0] == 0:
        return np.float32(end - begin)
    total = np.float32(0.0)
    for entry in range(begin, end):
        total += weights[entry]
    return total


@inner
def scale_rows(kept, first, count, weights):
    """Multiply each of the first rows of `kept` by the root of the weight of its entry."""
    if weights.shape[0] > 0:
        for j in range(count):
            row, root = kept[j], np.sqrt(weights[first + j])
            for c in range(kept.shape[1]):
                row[c] *= root


@inner
def clear(x):
    """X ← 0, by a loop: an assignment of slices would take Numba seconds to compile."""
    for c in range(x.shape[0]):
        x[c] = np.float32(0.0)


@inner
def copy_with_ridge(gram, ridge, H):
    """H ← gram, with the ridge added to the diagonal."""
    for i in range(H.shape[0]):
        row, source = H[i], gram[i]
        for c in range(H.shape[1]):
            row[c] = source[c]
        row[i] += ridge


@Kernel
def squared_errors(
    first, last, starts, indices, targets, weights, offsets, mean, table, X, own, sums, squares
):
    """Sums ← Σ w(t − mean − own − offset − ⟨x, D⟩)² of each row, and squares ← Σ w t²."""
    width = X.shape[1]
    for row in range(first, last):
        # float64: a row may have a million entries
        total, square = 0.0, 0.0
        for entry in range(starts[row], starts[row + 1]):
            column = indices[entry]
            said = np.float32(0.0)
            d, x = table[column], X[row]
            for c in range(width):
                said += d[c] * x[c]
            left = target(entry, column, targets, offsets, mean) - own[row] - said
            given = targets[entry] if targets.shape[0] > 0 else np.float32(1.0)
            w = weights[entry] if weights.shape[0] > 0 else np.float32(1.0)
            total += w * left * left
            square += w * given * given
        sums[row], squares[row] = total, square
