# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Cholesky factorisations and dense products for the equations of one row, by BLAS."""

from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
from numba import types
from numba.extending import get_cython_function_address

from eckart.completion.kernels.compiled import inner

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
def factored(H):
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
