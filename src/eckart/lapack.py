"""Decompositions of dense arrays by LAPACK, with the fallbacks and the scaling they need."""

import numpy as np
import scipy.linalg

from eckart.arrays import Array


def svd(X: Array) -> tuple[Array, Array, Array]:
    """The reduced singular value decomposition X = U·S·Vt, by divide and conquer.

    Falls back on the slower QR iteration where divide and conquer does not converge.

    Example:
        >>> U, S, Vt = svd(np.diag([3.0, 2.0]))
        >>> S
        array([3., 2.])
    """
    try:
        U, S, Vt = scipy.linalg.svd(X, full_matrices=False, check_finite=False)
    except scipy.linalg.LinAlgError:
        U, S, Vt = scipy.linalg.svd(
            X, full_matrices=False, check_finite=False, lapack_driver="gesvd"
        )
    return U, S, Vt


def scaled(W: Array) -> tuple[Array, int]:
    """W·2^−exponent with a largest entry near 1, so that no square in LAPACK over- or underflows.

    Multiplying by a power of two changes no digit.

    Example:
        >>> scaled(np.array([[6.0]]))
        (array([[0.75]]), 3)
    """
    exponent = int(np.frexp(np.abs(W).max(initial=0.0))[1])
    return np.ldexp(W, -exponent), exponent


def singular_values(W: Array) -> Array:
    """All singular values of W, descending, in float64 whatever the dtype of W.

    Cost:
        About 8/3·rows·columns·min operations; memory 2 × rows × columns in float64.

    Example:
        >>> singular_values(np.array([[0.0, 2.0], [3.0, 0.0]]))
        array([3., 2.])
    """
    near_one, exponent = scaled(W.astype(np.float64, copy=False))
    try:
        values = np.linalg.svd(near_one, compute_uv=False)
    except np.linalg.LinAlgError:
        values = svd(near_one)[1]
    return np.ldexp(values, exponent)
