"""Named matrices whose truth is known."""

from collections.abc import Callable

import numpy as np
import scipy.sparse


def with_spectrum(
    singular_values: np.ndarray, rows: int, columns: int, seed: int = 0
) -> np.ndarray:
    """A matrix with these singular values in random directions."""
    generator = np.random.default_rng(seed)
    count = len(singular_values)
    left = np.linalg.qr(generator.standard_normal((rows, count)))[0]
    right = np.linalg.qr(generator.standard_normal((columns, count)))[0]
    return (left * singular_values) @ right.T


def optimum(W: np.ndarray, rank: int) -> float:
    """The best error of a rank, by LAPACK in float64."""
    return float(np.linalg.norm(np.linalg.svd(W.astype(np.float64), compute_uv=False)[rank:]))


PLACES = np.arange(1, 31)
SPECTRA: dict[str, np.ndarray] = {
    "power law": 1.0 / PLACES,
    "square root law": PLACES**-0.5,
    "exponential": np.exp(-PLACES / 3.0),
    "clustered": np.repeat([8.0, 4.0, 1.0], 10),
    "flat": np.ones(30),
    "exact rank 5": np.where(PLACES <= 5, 6.0 - PLACES, 0.0),
}
RANK = 5
SHAPES = {"tall": (60, 30), "wide": (30, 45), "square": (30, 30)}


def spectral(name: str, shape: str = "tall", seed: int = 0) -> np.ndarray:
    """The matrix of a named spectrum and shape."""
    return with_spectrum(SPECTRA[name], *SHAPES[shape], seed)


MATRICES: dict[str, Callable[[], np.ndarray]] = {
    **{name: (lambda name=name: spectral(name)) for name in SPECTRA},
    "wide": lambda: spectral("power law", "wide"),
    "float32": lambda: spectral("power law").astype(np.float32),
    "tiny entries": lambda: spectral("power law") * 1e-30,
    "huge entries": lambda: spectral("power law") * 1e30,
    "tiny float32": lambda: (spectral("power law") * 1e-10).astype(np.float32),
    "huge float32": lambda: (spectral("power law") * 1e10).astype(np.float32),
    "columns of very different scale": lambda: spectral("power law") * np.logspace(-8, 8, 30),
    "a mean far above the signal": lambda: spectral("power law") + 1e4,
    "repeated columns": lambda: np.tile(spectral("power law")[:, :3], 10),
    "zero": lambda: np.zeros((12, 9)),
    "one row": lambda: np.arange(1.0, 8.0)[None, :],
    "one column": lambda: np.arange(1.0, 8.0)[:, None],
    "one entry": lambda: np.array([[3.0]]),
    "Hilbert": lambda: 1.0 / (np.arange(1, 41)[:, None] + np.arange(40)),
}


def sparse(seed: int = 0) -> scipy.sparse.csr_array:
    """A sparse matrix with empty rows and columns."""
    stored = scipy.sparse.random_array((50, 40), density=0.05, rng=seed, format="csr")
    return scipy.sparse.csr_array(stored)


def hard(name: str, dtype: str = "float32") -> np.ndarray:
    """A matrix of HARD, 320 × 260, its directions random or those of rows in order."""
    values, _ = HARD[name]
    if name.startswith("rows"):
        turn = np.linalg.qr(np.random.default_rng(2).standard_normal((260, 260)))[0]
        return np.vstack([values[:, np.newaxis] * turn.T, np.zeros((60, 260))]).astype(dtype)
    return with_spectrum(values, 320, 260).astype(dtype)


def _tail(count: int, level: float, power: float = 0.2) -> np.ndarray:
    return level * np.arange(1.0, count + 1) ** -power


HARD: dict[str, tuple[np.ndarray, int]] = {
    "as many equal values as the rank": (np.r_[np.ones(40), _tail(220, 0.3)], 40),
    "a few equal values more": (np.r_[np.ones(48), _tail(212, 0.1)], 40),
    "twice as many": (np.r_[np.ones(80), _tail(180, 0.2, 0.5)], 40),
    "a step a thousand high": (np.r_[np.full(30, 1e3), np.ones(30), _tail(200, 0.5)], 60),
    "one outlier": (np.r_[1e5, np.ones(40), _tail(219, 0.5)], 41),
    "outliers beside a decay": (np.r_[3e4, 2e4, 1e4, 1.0 / np.arange(1, 258.0)], 20),
    "clusters": (0.8 ** np.repeat(np.arange(6.0), 45)[:260], 60),
    "exponential to a floor": (np.exp(-np.arange(260.0) / 5) + 1e-4, 40),
    "slow": (np.arange(1, 261.0) ** -0.3, 30),
    "nearly flat": (np.linspace(1.0, 0.9, 260), 30),
    "flat": (np.ones(260), 20),
    "exact rank below": (np.r_[np.ones(20), np.zeros(240)], 40),
    "exact rank of a decay": (np.r_[np.arange(1, 41.0) ** -1.8, np.zeros(220)], 40),
    "two scales": (np.r_[np.arange(1, 31.0) ** -1.0, 1e-4 * np.arange(1, 231.0) ** -0.5], 45),
    "rows in order": (np.arange(1, 261.0) ** -1.0, 40),
    "rows in order, a step": (np.r_[np.full(20, 1e3), np.ones(30), _tail(210, 0.5)], 50),
}
"""Spectra that solvers were fooled by, each with a rank; benchmarks/any_spectrum.py found the later
ones."""
