"""The Gram matrix of sampled rows, corrected by the products with W itself."""

import math
from typing import Final, final

import numpy as np

from eckart.arrays import Array
from eckart.backends import HOST
from eckart.subspaces.bounds import eigenpairs
from eckart.subspaces.orthonormal import orthonormal
from eckart.subspaces.search_space import SearchSpace

TURNS: Final = 4
"""Number of products with M in the search for its leading eigenvectors."""
NOISE: Final = 8.0
"""Length in eps·‖M‖ up to which the remainder of a product counts as rounding."""


@final
class SampledGram:
    """A matrix M near WᵀW, small enough to be decomposed: the Gram matrix of sampled rows.

    The exact products of WᵀW with a space V replace those of M:

        M ← Π·M·Π + V·H·Vᵀ + R·Vᵀ + V·Rᵀ,    Π = I − V·Vᵀ,    WᵀW·V = V·H + R

    so that M·V = WᵀW·V, and only Π·M·Π is still that of the sample. To first order its leading
    eigenvectors are the Ritz vectors, each corrected by (M − θ)⁻¹ as in Davidson's method.

    Args:
        M: Gram matrix of a sample of rows, scaled to all rows; of shape (columns, columns).

    Reference:
        Davidson (1975), Journal of Computational Physics 17; Greenstadt (1970), Mathematics of
        Computation 24, for the least change of M that has M·V right.
    """

    def __init__(self, M: Array) -> None:
        self._M = M
        self._amiss = math.inf

    def directions(self, near: Array) -> Array:
        """Return as many leading eigenvectors of M as `near`, an approximation, has columns."""
        M, block = self._M, near.shape[1]
        noise = NOISE * float(np.finfo(M.dtype).eps) * float(np.linalg.norm(M))
        Q = orthonormal(near, near[:, :0], 0.0)
        V, product = Q, M @ Q
        for _ in range(TURNS):
            Q = orthonormal(product[:, -Q.shape[1] :], V, noise)[:, : len(M) - V.shape[1]]
            V, product = np.hstack([V, Q]), np.hstack([product, M @ Q])
        H = HOST.gram(V, product)
        return V @ eigenpairs((H + H.T) / 2)[1][:, :block].astype(M.dtype)

    def join(self, M: Array, share: float) -> None:
        """Add a second sample, before any correction; it has this share of all sampled rows."""
        self._M = self._M + share * (M - self._M)

    def outlook(self, X: Array, rank: int, sampled: int) -> float:
        """Predict the residuals of the second step, divided by σ_r², from the spectrum of M.

        With tr(M) = t and θ the smallest of the leading eigenvalues, the residuals of the first
        step are √(θ·t/s) outside X, spread as the λ_j there; those of the second are √(t/s) times
        the norm, in W, of the resulting change of the directions.

        Args:
            X: Leading eigenvectors of M.
            rank: Number of them that count.
            sampled: s, the number of sampled rows.
        """
        values, outside = np.einsum("ij,ij->j", X, self._M @ X), self._without(X)
        least, energy = float(values[rank - 1]), float(np.trace(self._M))
        if least <= 0:
            return 0.0
        moved = float(np.linalg.norm(outside)) / math.sqrt(energy * least)
        return energy / sampled * moved / least

    def learn(self, space: SearchSpace, rank: int) -> None:
        """Correct M by the products of a space, and measure the error of the sample.

        The error of a sample in a direction x is some share of √(xᵀWᵀWx), the same for every x that
        was not chosen by it; the leading Ritz vectors of the first space show how large it is.
        """
        V, R = space.V, space.rest
        if self._amiss == math.inf:
            values, G = (part[..., :rank] for part in space.ritz())
            lengths = np.linalg.norm(R @ G.astype(R.dtype), axis=0)
            self._amiss = float((lengths / np.sqrt(np.maximum(values, values[0] * 1e-12))).max())
        # half of H on either side: (V·H/2 + R)·Vᵀ plus its transpose
        half = V @ (space.H / 2).astype(V.dtype) + R
        both = half @ V.T
        self._M = self._without(V) + both + both.T

    def _without(self, V: Array) -> Array:
        """Π·M·Π."""
        half = self._M - V @ (V.T @ self._M)
        return half - (half @ V) @ V.T

    def foretold(self, space: SearchSpace, X: Array, rank: int) -> float:
        """Predict the largest norm of the residuals of the first `rank` columns of X."""
        new = X[:, :rank] - space.V @ (space.V.T @ X[:, :rank])
        squares = np.einsum("ij,ij->j", new, self._M @ new)
        return self._amiss * math.sqrt(max(0.0, float(squares.max(initial=0.0))))
