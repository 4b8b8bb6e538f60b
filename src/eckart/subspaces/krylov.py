"""A block Krylov space of WᵀW, grown block by block, and its Ritz data."""

import math
from collections.abc import Callable
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness, rounding
from eckart.backends import Namespace
from eckart.matrices import Matrix
from eckart.matrices.gram import gram_products
from eckart.subspaces.bounds import eigenpairs
from eckart.subspaces.directions import first_directions, orthonormal, random_array
from eckart.subspaces.power_probes import PowerProbes, hidden
from eckart.subspaces.search_space import RitzSpace

NOISE_EPS: Final = 8.0
"""Length in eps·σ₁ up to which the part of a product outside the space counts as rounding."""
SPREAD_RATIO: Final = 1e3
"""Ratio of squared lengths above which a block is rotated to its own Ritz vectors."""
HIDDEN_SHARE: Final = 1e-3
"""The first fused product is repeated with Ritz vectors if the rounding of the longest column
exceeds this share of the square of the shortest."""
WIDTH_MULTIPLE: Final = 16
"""Number of which the columns of a product, probes included, are a multiple: BLAS is fast there."""
GAIN_SHARE: Final = 0.97
"""Share of the expected gain that the directions of a later block have; the others wait."""
ROUNDED_SQUARES: Final = 2500.0
"""Squared norm in (eps·‖W‖)² that rounding alone leaves outside a space that holds all of W."""
SQUARED_SHARE: Final = 1e-11
"""Share of the largest Ritz value below which Ritz values come from W·V itself: rounding of its
Gram matrix in float64 would be more than a thousandth of them."""


