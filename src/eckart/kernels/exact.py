# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Least squares of one row after another by Cholesky's factorisation."""

import numpy as np

from eckart.kernels.blas import add_gram, outer_gram
from eckart.kernels.cholesky import backward, factored, forward
from eckart.kernels.compiled import Kernel, inner
from eckart.kernels.gathered import (
    add_combination,
    clear,
    copy_with_ridge,
    dots,
    gather,
    scale_rows,
    subtract_from_targets,
    weighed_squares,
)

AT_ONCE = 256


@inner
def assembled(begin, end, known, gram, ridge, H, right, kept, shares):
    """H = gram + ridge + Σ w·DᵀD and right += Σ w·t·D; returns Σ w·t²."""
    _, indices, targets, weights, offsets, mean, table = known
    copy_with_ridge(gram, ridge, H)
    total = 0.0
    for first in range(begin, end, kept.shape[0]):
        count = min(kept.shape[0], end - first)
        gather(kept, table, indices, first, count)
        clear(shares[:count])
        subtract_from_targets(first, count, indices, targets, offsets, mean, shares)
        total += weighed_squares(first, count, weights, shares)
        add_combination(kept, count, shares, right)
        scale_rows(kept, first, count, weights)
        add_gram(kept, count, H)
    return total


@inner
def solved_by_entries(begin, end, known, inverse, root, x, kept, shares, left):
    """X = inverse·x + z, where z solves the rest as a system with one unknown for each entry.

    With F = √w·D·root and root² = inverse the least squares problem for z is solved by
    root·Fᵀ(FFᵀ + 1)⁻¹√w(t − Dx), whose matrix is small where there are few entries.

    Returns:
        The value of the problem: √w(t − Dx)ᵀ(FFᵀ + 1)⁻¹√w(t − Dx) − ⟨linear, inverse·linear⟩.
    """
    _, indices, targets, weights, offsets, mean, table = known
    count, value = end - begin, 0.0
    for c in range(x.shape[0]):
        linear = x[c]
        x[c] *= inverse[c]
        value -= linear * x[c]
    if count == 0:
        return value
    gather(kept, table, indices, begin, count)
    dots(kept, count, x, shares)
    subtract_from_targets(begin, count, indices, targets, offsets, mean, shares)
    for j in range(count):
        w = np.sqrt(weights[begin + j]) if weights.shape[0] > 0 else np.float32(1.0)
        shares[j] *= w
        left[j] = shares[j]
        row = kept[j]
        for c in range(x.shape[0]):
            row[c] *= w * root[c]
    small = np.empty((count, count), np.float32)
    outer_gram(kept, count, small)
    for j in range(count):
        small[j, j] += np.float32(1.0)
    factored(small)
    forward(small, shares[:count])
    backward(small, shares[:count])
    for j in range(count):
        value += left[j] * shares[j]
    clear(left[: x.shape[0]])
    add_combination(kept, count, shares, left[: x.shape[0]])
    for c in range(x.shape[0]):
        x[c] += root[c] * left[c]
    return value


@Kernel
def exact_rows(first, last, diagonal, known, gram, ridge, linear, X, losses):
    """For each row, the x that minimises Σ w(t − Dx)² + xᵀ(gram + ridge)x − 2·linear·x.

    Where the gram is known to be `diagonal`, a row with few entries has a system of their number.
    X holds the solution; `losses` the value that is reached.
    """
    width = X.shape[1]
    starts = known[0]
    H, right = np.empty((width, width), np.float32), np.empty(width, np.float32)
    inverse, root = np.empty(width, np.float32), np.empty(width, np.float32)
    longest = max(AT_ONCE, width)
    kept, shares = np.empty((longest, width), np.float32), np.empty(longest, np.float32)
    left = np.empty(longest, np.float32)
    for row in range(first, last):
        begin, end = starts[row], starts[row + 1]
        x = X[row]
        clear(x)
        if linear.shape[0] > 0:
            for c in range(width):
                x[c] = linear[row, c]
        if diagonal and 4 * (end - begin) <= 3 * width:
            for c in range(width):
                inverse[c] = np.float32(1.0) / (gram[c, c] + ridge[row])
                root[c] = np.sqrt(inverse[c])
            losses[row] = solved_by_entries(begin, end, known, inverse, root, x, kept, shares, left)
        else:
            loss = assembled(begin, end, known, gram, ridge[row], H, x, kept, shares)
            for c in range(width):
                right[c] = x[c]
            factored(H)
            forward(H, x)
            backward(H, x)
            for c in range(width):
                loss -= right[c] * x[c]
            losses[row] = loss
