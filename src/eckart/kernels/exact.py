"""Least squares of one row after another by Cholesky's factorisation."""

import numpy as np

from eckart.kernels.compiled import Kernel, inner
from eckart.kernels.gathered import target


@inner
def factored(H):
    """H = L·Lᵀ in place, L below the diagonal; a pivot that rounding made too small is lifted."""
    size = H.shape[0]
    for i in range(size):
        for j in range(i):
            total = np.float32(0.0)
            for c in range(j):
                total += H[i, c] * H[j, c]
            H[i, j] = (H[i, j] - total) / H[j, j]
        total = np.float32(0.0)
        for c in range(i):
            total += H[i, c] * H[i, c]
        H[i, i] = np.sqrt(max(H[i, i] - total, np.float32(1e-6) * H[i, i]))


@inner
def forward(L, x):
    """x ← L⁻¹x."""
    for i in range(L.shape[0]):
        total = np.float32(0.0)
        for c in range(i):
            total += L[i, c] * x[c]
        x[i] = (x[i] - total) / L[i, i]


@inner
def backward(L, x):
    """x ← L⁻ᵀx."""
    for i in range(L.shape[0] - 1, -1, -1):
        value = x[i] / L[i, i]
        x[i] = value
        for c in range(i):
            x[c] -= value * L[i, c]


@Kernel
def exact_rows(
    first, last,
    starts, indices, targets, weights, offsets, mean, table, gram, ridge, linear, X, losses,
):
    """For each row, the x that minimises Σ w(t − Dx)² + xᵀ(gram + ridge)x − 2·linear·x."""
    width = X.shape[1]
    H, right = np.empty((width, width), np.float32), np.empty(width, np.float32)
    for row in range(first, last):
        H[:, :] = gram
        for c in range(width):
            H[c, c] += ridge[row]
            right[c] = linear[row, c] if linear.shape[0] > 0 else np.float32(0.0)
        loss = 0.0
        for entry in range(starts[row], starts[row + 1]):
            d = table[indices[entry]]
            w = weights[entry] if weights.shape[0] > 0 else np.float32(1.0)
            t = target(entry, indices[entry], targets, offsets, mean)
            loss += w * t * t
            for i in range(width):
                right[i] += w * t * d[i]
                scaled = w * d[i]
                for j in range(i + 1):
                    H[i, j] += scaled * d[j]
        X[row, :] = right
        factored(H)
        forward(H, X[row])
        backward(H, X[row])
        for c in range(width):
            loss -= right[c] * X[row, c]
        losses[row] = loss
