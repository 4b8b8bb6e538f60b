"""Spaces for Rayleigh–Ritz, one of given directions, and the sampled Gram matrix for these."""

import math
from abc import ABC, abstractmethod
from typing import Final, final

import numpy as np

from eckart.arrays import Array
from eckart.backends import HOST
from eckart.matrices import Matrix
from eckart.subspaces.bounds import RitzData, eigenpairs, project_out
from eckart.subspaces.directions import orthonormal
from eckart.subspaces.power_probes import PowerProbes

GRAM_PRODUCTS: Final = 4
"""Number of products with M in the search for its leading eigenvectors."""
NOISE_EPS: Final = 8.0
"""Length in eps·‖M‖ up to which the remainder of a product counts as rounding."""


class RitzSpace(ABC):
    """Orthonormal V with what products with WᵀW tell about it, for Rayleigh–Ritz.

    Fields:
        H: Vᵀ(WᵀW)V, of shape (width, width), in float64.
        rest: Array of shape (columns, k) outside V.
        tail: Array of shape (k, width) with WᵀW·V − V·H = rest·tail, to rounding.
        restarts: Number of times that directions were dropped from V.
        probes: Power probes that are multiplied along, to bound the norm outside V; or None.
    """

    rest: Array
    tail: Array

    def __init__(self, W: Matrix, probes: PowerProbes | None) -> None:
        self._W, self._namespace, self.probes = W, W.namespace, probes
        # a basis vector in each row, and its product with W if that is kept
        self._Vt = W.namespace.zeros((0, W.shape[1]), W.dtype)
        self._Yt = W.namespace.zeros((0, 0), W.dtype)
        self.H = np.zeros((0, 0))
        self.restarts = 0
        self._ritz: tuple[Array, Array] | None = None  # of H; computed when needed
        self._rest_gram: Array | None = None
        self._lost: Array | None = None

    @property
    def width(self) -> int:
        """Number of columns of V."""
        return self.H.shape[0]

    @property
    def V(self) -> Array:
        """Array of shape (columns, width) with orthonormal columns."""
        return self._Vt[: self.width].T

    @property
    def Y(self) -> Array:
        """W·V, of shape (rows, width), or (0, width) if it is not kept."""
        return self._Yt[: self.width].T

    @property
    def squares_nothing(self) -> bool:
        """Whether the Ritz values come from W·V itself, not from its Gram matrix."""
        return False

    @abstractmethod
    def ritz(self, rank: int = 1) -> tuple[Array, Array]:
        """Return the Ritz values of WᵀW, descending, and their vectors G in coordinates of V."""

    def rest_gram(self) -> Array:
        """restᵀ·rest, of shape (k, k), in float64."""
        if self._rest_gram is None:
            self._rest_gram = self._namespace.gram(self.rest, self.rest)
        return self._rest_gram

    def outside(self) -> tuple[float | None, float]:
        """A lower bound on ‖W(I − VVᵀ)‖² (spectral), and an estimate of it, from the probes."""
        return (None, math.inf) if self.probes is None else self.probes.outside(self._W)

    def evidence(self) -> RitzData:
        """Return the Ritz data of the space as it is now."""
        return RitzData(
            V=self.V,
            H=self.H,
            rest=self.rest_gram(),
            tail=self.tail,
            restarts=self.restarts,
            known=self.ritz(),
            lost=self._lost,
            outside=None if self.probes is None else self.probes.bound(self._W),
            likely=self.outside()[1],
            failure=0.0 if self.probes is None else self.probes.failure,
        )


