# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Least squares of one row after another, a block of coordinates at a time."""

import numpy as np

from eckart.kernels.blas import add_gram
from eckart.kernels.cholesky import backward, factored, forward
from eckart.kernels.compiled import Kernel, inner
from eckart.kernels.gathered import (
    add_combination,
    clear,
    dots,
    gather,
    subtract_from_targets,
    weighed_squares,
)


@inner
def copy_block(kept, first, count, left, width, weights, out):
    """Copy some columns of the first rows of `kept`, times the roots of the weights."""
    for j in range(count):
        source, row = kept[j], out[j]
        root = np.sqrt(weights[first + j]) if weights.shape[0] > 0 else np.float32(1.0)
        for c in range(width):
            row[c] = root * source[left + c]


@Kernel
def block_rows(first, last, block, kept_rows, known, diagonal, ridge, linear, X, losses):
    """For each row, solve for one block of x after another while the others are held fixed."""
    width = X.shape[1]
    starts, indices, targets, weights, offsets, mean, table = known
    kept, said = np.empty((kept_rows, width), np.float32), np.empty(kept_rows, np.float32)
    for row in range(first, last):
        begin, end, x = starts[row], starts[row + 1], X[row]
        decrease = np.float32(0.0)
        loss = 0.0
        for c in range(width):
            loss += (diagonal[c] + ridge[row]) * x[c] * x[c]
            if linear.shape[0] > 0:
                loss -= 2 * linear[row, c] * x[c]
        for left in range(0, width, block):
            size = min(block, width - left)
            H, step = np.empty((size, size), np.float32), np.empty(size, np.float32)
            for i in range(size):
                clear(H[i])
                H[i, i] = diagonal[left + i] + ridge[row]
                step[i] = -H[i, i] * x[left + i]
                if linear.shape[0] > 0:
                    step[i] += linear[row, left + i]
            for start in range(begin, end, kept_rows):
                count = min(kept_rows, end - start)
                if left == 0 or end - begin > kept_rows:
                    gather(kept, table, indices, start, count)
                dots(kept, count, x, said)
                subtract_from_targets(start, count, indices, targets, offsets, mean, said)
                squared = weighed_squares(start, count, weights, said)
                if left == 0:
                    loss += squared
                small = np.empty((count, size), np.float32)
                copy_block(kept, start, count, left, size, weights, small)
                add_gram(small, count, H)
                if weights.shape[0] > 0:
                    for j in range(count):
                        w = weights[start + j]
                        said[j] /= np.sqrt(w) if w > 0 else np.float32(1.0)
                add_combination(small, count, said, step)
            decrease = np.float32(0.0)
            factored(H)
            forward(H, step)
            for i in range(size):
                decrease += step[i] * step[i]
            backward(H, step)
            for i in range(size):
                x[left + i] += step[i]
            loss -= decrease
        losses[row] = loss
