"""The only file with tolerance numbers, each derived; `test_tolerances.py` sees to that.

Rounding: a backward stable computation with a (rows, columns) matrix has a normwise error of
at most p·eps·‖W‖ with a modestly growing p (LAPACK Users' Guide, section 4.9). p = 64 + √max(rows,
columns) is what `eckart.arrays.rounding` promises, so it is what the tests hold it to. A chain of k
such computations has k times that.
"""

import numpy as np

SQUARE_ROOT_OF_EPS = 2.0**-26
"""What the difference of two equal squares can show in float64."""

SETTLED = 1e-3
"""The share of the optimum within which a run is good where no accuracy was asked for (design)."""

FAR = 1.005
"""Of the optimum: issue 14 allows no error above it, beside rounding, whatever the spectrum."""

SURELY = 1.01
"""Of the optimum: no answer above it may call itself a success."""

SUM_OF_256 = 8.0
"""In eps: a sum of 256 in pairs or in lanes has a depth of at most 8 + 1 additions, each wrong by
half an eps, twice that with the squares."""

CONVERGED = 1e-6
"""The share of the loss that a converged run may still have gained in its last fifth; one of the
error is half that, so two runs that stop at different roundings agree to this share of it."""

EXPANDED = 1e-6
"""Six digits: to which the expanded form of the error of a sparse matrix is promised."""

POWER_ITERATION = 0.9
"""σ̂₁/σ₁ after q = 7 powers of WᵀW is at least (cos²θ)^(1/4q), where θ is the angle between the
leading direction and the six random ones: cos²θ is 6/30 on average here, and 0.9²⁸ = 0.05."""

CHOSEN_RATE = 1e-6
"""σ̂₁ of a diagonal 2 × 2 matrix, where six columns span everything, is σ₁ to float64; 6 digits."""

LOGITS = 1e-5
"""Of logits of tiny models in float32 whose weights agree to rounding: 20 roundings of eps in a
row, and attention may enlarge each a few times."""

ADAPTER_ERROR = 1e-4
"""Of the error of stored factors in float32: it is measured to one part in 10⁴."""
MEASURED = 1e-4
"""To which `residual_norm` is promised for a float32 W."""

MERGED = 4.0
"""In eps of the dtype of a merged weight, relative to its norm: PEFT rounds the change and then the
sum, we the sum alone; each rounding is half an eps, and the size of the change may be twice that of
the sum."""

FLOAT32_SOLUTION = 2e-4
"""Of scores of a recommender in float32: normal equations with a condition of about 10², each
rounded to 6·10⁻⁸, and sums of up to a hundred terms."""


def summation(terms: int) -> float:
    """Relative error of a plain sum of positive numbers, one after the other (Higham, 4.2)."""
    return terms * float(np.finfo(np.float64).eps)


def rounding(W: np.ndarray, chain: int = 1, dtype: object = None) -> float:
    """Absolute normwise tolerance for `chain` stable computations with W."""
    eps = float(np.finfo(dtype or (W.dtype if W.dtype.kind == "f" else np.float64)).eps)
    return chain * (64 + np.sqrt(max(W.shape))) * eps * float(np.linalg.norm(W.astype(np.float64)))


def hidden(W: np.ndarray) -> float:
    """What rounding may hide of a squared error that is known from squares: 32·eps·‖W‖²."""
    exact = W.astype(np.float64)
    return 32 * float(np.finfo(W.dtype).eps) * float(np.vdot(exact, exact))


def close(X: np.ndarray, Y: np.ndarray, tolerance: float) -> bool:
    """Whether ‖X − Y‖ is within a tolerance."""
    if X.shape != Y.shape:
        return False
    return float(np.linalg.norm(X.astype(np.float64) - Y.astype(np.float64))) <= tolerance


def agree(x: object, y: object, share: float = 0.0) -> bool:
    """Whether numbers agree one by one, to a share of the larger or to the rounding of float64.

    For sums of positive terms and for functions of one number, whose rounding is relative to each:
    65 is the p of a 1 × 1 matrix.
    """
    left, right = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if left.shape != right.shape:
        return False
    share = max(share, 65 * float(np.finfo(np.float64).eps))
    return bool((np.abs(left - right) <= share * np.maximum(np.abs(left), np.abs(right))).all())


SQUARED = 1e-7
"""Of what is found through squares: a relative error of √eps·(64 + √60) at most, in values as in
angles between directions whose σ differ by a tenth."""
SIX_DIGITS = 1e-6
"""Issue 6: the same explained variance as a full decomposition to six digits."""


def solved(H: np.ndarray, x: np.ndarray, chain: int = 1) -> float:
    """Of the solution x of Hx = b in float32: p·eps·cond(H)·‖x‖ (LAPACK Users' Guide, 4.3)."""
    eps = float(np.finfo(np.float32).eps)
    return (
        chain * (64 + np.sqrt(len(H))) * eps * float(np.linalg.cond(H)) * float(np.linalg.norm(x))
    )


def summed(terms: int, size: float) -> float:
    """Of a sum in float32 of so many terms whose sizes add up to `size`."""
    return (64 + np.sqrt(terms)) * float(np.finfo(np.float32).eps) * size


SPREAD = 0.1
"""Of the standard deviation of 2000 standardised errors: five of its standard errors 1/√(2·2000)
are 0.08, and the draws that the mean is of add their own."""

DUAL = 1e-3
"""Of a regularised optimum, to which alternating least squares comes in 400 sweeps in float32."""

GAPS = 1e-3
"""Of what entries hidden in a table are known to: fits and folding in are in float32, stop once a
fifth of the sweeps gained a millionth of the loss, 10⁻³ in the error, and have condition ten."""

TURNED_ROWS = 1e-5
"""Orthonormal rows from factors in float32: a hundred roundings."""

SCALED_FIT = 1e-5
"""Of what is fitted in float32 around gaps: scaled by a power of two the fits are the same bits,
but means and values are rounded in float64 first."""

ONE_CELL = 0.02
"""Of variances of 150 rows, one cell of which is missing: 1/600 of what they are made of, and ten
times as much of the least of them."""
