# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Cholesky's factorisation of small matrices, in blocks."""

import numpy as np

from eckart.kernels.blas import subtract_product
from eckart.kernels.compiled import inner

BLOCK = 32


@inner
def factored(H):
    """H = RᵀR in place, R on the diagonal and right of it; a pivot that rounding took is lifted.

    Block by block of rows: what the rows above it explain is subtracted by one product, then what
    the rows of the block explain of one another, along whole rows.

    Reference:
        Golub, Van Loan (2013), Matrix Computations, section 4.2.6.
    """
    size = H.shape[0]
    for first in range(0, size, BLOCK):
        last = min(first + BLOCK, size)
        if first > 0:
            subtract_product(H[:first, first:last], H[:first, first:], H[first:last, first:])
        for j in range(first, last):
            row = H[j, j:]
            diagonal = abs(row[0])
            c = first
            while c + 4 <= j:
                s0, s1, s2, s3 = H[c, j], H[c + 1, j], H[c + 2, j], H[c + 3, j]
                d0, d1, d2, d3 = H[c, j:], H[c + 1, j:], H[c + 2, j:], H[c + 3, j:]
                for i in range(row.shape[0]):
                    row[i] -= s0 * d0[i] + s1 * d1[i] + s2 * d2[i] + s3 * d3[i]
                c += 4
            while c < j:
                s0, d0 = H[c, j], H[c, j:]
                for i in range(row.shape[0]):
                    row[i] -= s0 * d0[i]
                c += 1
            pivot = np.sqrt(max(row[0], np.float32(1e-6) * diagonal + np.float32(1e-30)))
            share = np.float32(1.0) / pivot
            for i in range(row.shape[0]):
                row[i] *= share
            row[0] = pivot


@inner
def forward(R, x):
    """X ← R⁻ᵀx."""
    for c in range(R.shape[0]):
        row = R[c]
        value = x[c] / row[c]
        x[c] = value
        for i in range(c + 1, R.shape[0]):
            x[i] -= value * row[i]


@inner
def backward(R, x):
    """X ← R⁻¹x."""
    for i in range(R.shape[0] - 1, -1, -1):
        row, total = R[i], np.float32(0.0)
        for c in range(i + 1, R.shape[0]):
            total += row[c] * x[c]
        x[i] = (x[i] - total) / row[i]
