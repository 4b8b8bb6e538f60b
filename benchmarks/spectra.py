"""Test matrices with a known best error of every rank, made once and kept in a folder."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.linalg

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Stored: TypeAlias = "Array | scipy.sparse.csr_array"

SIGNAL = 64
"""Equal singular values of the flat spectrum."""
NOISE = 0.5
"""Largest singular value of its noise, where that of the signal is 1."""
DECAY = 4.0
"""exp(−DECAY·i/rank): at the rank the best relative error is exp(−4) = 0.018."""
TASTES = 8
"""Latent factors behind the ratings of the sparse matrix."""
BLOCK = 1024


def power_law(count: int, _rank: int) -> Array:
    return 1.0 / np.arange(1, count + 1)


def square_root_law(count: int, _rank: int) -> Array:
    return np.arange(1, count + 1) ** -0.5


def exponential(count: int, rank: int) -> Array:
    return np.exp(-DECAY * np.arange(count) / rank)


def signal(count: int, _rank: int) -> Array:
    return np.ones(min(SIGNAL, count))


SPECTRA = {
    "power law": power_law,
    "square root law": square_root_law,
    "flat with noise": signal,
    "exponential": exponential,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test matrix in float32, and where it is kept.

    Fields:
        spectrum: A name in SPECTRA, or "ratings" for the sparse matrix.
        rows, columns: Of W.
        rank: For which an exponential decay was chosen; 0 where W is for every rank.
        entries: Stored ones of a sparse matrix; 0 for a dense one.
        cache: The folder.
    """

    spectrum: str
    rows: int
    columns: int
    cache: Path
    rank: int = 0
    entries: int = 0

    @property
    def name(self) -> str:
        """For the table."""
        size = f"{self.rows} × {self.columns}"
        return f"{self.spectrum}, {size}" + (f", {self.entries:.0e} stored" if self.entries else "")

    @property
    def folder(self) -> Path:
        """Where W and its singular values are kept."""
        name = f"{self.spectrum}-{self.rows}-{self.columns}-{self.rank}-{self.entries}"
        return self.cache / name.replace(" ", "-")

    def load(self) -> Stored:
        """W, in memory."""
        if not self.entries:
            return np.load(self.folder / "W.npy")
        parts = tuple(
            np.load(self.folder / f"{part}.npy") for part in ("data", "indices", "indptr")
        )
        return scipy.sparse.csr_array(parts, shape=(self.rows, self.columns))

    def optimum(self, rank: int) -> float:
        """The best error of a rank: √(‖W‖² − σ₁² − … − σ_r²)."""
        leading, total = np.load(self.folder / "leading.npy"), np.load(self.folder / "total.npy")
        return math.sqrt(float(total) - math.fsum(leading[:rank]))

    def make(self, most: int) -> None:
        """Make what is missing: W, ‖W‖², and the squares of at least `most` singular values."""
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.folder / "leading.npy"
        if known.exists() and len(np.load(known)) >= min(most, self.rows, self.columns):
            return
        W = self._made()
        total = math.fsum(float(np.vdot(block, block)) for block in blocks(W))
        np.save(self.folder / "total.npy", total)
        squares = leading_squares(W, most) if scipy.sparse.issparse(W) else all_squares(W)
        np.save(known, squares)

    def _made(self) -> Stored:
        if self.entries:
            W = ratings(self.rows, self.columns, self.entries)
            for part in ("data", "indices", "indptr"):
                np.save(self.folder / f"{part}.npy", getattr(W, part))
            return W
        values = SPECTRA[self.spectrum](min(self.rows, self.columns), self.rank)
        noise = NOISE if self.spectrum == "flat with noise" else 0.0
        W = with_spectrum(values, self.rows, self.columns, noise)
        np.save(self.folder / "W.npy", W)
        return W


def with_spectrum(values: Array, rows: int, columns: int, noise: float) -> Array:
    """A float32 matrix with these singular values in random directions, plus Gaussian noise."""
    generator = np.random.default_rng(0)
    left = np.linalg.qr(generator.standard_normal((rows, len(values))))[0]
    right = np.linalg.qr(generator.standard_normal((columns, len(values))))[0]
    W = (left * values) @ right.T
    if noise:
        scale = noise / (math.sqrt(rows) + math.sqrt(columns))
        W += generator.standard_normal((rows, columns)) * scale
    return W.astype(np.float32)


def ratings(rows: int, columns: int, entries: int) -> scipy.sparse.csr_array:
    """Ratings from 1 to 5: popularity of users and items falls like a power, tastes are few."""
    generator = np.random.default_rng(0)
    keys = np.zeros(0, np.int64)
    while len(keys) < entries:
        drawn = popular(rows, 0.6, entries // 2, generator) * columns
        drawn += popular(columns, 0.8, entries // 2, generator)
        keys = np.union1d(keys, drawn)
    keys = np.sort(generator.choice(keys, entries, replace=False))
    users, items = np.divmod(keys, columns)
    likes = np.full(entries, 3.5, np.float32) + generator.standard_normal(entries, np.float32)
    for _ in range(TASTES):
        who, what = (generator.standard_normal(size, np.float32) for size in (rows, columns))
        likes += np.float32(0.5) * who[users] * what[items]
    data = np.clip(np.rint(likes), 1, 5).astype(np.float32)
    indptr = np.searchsorted(users, np.arange(rows + 1)).astype(np.int32)
    return scipy.sparse.csr_array((data, items.astype(np.int32), indptr), shape=(rows, columns))


def popular(count: int, power: float, draws: int, generator: np.random.Generator) -> Array:
    """Indices drawn with a probability that falls like (place + 10)^−power, places shuffled."""
    weights = (np.arange(count) + 10.0) ** -power
    places = np.searchsorted(np.cumsum(weights / weights.sum()), generator.random(draws))
    return generator.permutation(count)[np.minimum(places, count - 1)]


def blocks(W: Stored) -> list[Array]:
    """W in float64, in blocks of rows; of a sparse matrix the stored entries."""
    if scipy.sparse.issparse(W):
        return [W.data.astype(np.float64)]
    return [W[row : row + BLOCK].astype(np.float64) for row in range(0, len(W), BLOCK)]


def all_squares(W: Array) -> Array:
    """Squares of all singular values, descending, as eigenvalues of the smaller Gram matrix."""
    gram = np.zeros((min(W.shape), min(W.shape)))
    for block in blocks(W if W.shape[0] >= W.shape[1] else W.T):
        gram += block.T @ block
    return np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)


def leading_squares(W: scipy.sparse.csr_array, most: int) -> Array:
    """Squares of the leading singular values of a sparse matrix, by ARPACK in float64."""
    found = scipy.sparse.linalg.svds(
        W.astype(np.float64), k=most, tol=1e-5, return_singular_vectors=False, rng=0
    )
    return np.sort(found)[::-1] ** 2


def true_error(W: Stored, B: Array, A: Array) -> float:
    """‖W − B·A‖_F in float64: entry by entry, and in its expanded form for a sparse W."""
    B, A = B.astype(np.float64), A.astype(np.float64)
    if scipy.sparse.issparse(W):
        entries = blocks(W)[0]
        both = float(np.vdot(W.astype(np.float64) @ A.T, B))
        square = float(np.vdot(entries, entries)) - 2 * both + float(np.vdot(B.T @ B, A @ A.T))
        return math.sqrt(square)
    squares = []
    for row in range(0, len(W), BLOCK):
        rest = W[row : row + BLOCK] - B[row : row + BLOCK] @ A
        squares.append(float(np.vdot(rest, rest)))
    return math.sqrt(math.fsum(squares))
