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