def whole_width(width: int) -> int:
    """The next width for which products are fast."""
    return -(-width // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def ritz_of_products(Y: Array, namespace: Namespace) -> tuple[Array, Array]:
    """The squared singular values of Y = W·V, and its right singular vectors, with error eps·σ₁.

    They come from a QR factorisation in float64, so that nothing is squared.

    Cost:
        2·rows·width² operations in float64 and a singular value decomposition of width × width.
    """
    R = namespace.qr(namespace.astype(Y, FLOAT64))[1]
    _, S, Vt = np.linalg.svd(namespace.get(R))
    return np.pad(np.square(S), (0, Y.shape[1] - len(S))), Vt.T


@final
class KrylovSpace(RitzSpace):
    """Orthonormal V with W·V beside it, where V spans WᵀΩ, WᵀW·WᵀΩ, (WᵀW)²·WᵀΩ and so on.

    If W·V is not kept (`tall` is false), a block takes one fused product WᵀW·X, and memory holds V
    alone.

    The residual of a Krylov space, rest·tail, is that of the products with its last block.

    A block that loses rank is deflated, because its remainder after the projection onto V would be
    rounding. It is refilled with random directions, so that a matrix of exact low rank or with
    repeated singular values is explored to its end. If the products of W with the columns of a
    block differ much in length, the block is rotated to its own Ritz vectors before the product
    with Wᵀ, so that the rounding of the longest does not hide the shortest.

    Args:
        W: Matrix of shape (rows, columns).
        block: Number of columns of a block.
        randomness: Source of the random directions.
        room: Number of columns to reserve; the system takes the memory as they are filled.
        tall: Whether to keep W·V.
        first: Initial directions, of shape (columns, block), in place of WᵀΩ.
        probes: Power probes that are multiplied along with every block, to bound the norm outside
            V.

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
        probes: PowerProbes | None = None,
    ) -> None:
        super().__init__(W, probes)
        rows, columns = W.shape
        self._block = min(block, columns)
        self._randomness = randomness
        self._rounding = rounding(W.shape, W.dtype)
        self._eps = float(np.finfo(W.dtype).eps)
        room = min(room, columns)
        self._tall = tall
        self._Vt = W.namespace.zeros((room, columns), W.dtype)
        self._Yt = W.namespace.zeros((room, rows if tall else 0), W.dtype)
        self.tail = np.zeros((self._block, 0))
        self.rest = self._first() if first is None else first[:, : self._block]
        longest = float(np.diag(self.rest_gram()).max(initial=0.0))
        self._lengths = np.ones(self.rest.shape[1])  # ‖W·q‖ of the columns that left the rest
        self._noise = NOISE_EPS * self._eps * math.sqrt(longest)

    @property
    def is_whole(self) -> bool:
        """Whether V holds all of W: no column can be added, or only rounding lies outside.

        ‖W‖² − tr H resolves norms down to √eps·‖W‖ only; a probe outside V, down to rounding.
        """
        if self.width >= self._W.shape[1]:
            return True
        total = self._W.squared_norm()
        left = total - float(np.trace(self.H))
        if self.probes is None:
            return left <= self._rounding**2 * total
        likely = self.probes.estimate(self._W)
        return (
            left <= hidden(self._W)
            and self._block * likely <= ROUNDED_SQUARES * self._eps**2 * total
        )

    def grow(self, block: int | None = None, fresh: int = 0, rank: int = 0) -> None:
        """Add a block to V and its product to Y, and set `rest` to the residual.

        If the block has fewer columns than the rest, it takes the directions of the rest that hold
        most of the residuals of the leading Ritz vectors, each divided by its Ritz value: to first
        order the loss falls by their squares. As few as hold 97 % of it are taken; the others wait.

        `fresh` random directions join beside those, and so many more as the rest lacks.
        """
        room, own = self._W.shape[1] - self.width, self._independent()
        count = min(self._block if block is None else block, room)
        chosen, waiting = own, None
        if count < own.shape[1]:
            chosen, waiting = self._choose(own, count, rank)
            count = chosen.shape[1]
        filled = self._fill(chosen, min(count + fresh, room))
        Q, last, product, across, within = self._products(filled)
        if waiting is not None and filled.shape[1] > chosen.shape[1]:
            # random directions hold a part of what waits, and a restart would lose it
            left, tail = waiting
            waiting = left - Q @ (Q.T @ left), tail
        self._append(Q, last)
        self.H = np.block([[self.H, across], [across.T, within]])
        self._ritz = self._rest_gram = None
        coefficients = self._namespace.put(np.vstack([across, within]), self._W.dtype)
        # the 1-norm bounds λ₁ from above, and costs nothing
        largest = math.sqrt(float(np.linalg.norm(self.H, 1))) or 1.0
        lengths = np.sqrt(np.maximum(np.diag(within), 0.0))
        self._lengths = np.maximum(lengths, self._eps * largest)
        held = (coefficients.T @ self.V.T).T  # laid out like the product, or subtraction is slow
        self._wait(waiting, product() - held, largest)
        self._noise = NOISE_EPS * self._eps * largest

    def ritz(self, rank: int = 1) -> tuple[Array, Array]:
        """Return the Ritz values of WᵀW, descending, and their vectors G in coordinates of V.

        If a Gram matrix would have lost some of the `rank` leading ones to rounding, they come from
        W·V itself.
        """
        if self._ritz is None:
            self._ritz = eigenpairs(self.H)
            self._from_products = not self._tall
        values = self._ritz[0]
        place = min(rank, len(values)) - 1
        # a Gram matrix holds σ_i² with an error of eps·σ₁²
        if not self._from_products and values[place] <= SQUARED_SHARE * values[0]:
            self._ritz, self._from_products = ritz_of_products(self.Y, self._namespace), True
        return self._ritz

    @property
    def squares_nothing(self) -> bool:
        """Whether the Ritz values come from W·V itself, not from its Gram matrix."""
        return self._tall and self._ritz is not None and self._from_products

    def restart(self, keep: int) -> None:
        """Keep only the leading `keep` Ritz vectors; the next block continues from the rest."""
        values, G = self.ritz()
        leading = self._namespace.put(G[:, :keep].T, self._W.dtype)
        # W·(V·G) = (W·V)·G: no product with W
        V, Y = leading @ self.V.T, leading @ self.Y.T
        self.H, self._ritz = np.diag(values[:keep]), None
        self.tail = self.tail @ G[:, :keep]
        self._lost = None if self._lost is None else self._lost @ G[:, :keep]
        self.restarts += 1
        if self.probes is not None:
            self.probes.begin()
        self._Vt, self._Yt = (self._enlarge(X, len(self._Vt)) for X in (V, Y))

    def _products(self, Q: Array) -> tuple[Array, Array, Callable[[], Array], Array, Array]:
        """Return Q, W·Q if it is kept, a function for WᵀW·Q, (WV)ᵀ(WQ) and (WQ)ᵀ(WQ)."""
        W, namespace, count = self._W, self._namespace, Q.shape[1]
        beside = self._with_probes(Q)
        if not self._tall:
            both, within = gram_products(W, beside, count)
            values, E = eigenpairs(within)
            if self.width == 0 and self._eps * values[0] > HIDDEN_SHARE * values[-1]:
                Q = Q @ namespace.put(E, W.dtype)
                both, within = gram_products(W, self._with_probes(Q), count)
            across = namespace.gram(self.V, both[:, :count])
            empty = namespace.zeros((0, count), W.dtype)
            return Q, empty, lambda: self._take(both, count), across, within
        both = W.times(beside)
        last, probed = both[:, :count], both[:, count:]
        within = namespace.gram(last, last)
        values = np.linalg.eigvalsh(within)
        if values[-1] > SPREAD_RATIO * values[0]:
            turned = namespace.put(eigenpairs(within)[1], W.dtype)
            Q, last = Q @ turned, last @ turned
            # made again from the rotated columns, so that each is accurate to its own rounding
            within = namespace.gram(last, last)
            both = namespace.concatenate([last.T, probed.T]).T
        across = namespace.get(self.Y.T @ last).astype(FLOAT64)
        return Q, last, lambda: self._take(W.transposed_times(both), count), across, within

    def _with_probes(self, Q: Array) -> Array:
        """Return Q with the probes beside it."""
        if self.probes is None:
            return Q
        probes = self.probes.beside(self._W, self.V, Q)
        return self._namespace.concatenate([Q.T, probes.T]).T

    def _take(self, both: Array, count: int) -> Array:
        """Hand the probes their columns of a product, and return those of the block."""
        if self.probes is not None:
            self.probes.take(self._W, both[:, count:], self.V)
        return both[:, :count]

    def _independent(self) -> Array:
        """Return an orthonormal basis of the rest, outside V, without its rounding errors."""
        scaled = self.rest / self._namespace.put(self._lengths, self._W.dtype)
        own = orthonormal(scaled, self.V, self._noise, self._namespace, apart=True)
        if self.width > 0 and own.shape[1] < self.rest.shape[1]:
            self._lose(own)
        return own

    def _choose(self, own: Array, count: int, rank: int) -> tuple[Array, tuple[Array, Array]]:
        """Choose at most `count` directions of the rest; return them and the others, with tail."""
        values, G = (part[..., :rank] for part in self.ritz(rank))
        tail = self._namespace.get(own.T @ self.rest).astype(FLOAT64) @ self.tail
        weighted = tail @ G / np.sqrt(np.maximum(values, self._eps * values[0] or 1.0))
        promised, E = eigenpairs(weighted @ weighted.T)
        # the fewest directions that hold 97 % of the expected gain
        wanted = 1 + int(np.searchsorted(np.cumsum(promised), GAIN_SHARE * promised.sum()))
        probes = 0 if self.probes is None else self.probes.count
        # rounded up, so that block and probes together are a multiple of 16
        count = min(count, whole_width(wanted + probes) - probes)
        turned = own @ self._namespace.put(E, self._W.dtype)
        return turned[:, :count], (turned[:, count:], E[:, count:].T @ tail)

    def _wait(self, waiting: tuple[Array, Array] | None, rest: Array, largest: float) -> None:
        """Set the rest and the tail from the directions that wait and the residual of the block."""
        count = rest.shape[1]
        # the last block of the space left this rest, and no other block did
        self.tail = np.eye(count, self.width, self.width - count)
        self.rest = rest
        if waiting is not None:
            left, tail = waiting
            sizes = np.linalg.norm(tail, axis=1)
            sizes = np.maximum(sizes, self._eps**2 * largest**2)
            left = left * self._namespace.put(sizes, self._W.dtype)
            self.rest = self._namespace.concatenate([left.T, rest.T]).T
            tail = np.pad(tail / sizes[:, np.newaxis], ((0, 0), (0, count)))
            self.tail = np.vstack([tail, self.tail])
            # at these lengths no direction that waits is dropped as rounding
            self._lengths = np.concatenate([sizes / largest, self._lengths])
        if self._lost is not None:
            self._lost = np.pad(self._lost, ((0, 0), (0, count)))

    def _lose(self, own: Array) -> None:
        """Record the part of the rest that is not in the next block."""
        left = self.rest - own @ (own.T @ self.rest)
        squares, E = np.linalg.eigh(self._namespace.gram(left, left))
        rows = np.sqrt(np.maximum(squares, 0.0))[:, np.newaxis] * (E.T @ self.tail)
        if self._lost is not None:  # (x + y)ᵀ(x + y) ⪯ 2·xᵀx + 2·yᵀy
            rows = np.linalg.qr(math.sqrt(2) * np.vstack([self._lost, rows]))[1]
        self._lost = rows

    def _first(self) -> Array:
        """WᵀΩ, or WᵀW·Ω if W·V is not kept: that Ω needs no array as tall as W."""
        if self._tall:
            return first_directions(self._W, self._block, self._randomness)
        return self._W.gram_times(self._random(self._W.shape[1], self._block))

    def _append(self, Q: Array, last: Array) -> None:
        """Append a block to the basis, in place while there is room."""
        count = self.width + Q.shape[1]
        if count > len(self._Vt):
            # grown by half, so that copies cost a constant share of the work
            room = max(count, min(len(self._Vt) * 3 // 2, self._W.shape[1]))
            self._Vt, self._Yt = (self._enlarge(X, room) for X in (self._Vt, self._Yt))
        self._Vt[self.width : count] = Q.T
        self._Yt[self.width : count] = last.T

    def _enlarge(self, X: Array, room: int) -> Array:
        longer = self._namespace.zeros((room, X.shape[1]), self._W.dtype)
        longer[: self.width] = X[: self.width]
        return longer

    def _fill(self, Q: Array, count: int) -> Array:
        """Add random directions to Q until it has `count` columns."""
        before, missing = Q.shape[1], count - Q.shape[1]
        if missing <= 0:
            return Q
        both = self._namespace.zeros((self.width + count, Q.shape[0]), self._W.dtype)
        both[: self.width], both[self.width : self.width + before] = self._Vt[: self.width], Q.T
        known = both[: self.width + before].T
        fresh = orthonormal(self._random(Q.shape[0], missing), known, 0.0, self._namespace)
        both[self.width + before :] = fresh.T
        return both[self.width :].T

    def _random(self, length: int, count: int) -> Array:
        return random_array(length, count, self._W.dtype, self._randomness, self._namespace)
