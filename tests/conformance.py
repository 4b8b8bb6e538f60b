"""The matrices that other programs for low-rank approximation are tested with, by their sources.

Each is a function without arguments. Sizes are smaller than there; what makes them hard is kept.
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse

import market

ROWS, COLUMNS = 260, 200
PLACES = np.arange(1, COLUMNS + 1)
GENERATOR_SEED = 7


def _spectrum(values: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: market.with_spectrum(values, ROWS, COLUMNS)


def _normal(rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    return np.random.default_rng(GENERATOR_SEED).standard_normal((rows, columns))


def _stairs() -> np.ndarray:
    """Clusters of 30, each 10^0.6 below the last."""
    return 10.0 ** (-0.6 * ((PLACES - 1) // 30))


def _step() -> np.ndarray:
    """Four levels."""
    return np.repeat([1.0, 0.1, 0.01, 1e-3], COLUMNS // 4)


def _spiked() -> np.ndarray:
    """Gaussian, with a few rows a thousand times as long as the others."""
    W = _normal()
    W[:: ROWS // 5] *= 1000.0
    return W


def _kahan(sine: float = 0.285) -> np.ndarray:
    """Kahan's upper triangular matrix, on which pivoted QR misjudges the smallest directions."""
    cosine = np.sqrt(1 - sine**2)
    powers = sine ** np.arange(COLUMNS)
    return powers[:, np.newaxis] * (
        np.eye(COLUMNS) - cosine * np.triu(np.ones((COLUMNS, COLUMNS)), 1)
    )


def _ill_conditioned_gram() -> np.ndarray:
    """Columns so nearly dependent that a plain Cholesky QR breaks down."""
    W = _normal(ROWS, 1) + 1e-9 * _normal()
    W[:, ::10] *= 1e5
    return W


def _low_rank_and_noise(size: float) -> Callable[[], np.ndarray]:
    """Five equal singular values, and symmetric-like noise of a given size."""
    values = np.where(PLACES <= 5, 1.0, 0.0)
    return lambda: market.with_spectrum(values, ROWS, COLUMNS) + size * _normal() / np.sqrt(ROWS)


def _close() -> np.ndarray:
    """Two values at the rank that differ in the fourth digit."""
    values = 1.0 / PLACES
    values[10] = values[9] * (1 - 1e-4)
    return values


def _sklearn_tail(strength: float) -> np.ndarray:
    """`make_low_rank_matrix` with an effective rank of 5."""
    places = np.arange(COLUMNS)
    low, tail = np.exp(-((places / 5.0) ** 2)), np.exp(-0.1 * places / 5.0)
    return (1 - strength) * low + strength * tail


def _with_a_zero_tail() -> np.ndarray:
    """graphtools issue 58: slowly falling from 500 to 250, then nothing."""
    return np.where(PLACES <= 150, np.linspace(500.0, 250.0, COLUMNS), 0.0)


MATRICES: dict[str, Callable[[], np.ndarray]] = {
    # randUBV
    "randUBV: exponential": _spectrum(np.exp(-PLACES / 20.0)),
    "randUBV: 1/i²": _spectrum(1.0 / PLACES**2),
    "randUBV: 1/i": _spectrum(1.0 / PLACES),
    "randUBV: devil's stairs": _spectrum(_stairs()),
    "randUBV: sparse normal": lambda: scipy.sparse.random_array(
        (2400, 400), density=0.008, rng=GENERATOR_SEED, data_sampler=np.random.default_rng(1).normal
    ).toarray(),
    # RandLAPACK
    "RandLAPACK: polynomial": _spectrum(1.0 / np.maximum(1, PLACES - COLUMNS // 10) ** 2),
    "RandLAPACK: exponential": _spectrum(np.exp(-np.maximum(0, PLACES - COLUMNS // 10) / 10.0)),
    "RandLAPACK: gaussian": _normal,
    "RandLAPACK: step": _spectrum(_step()),
    "RandLAPACK: spiked": _spiked,
    "RandLAPACK: bad Cholesky QR": _ill_conditioned_gram,
    "RandLAPACK: Kahan": _kahan,
    # Epperly, Tropp
    "Epperly: 10^(−i/10)": _spectrum(10.0 ** (-0.1 * PLACES)),
    "Epperly: 10^(−i/20)": _spectrum(10.0 ** (-0.05 * PLACES)),
    "Epperly: little noise": _low_rank_and_noise(1e-4),
    "Epperly: more noise": _low_rank_and_noise(1e-2),
    "Epperly: close values": _spectrum(_close()),
    # scikit-learn, SciPy, graphtools
    "scikit-learn: no tail": _spectrum(_sklearn_tail(0.0)),
    "scikit-learn: a tail": _spectrum(_sklearn_tail(0.1)),
    "scikit-learn: all tail": _spectrum(_sklearn_tail(1.0)),
    "SciPy: ones": lambda: np.ones((ROWS, COLUMNS)),
    "SciPy: zeros": lambda: np.zeros((ROWS, COLUMNS)),
    "SciPy: Hilbert": lambda: scipy.linalg.hilbert(300),
    "LowRankApprox: Cauchy": lambda: 1.0 / (PLACES[:, np.newaxis] + np.arange(ROWS) + 0.5),
    "graphtools: a zero tail": _spectrum(_with_a_zero_tail()),
    # MATLAB's svdsketch
    "svdsketch: geometric": _spectrum(1e8 ** (-(PLACES - 1.0) / (COLUMNS - 1))),
}
"""Those whose first singular values are given have them in random directions."""
