"""Least squares of one row after another by preconditioned conjugate gradients."""

import numpy as np

from eckart.kernels.compiled import Kernel
from eckart.kernels.gathered import add_curvature, add_residuals


@Kernel
def conjugate_rows(
    first, last, steps, kept_rows,
    starts, indices, targets, weights, offsets, mean, table, diagonal, ridge, linear, X, losses,
):
    """For each row, steps towards the x that minimises Σ w(t − Dx)² + xᵀ(diagonal + ridge)x − 2·linear·x.

    X holds where each begins and where it ends; `losses` what is left of the minimum's value.
    """
    width = X.shape[1]
    kept = np.empty((kept_rows, width), np.float32)
    own = np.arange(kept_rows).astype(indices.dtype)
    residual, search = np.empty(width, np.float32), np.empty(width, np.float32)
    product, inverse = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(first, last):
        begin, end = starts[row], starts[row + 1]
        count = end - begin
        x = X[row]
        loss = 0.0
        for c in range(width):
            inverse[c] = diagonal[c] + ridge[row]
            residual[c] = -inverse[c] * x[c]
            loss += x[c] * x[c] * inverse[c]
            if linear.shape[0] > 0:
                residual[c] += linear[row, c]
                loss -= 2 * x[c] * linear[row, c]
        loss += add_residuals(
            begin, end, indices, targets, weights, offsets, mean, table, x, residual, inverse, kept
        )
        along = np.float32(0.0)
        for c in range(width):
            inverse[c] = np.float32(1.0) / inverse[c]
            search[c] = inverse[c] * residual[c]
            along += residual[c] * search[c]
        for _ in range(steps):
            if along <= np.float32(1e-30):
                break
            for c in range(width):
                product[c] = (diagonal[c] + ridge[row]) * search[c]
            if count <= kept_rows:
                add_curvature(count, own, 0, weights, begin, kept, search, product)
            else:
                add_curvature(count, indices, begin, weights, begin, table, search, product)
            curvature = np.float32(0.0)
            for c in range(width):
                curvature += search[c] * product[c]
            size = along / curvature
            before, along = along, np.float32(0.0)
            for c in range(width):
                x[c] += size * search[c]
                residual[c] -= size * product[c]
                along += residual[c] * residual[c] * inverse[c]
            loss -= size * before
            share = along / before
            for c in range(width):
                search[c] = inverse[c] * residual[c] + share * search[c]
        losses[row] = loss
