"""A block Krylov space of WᵀW, grown block by block, with what the products with it tell of W."""

import math
from typing import final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness, rounding
from eckart.matrices import Matrix
from eckart.subspaces.orthonormal import orthonormal


@final
class KrylovSpace:
    """Orthonormal V with W·V beside it, where V spans WᵀΩ, WᵀW·WᵀΩ, (WᵀW)²·WᵀΩ and so on.

    Fields:
        V: Array of shape (columns, width) with orthonormal columns.
        Y: W·V, of shape (rows, width).
        H: YᵀY = Vᵀ(WᵀW)V, of shape (width, width), in float64.
        rest: What the products with the last block left outside V, of shape (columns, block).
        tail: Array of shape (block, width) with WᵀY − V·H = rest·tail, to rounding: the residual of
            a Krylov space is that of its last block.

    A block that loses rank is deflated: what is left of it after the projection onto V would be
    rounding. It is refilled with random directions, so that a matrix of exact low rank or with
    repeated singular values is explored to its end.

    Args:
        W: Matrix of shape (rows, columns).
        block: Columns in a block.
        randomness: Of the random directions.

    Cost:
        One product with W of width `block` to begin, two for each `grow`, and about
        16·columns·width·block + 2·rows·width·block operations; memory (rows + columns)·width.

    Reference:
        Musco, Musco (2015), Randomized block Krylov methods, algorithm 2; Tropp, Webber (2023),
        arXiv 2306.12418.
    """

    def __init__(self, W: Matrix, block: int, randomness: Randomness) -> None:
        rows, columns = W.shape
        self._W = W
        self._block = min(block, columns)
        self._randomness = randomness
        self._rounding = rounding(W.shape, W.dtype)
        self.V = np.zeros((columns, 0), W.dtype)
        self.Y = np.zeros((rows, 0), W.dtype)
        self.H = np.zeros((0, 0))
        self.tail = np.zeros((self._block, 0))
        self.rest = W.transposed_times(self._random(rows, self._block))
        self._noise = self._rounding * _longest(self.rest)

    @property
    def width(self) -> int:
        """Columns of V."""
        return self.V.shape[1]

    @property
    def is_whole(self) -> bool:
        """Whether V spans all that W has: no energy is left outside, or no column to add."""
        left = self._W.squared_norm() - float(np.trace(self.H))
        return self.width >= self._W.shape[1] or left <= self._rounding**2 * self._W.squared_norm()

    def grow(self) -> None:
        """Add the next block to V, its product to Y, and what that leaves outside to `rest`."""
        Q = self._refilled(orthonormal(self.rest, self.V, self._noise))
        Y = self._W.times(Q)
        across = (self.Y.T @ Y).astype(FLOAT64)
        exact = Y.astype(FLOAT64, copy=False)
        within = exact.T @ exact
        self.H = np.block([[self.H, across], [across.T, within]])
        self.V, self.Y = np.hstack([self.V, Q]), np.hstack([self.Y, Y])
        self.tail = np.eye(Q.shape[1], self.width, self.width - Q.shape[1])
        projected = self.V @ np.vstack([across, within]).astype(Q.dtype)
        self.rest = self._W.transposed_times(Y) - projected
        self._noise = self._rounding * math.sqrt(float(np.linalg.norm(self.H, 1))) * _longest(Y)

    def ritz(self) -> tuple[Array, Array]:
        """The Ritz values of WᵀW, descending, and their vectors G in coordinates of V."""
        values, G = np.linalg.eigh(self.H)
        return values[::-1], G[:, ::-1]

    def residual_gram(self) -> Array:
        """SᵀS with S = WᵀY − V·H, of shape (width, width), in float64."""
        exact = self.rest.astype(FLOAT64, copy=False)
        return self.tail.T @ (exact.T @ exact) @ self.tail

    def restart(self, keep: int) -> None:
        """Keep the leading `keep` Ritz vectors only; the next block goes on from where it was."""
        values, G = self.ritz()
        leading = G[:, :keep].astype(self.V.dtype)
        self.V, self.Y, self.H = self.V @ leading, self.Y @ leading, np.diag(values[:keep])
        self.tail = self.tail @ G[:, :keep]

    def _refilled(self, Q: Array) -> Array:
        """Q with random directions in place of those that were deflated."""
        room = self._W.shape[1] - self.width
        missing = min(self._block, room) - Q.shape[1]
        if missing <= 0:
            return Q[:, :room]
        fresh = self._random(self._W.shape[1], missing)
        return np.hstack([Q, orthonormal(fresh, np.hstack([self.V, Q]), 0.0)])

    def _random(self, length: int, count: int) -> Array:
        return self._randomness.standard_normal((length, count)).astype(self._W.dtype)


def _longest(X: Array) -> float:
    return math.sqrt(float(np.square(X, dtype=FLOAT64).sum(axis=0).max(initial=0.0)))