@final
class SearchSpace(RitzSpace):
    """A space of directions from any source.

    In a Krylov space only the last block has a residual; here every column has one, so that the
    rest is WᵀW·V − V·H itself. W·V is not kept.

    Args:
        W: Matrix of shape (rows, columns).
        probes: Power probes, multiplied along with every product to bound the norm outside V.

    Cost:
        One fused product with W for each `add`, and about 6·columns·width·block operations; memory
        of three arrays like V.
    """

    def __init__(self, W: Matrix, probes: PowerProbes) -> None:
        super().__init__(W, probes)
        self.probes: PowerProbes = probes
        self._Pt = self._Vt  # (WᵀW·V)ᵀ
        self.rest = self.V

    def add(self, X: Array) -> None:
        """Add the directions of X, of shape (columns, k), that are not in the space."""
        W, namespace = self._W, self._namespace
        Q = orthonormal(X, self.V, NOISE_EPS * float(np.finfo(W.dtype).eps), namespace)
        product = self._product(Q)
        within, across = namespace.gram(Q, product), namespace.gram(self.V, product)
        # rounding leaves Qᵀ·(WᵀW·Q) unsymmetric
        self.H = np.block([[self.H, across], [across.T, (within + within.T) / 2]])
        self._Vt = namespace.concatenate([self._Vt, Q.T])
        self._Pt = namespace.concatenate([self._Pt, product.T])
        self._Yt = namespace.zeros((self.width, 0), W.dtype)
        self.rest = self._Pt.T - self.V @ namespace.put(self.H, W.dtype)
        self.tail = np.eye(self.width)
        self._ritz = self._rest_gram = None

    def _product(self, Q: Array) -> Array:
        """Return WᵀW·Q; the probes are multiplied in the same product."""
        W, count, probes = self._W, Q.shape[1], self.probes
        both = self._namespace.concatenate([Q.T, probes.beside(W, self.V, Q).T]).T
        product = W.gram_times(both)
        probes.take(W, product[:, count:], self._namespace.concatenate([self._Vt, Q.T]).T)
        return product[:, :count]

    def ritz(self, rank: int = 1) -> tuple[Array, Array]:
        """Return the Ritz values of WᵀW, descending, and their vectors G in coordinates of V."""
        del rank
        if self._ritz is None:
            self._ritz = eigenpairs(self.H)
        return self._ritz


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
        self._error = math.inf

    def directions(self, near: Array) -> Array:
        """Return as many leading eigenvectors of M as `near`, an approximation, has columns."""
        M, block = self._M, near.shape[1]
        noise = NOISE_EPS * float(np.finfo(M.dtype).eps) * float(np.linalg.norm(M))
        Q = orthonormal(near, near[:, :0], 0.0)
        V, product = Q, M @ Q
        for _ in range(GRAM_PRODUCTS):
            Q = orthonormal(product[:, -Q.shape[1] :], V, noise)[:, : len(M) - V.shape[1]]
            V, product = np.hstack([V, Q]), np.hstack([product, M @ Q])
        H = HOST.gram(V, product)
        return V @ eigenpairs((H + H.T) / 2)[1][:, :block].astype(M.dtype)

    def join(self, M: Array, share: float) -> None:
        """Add a second sample, before any correction; it has this share of all sampled rows."""
        self._M = self._M + share * (M - self._M)

    def predict_second_residual(self, X: Array, rank: int, sampled: int) -> float:
        """Predict the residuals of the second step, divided by σ_r², from the spectrum of M.

        With tr(M) = t and θ the smallest of the leading eigenvalues, the residuals of the first
        step are √(θ·t/s) outside X, spread as the λ_j there; those of the second are √(t/s) times
        the norm, in W, of the resulting change of the directions.
        """
        values, outside = np.einsum("ij,ij->j", X, self._M @ X), self._deflate(X)
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
        if self._error == math.inf:
            values, G = (part[..., :rank] for part in space.ritz())
            lengths = np.linalg.norm(R @ G.astype(R.dtype), axis=0)
            self._error = float((lengths / np.sqrt(np.maximum(values, values[0] * 1e-12))).max())
        # half of H on either side: (V·H/2 + R)·Vᵀ plus its transpose
        half = V @ (space.H / 2).astype(V.dtype) + R
        both = half @ V.T
        self._M = self._deflate(V) + both + both.T

    def _deflate(self, V: Array) -> Array:
        """Π·M·Π."""
        half = self._M - V @ (V.T @ self._M)
        return half - (half @ V) @ V.T

    def predict_residual(self, space: SearchSpace, X: Array, rank: int) -> float:
        """Predict the largest norm of the residuals of the first `rank` columns of X."""
        new = project_out(X[:, :rank], space.V)
        squares = np.einsum("ij,ij->j", new, self._M @ new)
        return self._error * math.sqrt(max(0.0, float(squares.max(initial=0.0))))
