# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
"""Products of small matrices by the BLAS that SciPy brings, callable from a kernel.

The routines are found by name when compiled code is loaded, so that it can be kept on disk. All
arrays are in C order; to BLAS they are their transposes.
"""

from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
from numba import types
from numba.extending import get_cython_function_address

from eckart.kernels.compiled import inner

CHARACTER: Final = types.CPointer(types.uint8)
WHOLE: Final = types.CPointer(types.int32)
REAL: Final = types.CPointer(types.float32)
LETTERS: Final = np.frombuffer(b"NTUL", np.uint8).copy()


def _routine(name: str, *arguments: Any) -> Any:
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
    """H += DᵀD of the first `count` rows of D, on the diagonal and right of it."""
    sizes = np.array([D.shape[1], count, D.strides[0] // 4, H.strides[0] // 4], np.int32)
    one = np.ones(1, np.float32)
    _ssyrk(
        LETTERS[3:].ctypes, LETTERS.ctypes, sizes.ctypes, sizes[1:].ctypes, one.ctypes,
        D.ctypes, sizes[2:].ctypes, one.ctypes, H.ctypes, sizes[3:].ctypes,
    )  # fmt: skip


@inner
def outer_gram(D, count, H):
    """H = DDᵀ of the first `count` rows of D, on the diagonal and right of it."""
    sizes = np.array([count, D.shape[1], D.strides[0] // 4, H.strides[0] // 4], np.int32)
    scales = np.array([1.0, 0.0], np.float32)
    _ssyrk(
        LETTERS[3:].ctypes, LETTERS[1:].ctypes, sizes.ctypes, sizes[1:].ctypes, scales.ctypes,
        D.ctypes, sizes[2:].ctypes, scales[1:].ctypes, H.ctypes, sizes[3:].ctypes,
    )  # fmt: skip


@inner
def subtract_product(P, Q, out):
    """Out −= PᵀQ; the three may be parts of larger arrays, the columns of each side by side."""
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
