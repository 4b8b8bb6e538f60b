"""WᵀW as a sample of the rows has it, corrected by what products with W itself have told."""

import math
from typing import Final, final

import numpy as np

from eckart.arrays import Array
from eckart.backends import HOST
from eckart.subspaces.bounds import eigenpairs
from eckart.subspaces.orthonormal import orthonormal
from eckart.subspaces.search_space import SearchSpace

TURNS: Final = 4
"""Products with M that its directions are looked for with."""
NOISE: Final = 8.0
"""In eps·‖M‖: up to which what is left of a product is rounding."""


@final
class SampledGram:
    """A matrix M like WᵀW, small enough to be decomposed.

    What a space V of W knows of WᵀW is put in the place of what M says of the same:

        M ← Π·M·Π + V·H·Vᵀ + R·Vᵀ + V·Rᵀ,    Π = I − V·Vᵀ,    WᵀW·V = V·H + R

    so that M·V = WᵀW·V, and only Π·WᵀW·Π is a guess still. Its leading eigenvectors are to first
    order those that a correction of each Ritz vector by (M − θ)⁻¹ would make.

    Args:
        M: (WᵀW) of a sample, times the share of the rows; of shape (columns, columns).

    Reference:
        Davidson (1975), Journal of Computational Physics 17; Greenstadt (1970), Mathematics of
        Computation 24, for the least change of M that has M·V right.
    """

    def __init__(self, M: Array) -> None:
        self._M = M
        self._amiss = math.inf

    def directions(self, near: Array) -> Array:
        """Leading eigenvectors of M, as many as `near` has columns, which are near them."""
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
        """Take in a second sample, before anything was learnt; it has this share of the rows."""
        self._M = self._M + share * (M - self._M)

    def outlook(self, X: Array, rank: int, sampled: int) -> float:
        """What the second residuals are likely to be by σ_r², from the spectrum of M alone.

        With tr(M) = t and θ the smallest of the leading eigenvalues, the first are √(θ·t/s)
        outside X, as λ_j is spread there, and the second √(t/s) of what that moves, in W.

        Args:
            X: Its leading eigenvectors.
            rank: How many of them count.
            sampled: s, the rows that M was made of.
        """
        values, outside = np.einsum("ij,ij->j", X, self._M @ X), self._without(X)
        least, energy = float(values[rank - 1]), float(np.trace(self._M))
        if least <= 0:
            return 0.0
        moved = float(np.linalg.norm(outside)) / math.sqrt(energy * least)
        return energy / sampled * moved / least

    def learn(self, space: SearchSpace, rank: int) -> None:
        """Take over what a space knows, and see how far M was amiss.

        A sample is wrong in a direction x by some share of √(xᵀWᵀWx), the same for every x that it
        was not chosen for; the leading Ritz vectors of the first space tell which.
        """
        V, R = space.V, space.rest
        if self._amiss == math.inf:
            values, G = (part[..., :rank] for part in space.ritz())
            lengths = np.linalg.norm(R @ G.astype(R.dtype), axis=0)
            self._amiss = float((lengths / np.sqrt(np.maximum(values, values[0] * 1e-12))).max())
        half = V @ (space.H / 2).astype(V.dtype) + R
        both = half @ V.T
        self._M = self._without(V) + both + both.T

    def _without(self, V: Array) -> Array:
        """Π·M·Π."""
        half = self._M - V @ (V.T @ self._M)
        return half - (half @ V) @ V.T

    def foretold(self, space: SearchSpace, X: Array, rank: int) -> float:
        """What length the residuals of the first `rank` columns of X are likely to have at most."""
        new = X[:, :rank] - space.V @ (space.V.T @ X[:, :rank])
        squares = np.einsum("ij,ij->j", new, self._M @ new)
        return self._amiss * math.sqrt(max(0.0, float(squares.max(initial=0.0))))
