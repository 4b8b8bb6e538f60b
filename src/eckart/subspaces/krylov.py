"""A block Krylov space of WᵀW, grown block by block, with what the products with it tell of W."""

import math
from collections.abc import Callable
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness, rounding
from eckart.matrices import Matrix
from eckart.subspaces.bounds import Evidence, eigenpairs
from eckart.subspaces.orthonormal import orthonormal
from eckart.subspaces.riding import Riding
from eckart.subspaces.start import first_directions, random_array

FUSED: Final = 8.0
"""In eps: up to which what a fused product leaves outside the space is taken for rounding."""


@final
class KrylovSpace:
    """Orthonormal V with W·V beside it, where V spans WᵀΩ, WᵀW·WᵀΩ, (WᵀW)²·WᵀΩ and so on.

    Without the side of the rows, W·V is not kept: a block then takes one fused product WᵀW·X, and
    the memory that of the columns alone.

    Fields:
        H: YᵀY = Vᵀ(WᵀW)V, of shape (width, width), in float64.
        rest: What the products with the last block left outside V, of shape (columns, block).
        tail: Array of shape (block, width) with WᵀY − V·H = rest·tail, to rounding: the residual of
            a Krylov space is that of its last block.
        restarts: How often directions were dropped from V.

    A block that loses rank is deflated: what is left of it after the projection onto V would be
    rounding. It is refilled with random directions, so that a matrix of exact low rank or with
    repeated singular values is explored to its end.

    Args:
        W: Matrix of shape (rows, columns).
        block: Columns in a block.
        randomness: Of the random directions.
        room: Columns to make room for at once; memory is taken as they are filled.
        tall: Whether to keep the side of the rows, W·V.
        first: Directions to begin with, of shape (columns, block), in place of WᵀΩ.
        riding: Probes that ride along; only where W·V is not kept.

    Cost:
        One product with W of width `block` to begin, two for each `grow`, and about
        10·columns·width·block + 2·rows·width·block operations; memory (rows + columns)·width, and
        up to half as much again while it grows.

    Reference:
        Musco, Musco (2015), Randomized block Krylov methods, algorithm 2; Tropp, Webber (2023),
        arXiv 2306.12418.
    """

    def __init__(
        self,
        W: Matrix,
        block: int,
        randomness: Randomness,
        room: int = 0,
        *,
        tall: bool = True,
        first: Array | None = None,
        riding: Riding | None = None,
    ) -> None:
        rows, columns = W.shape
        self._W = W
        self._namespace = W.namespace
        self._block = min(block, columns)
        self._randomness = randomness
        self._rounding = rounding(W.shape, W.dtype)
        eps = float(np.finfo(W.dtype).eps)
        # a fused product sums its blocks in float64, and no long W·V is rounded in between
        self._hidden = self._rounding if tall else FUSED * eps
        room = min(room, columns)
        self._Vt = W.namespace.zeros((room, columns), W.dtype)  # a vector of the basis in each row
        self._tall = tall
        self._riding = None if tall else riding
        self._Yt = W.namespace.zeros((room, rows if tall else 0), W.dtype)
        self.H = np.zeros((0, 0))
        self._ritz: tuple[Array, Array] | None = None  # of H, once they were asked for
        self._rest_gram: Array | None = None
        self.restarts = 0
        self._lost: Array | None = None
        self.tail = np.zeros((self._block, 0))
        self.rest = self._first() if first is None else first[:, : self._block]
        longest = float(np.diag(self.rest_gram()).max(initial=0.0))
        self._noise = self._rounding * math.sqrt(longest)

    @property
    def width(self) -> int:
        """Columns of V."""
        return self.H.shape[0]

    @property
    def V(self) -> Array:
        """Array of shape (columns, width) with orthonormal columns."""
        return self._Vt[: self.width].T

    @property
    def Y(self) -> Array:
        """W·V, of shape (rows, width); of shape (0, width) where the rows' side is not kept."""
        return self._Yt[: self.width].T

    @property
    def is_whole(self) -> bool:
        """Whether V spans all that W has: no energy is left outside, or no column to add."""
        left = self._W.squared_norm() - float(np.trace(self.H))
        return self.width >= self._W.shape[1] or left <= self._rounding**2 * self._W.squared_norm()

    def grow(self) -> None:
        """Add the next block to V, its product to Y, and what that leaves outside to `rest`."""
        own = orthonormal(self.rest, self.V, self._noise, self._namespace, apart=True)
        Q = self._refilled(own)
        self._lose(own)
        last, product, across, within = self._products(Q)
        self._append(Q, last)
        self.H = np.block([[self.H, across], [across.T, within]])
        self._ritz = self._rest_gram = None
        count = Q.shape[1]
        self.tail = np.eye(count, self.width, self.width - count)
        if self._lost is not None:
            self._lost = np.pad(self._lost, ((0, 0), (0, count)))
        coefficients = self._namespace.put(np.vstack([across, within]), self._W.dtype)
        self.rest = product() - self.V @ coefficients
        largest = math.sqrt(float(np.linalg.norm(self.H, 1)))
        longest = math.sqrt(float(np.diag(within).max(initial=0.0)))
        self._noise = self._hidden * largest * longest

    def ritz(self) -> tuple[Array, Array]:
        """The Ritz values of WᵀW, descending, and their vectors G in coordinates of V."""
        if self._ritz is None:
            self._ritz = eigenpairs(self.H)
        return self._ritz

    def rest_gram(self) -> Array:
        """restᵀ·rest, of shape (block, block), in float64."""
        if self._rest_gram is None:
            self._rest_gram = self._namespace.gram(self.rest, self.rest)
        return self._rest_gram

    def evidence(self) -> Evidence:
        """What this space proves of W, as it is now."""
        riding = self._riding
        outside = None if riding is None else riding.bound(self._W)
        failure = 0.0 if riding is None else riding.failure
        return Evidence(
            V=self.V,
            H=self.H,
            rest=self.rest_gram(),
            tail=self.tail,
            restarts=self.restarts,
            newest=len(self.tail),
            known=self.ritz(),
            lost=self._lost,
            outside=outside,
            failure=failure,
        )

    def restart(self, keep: int) -> None:
        """Keep the leading `keep` Ritz vectors only; the next block goes on from where it was."""
        values, G = self.ritz()
        leading = self._namespace.put(G[:, :keep].T, self._W.dtype)
        V, Y = leading @ self.V.T, leading @ self.Y.T
        self.H, self._ritz = np.diag(values[:keep]), None
        self.tail = self.tail @ G[:, :keep]
        self._lost = None if self._lost is None else self._lost @ G[:, :keep]
        self.restarts += 1
        if self._riding is not None:
            self._riding.begin()
        self._Vt, self._Yt = (self._longer(X, len(self._Vt)) for X in (V, Y))

    def _products(self, Q: Array) -> tuple[Array, Callable[[], Array], Array, Array]:
        """W·Q where it is kept, WᵀW·Q when it is asked for, and (WV)ᵀ(WQ), (WQ)ᵀ(WQ)."""
        W, namespace = self._W, self._namespace
        if not self._tall:
            product = self._fused(Q)
            within = namespace.gram(Q, product)
            empty = namespace.zeros((0, Q.shape[1]), W.dtype)
            across = namespace.gram(self.V, product)
            return empty, lambda: product, across, (within + within.T) / 2
        last = W.times(Q)
        across = namespace.get(self.Y.T @ last).astype(FLOAT64)
        within = namespace.gram(last, last)
        return last, lambda: W.transposed_times(last), across, within

    def _lose(self, own: Array) -> None:
        """Keep account of what of the rest is no part of the next block."""
        if self.width == 0 or own.shape[1] == self.rest.shape[1]:
            return
        left = self.rest - own @ (own.T @ self.rest)
        squares, E = np.linalg.eigh(self._namespace.gram(left, left))
        rows = np.sqrt(np.maximum(squares, 0.0))[:, np.newaxis] * (E.T @ self.tail)
        if self._lost is not None:  # (x + y)ᵀ(x + y) ⪯ 2·xᵀx + 2·yᵀy
            rows = np.linalg.qr(math.sqrt(2) * np.vstack([self._lost, rows]))[1]
        self._lost = rows

    def _fused(self, Q: Array) -> Array:
        """WᵀW·Q, with the probes beside Q."""
        W, riding = self._W, self._riding
        if riding is None:
            return W.gram_times(Q)
        beside = riding.beside(W, self.V, Q)
        both = W.gram_times(self._namespace.concatenate([Q.T, beside.T]).T)
        count = Q.shape[1]
        riding.take(both[:, count:], self.V, Q)
        return both[:, :count]

    def _first(self) -> Array:
        """WᵀΩ, or WᵀW·Ω for an Ω that takes no room on the side of the rows."""
        if self._tall:
            return first_directions(self._W, self._block, self._randomness)
        return self._W.gram_times(self._random(self._W.shape[1], self._block))

    def _append(self, Q: Array, last: Array) -> None:
        """Write a block behind the basis, in place while there is room."""
        count = self.width + Q.shape[1]
        if count > len(self._Vt):
            room = max(count, min(len(self._Vt) * 3 // 2, self._W.shape[1]))
            self._Vt, self._Yt = (self._longer(X, room) for X in (self._Vt, self._Yt))
        self._Vt[self.width : count] = Q.T
        self._Yt[self.width : count] = last.T

    def _longer(self, X: Array, room: int) -> Array:
        longer = self._namespace.zeros((room, X.shape[1]), self._W.dtype)
        longer[: self.width] = X[: self.width]
        return longer

    def _refilled(self, Q: Array) -> Array:
        """Q with random directions in place of those that were deflated."""
        room = self._W.shape[1] - self.width
        missing = min(self._block, room) - Q.shape[1]
        if missing <= 0:
            return Q[:, :room]
        before = Q.shape[1]
        both = self._namespace.zeros((self.width + before + missing, Q.shape[0]), self._W.dtype)
        both[: self.width], both[self.width : self.width + before] = self._Vt[: self.width], Q.T
        known = both[: self.width + before].T
        fresh = orthonormal(self._random(Q.shape[0], missing), known, 0.0, self._namespace)
        both[self.width + before :] = fresh.T
        return both[self.width :].T

    def _random(self, length: int, count: int) -> Array:
        return random_array(length, count, self._W.dtype, self._randomness, self._namespace)
