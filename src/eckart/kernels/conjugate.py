# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Least squares of one row after another by preconditioned conjugate gradients."""

import numpy as np

from eckart.kernels.compiled import Kernel, inner
from eckart.kernels.gathered import (
    add_combination,
    dots,
    gather,
    subtract_from_targets,
    total_weight,
    weigh,
    weighed_squares,
)


@inner
def add_residuals(begin, end, known, x, residual, kept, shares):
    """Residual += Dᵀ w(t − Dx); returns Σ w (t − Dx)²."""
    _, indices, targets, weights, offsets, mean, table = known
    total = np.float32(0.0)
    for first in range(begin, end, kept.shape[0]):
        count = min(kept.shape[0], end - first)
        gather(kept, table, indices, first, count)
        dots(kept, count, x, shares)
        subtract_from_targets(first, count, indices, targets, offsets, mean, shares)
        total += weighed_squares(first, count, weights, shares)
        add_combination(kept, count, shares, residual)
    return total


@inner
def add_curvature(begin, end, known, x, product, kept, shares):
    """Product += Dᵀ w(Dx); where all rows fit in `kept` they are there already."""
    _, indices, _, weights, _, _, table = known
    for first in range(begin, end, kept.shape[0]):
        count = min(kept.shape[0], end - first)
        if end - begin > kept.shape[0]:
            gather(kept, table, indices, first, count)
        dots(kept, count, x, shares)
        weigh(first, count, weights, shares)
        add_combination(kept, count, shares, product)


@Kernel
def conjugate_rows(
    first, last, steps, kept_rows, known, diagonal, typical, ridge, linear, X, losses
):
    """For each row, steps to the least Σ w(t − Dx)² + xᵀ(diagonal + ridge)x − 2·linear·x.

    Preconditioned by what the diagonal of the system would be if all its D were typical: the mean
    of D² over all entries. X holds where each begins and where it ends; `losses` the value there.
    """
    width = X.shape[1]
    starts = known[0]
    kept, shares = np.empty((kept_rows, width), np.float32), np.empty(kept_rows, np.float32)
    residual, search = np.empty(width, np.float32), np.empty(width, np.float32)
    product, inverse = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(first, last):
        begin, end = starts[row], starts[row + 1]
        x = X[row]
        loss = 0.0
        for c in range(width):
            inverse[c] = diagonal[c] + ridge[row]
            residual[c] = -inverse[c] * x[c]
            loss -= x[c] * residual[c]
        if linear.shape[0] > 0:
            for c in range(width):
                residual[c] += linear[row, c]
                loss -= 2 * x[c] * linear[row, c]
        loss += add_residuals(begin, end, known, x, residual, kept, shares)
        along, weight = np.float32(0.0), total_weight(begin, end, known[3])
        for c in range(width):
            inverse[c] = np.float32(1.0) / (inverse[c] + weight * typical[c])
            search[c] = inverse[c] * residual[c]
            along += residual[c] * search[c]
        for _ in range(steps):
            if along <= np.float32(1e-30):
                break
            for c in range(width):
                product[c] = (diagonal[c] + ridge[row]) * search[c]
            add_curvature(begin, end, known, search, product, kept, shares)
            curvature = np.float32(0.0)
            for c in range(width):
                curvature += search[c] * product[c]
            size, before = along / curvature, along
            along = np.float32(0.0)
            for c in range(width):
                x[c] += size * search[c]
                residual[c] -= size * product[c]
                along += residual[c] * residual[c] * inverse[c]
            loss -= size * before
            share = along / before
            for c in range(width):
                search[c] = inverse[c] * residual[c] + share * search[c]
        losses[row] = loss
