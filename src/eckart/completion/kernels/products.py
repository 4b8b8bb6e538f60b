# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Products, errors and gradient steps with the factor rows that entries refer to, and BLAS."""

from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
from numba import types
from numba.extending import get_cython_function_address

from eckart.completion.kernels import Kernel, inner

CHARACTER: Final = types.CPointer(types.uint8)
WHOLE: Final = types.CPointer(types.int32)
REAL: Final = types.CPointer(types.float32)
LETTERS: Final = np.frombuffer(b"NTUL", np.uint8).copy()
"""Options of BLAS, passed by address: no transpose, transpose, upper, lower. BLAS reads columns
first, so the lower triangle there is the upper one of our rows."""


def _routine(name: str, *arguments: Any) -> Any:
    # by name and not by address, so that the compiled code stays valid in the next process
    symbol = f"eckart_{name}"
    llvm.add_symbol(symbol, get_cython_function_address("scipy.linalg.cython_blas", name))
    return types.ExternalFunction(symbol, types.void(*arguments))


_ssyrk = _routine("ssyrk", CHARACTER, CHARACTER, WHOLE, WHOLE, REAL, REAL, WHOLE, REAL, REAL, WHOLE)


_sgemm = _routine(
    "sgemm",
    CHARACTER, CHARACTER, WHOLE, WHOLE, WHOLE, REAL, REAL, WHOLE, REAL, WHOLE, REAL, REAL, WHOLE,
)  # fmt: skip


@inner
def add_gram(D, count, H):
    """H += DᵀD for the first `count` rows of D, in the upper triangle only."""
    sizes = np.array([D.shape[1], count, D.strides[0] // 4, H.strides[0] // 4], np.int32)
    one = np.ones(1, np.float32)
    _ssyrk(
        LETTERS[3:].ctypes, LETTERS.ctypes, sizes.ctypes, sizes[1:].ctypes, one.ctypes,
        D.ctypes, sizes[2:].ctypes, one.ctypes, H.ctypes, sizes[3:].ctypes,
    )  # fmt: skip


@inner
def outer_gram(D, count, H):
    """H = DDᵀ for the first `count` rows of D, in the upper triangle only."""
    sizes = np.array([count, D.shape[1], D.strides[0] // 4, H.strides[0] // 4], np.int32)
    scales = np.array([1.0, 0.0], np.float32)
    _ssyrk(
        LETTERS[3:].ctypes, LETTERS[1:].ctypes, sizes.ctypes, sizes[1:].ctypes, scales.ctypes,
        D.ctypes, sizes[2:].ctypes, scales[1:].ctypes, H.ctypes, sizes[3:].ctypes,
    )  # fmt: skip


@inner
def subtract_product(P, Q, out):
    """Out −= PᵀQ; the three may be parts of larger arrays with contiguous rows."""
    sizes = np.array(
        [
            Q.shape[1],
            P.shape[1],
            P.shape[0],
            Q.strides[0] // 4,
            P.strides[0] // 4,
            out.strides[0] // 4,
        ],
        np.int32,
    )
    scales = np.array([-1.0, 1.0], np.float32)
    _sgemm(
        LETTERS.ctypes, LETTERS[1:].ctypes, sizes.ctypes, sizes[1:].ctypes, sizes[2:].ctypes,
        scales.ctypes, Q.ctypes, sizes[3:].ctypes, P.ctypes, sizes[4:].ctypes,
        scales[1:].ctypes, out.ctypes, sizes[5:].ctypes,
    )  # fmt: skip


BLOCK = 32
"""Rows of a block in the Cholesky factorisation: docs/decisions/0013-kernels.md has the timing."""


@inner
def factor(H):
    """Factor H = RᵀR in place, R in the upper triangle; pivots lost to rounding are raised.

    It proceeds by blocks of rows: one product subtracts the contribution of all rows above the
    block, and then loops along whole rows subtract those of the rows within the block.

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
            # four rows at a time: `row` is read and written once for all of them
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
            # the least pivot relative to the diagonal, and above 0 if that is 0
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
        # a loop of its own: a sum beside a store is added up in another order where the compiled
        # code cannot see that the arrays lie apart, which depends on where in memory they lie
        for j in range(count):
            total += weights[first + j] * left[j] * left[j]
        for j in range(count):
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


@Kernel
def descend(order, rows, columns, values, weights, mean, rate, row_decay, column_decay, lift, B, A):
    """One pass over the entries in a given order; a bias is the last number in a row of B or A.

    Biases decay `lift` times as fast as factors. The prediction is the mean, plus both biases, plus
    the inner product of the other numbers.
    """
    width = B.shape[1] - 1
    one = np.float32(1)
    for step in range(order.shape[0]):
        entry = order[step]
        b, a = B[rows[entry]], A[columns[entry]]
        said = mean + b[width] + a[width]
        for c in range(width):
            said += b[c] * a[c]
        left = values[entry] - said
        if weights.shape[0] > 0:
            left *= weights[entry]
        move = rate * left
        down, across = rate * row_decay[rows[entry]], rate * column_decay[columns[entry]]
        # an implicit step for the penalty, which is stable for any λ
        keep_b, keep_a = one / (one + down), one / (one + across)
        for c in range(width):
            # both factors move from their old values
            old = b[c]
            b[c] = (old + move * a[c]) * keep_b
            a[c] = (a[c] + move * old) * keep_a
        b[width] = (b[width] + move) / (one + lift * down)
        a[width] = (a[width] + move) / (one + lift * across)
