"""The only file with tolerance numbers, each derived.

Rounding: a backward stable computation with a (rows, columns) matrix has a normwise error of
at most p·eps·‖W‖ with a modestly growing p (LAPACK Users' Guide, section 4.9). p = 64 + √max(rows,
columns) is what `eckart.arrays.rounding` promises, so it is what the tests hold it to. A chain of k
such computations has k times that.
"""

import numpy as np

SQUARE_ROOT_OF_EPS = 2.0**-26
"""What the difference of two equal squares can show in float64."""


def rounding(W: np.ndarray, chain: int = 1, dtype: object = None) -> float:
    """Absolute normwise tolerance for `chain` stable computations with W."""
    eps = float(np.finfo(dtype or (W.dtype if W.dtype.kind == "f" else np.float64)).eps)
    return chain * (64 + np.sqrt(max(W.shape))) * eps * float(np.linalg.norm(W.astype(np.float64)))


def close(X: np.ndarray, Y: np.ndarray, tolerance: float) -> bool:
    """Whether ‖X − Y‖ is within a tolerance."""
    if X.shape != Y.shape:
        return False
    return float(np.linalg.norm(X.astype(np.float64) - Y.astype(np.float64))) <= tolerance
