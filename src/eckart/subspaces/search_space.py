"""A search space of given directions for Rayleigh–Ritz, and its Ritz data."""

from typing import final

import numpy as np

from eckart.arrays import Array
from eckart.matrices import Matrix
from eckart.subspaces.bounds import RitzData, eigenpairs
from eckart.subspaces.orthonormal import orthonormal
from eckart.subspaces.power_probes import PowerProbes


@final
class SearchSpace:
    """Orthonormal V with WᵀW·V beside it, for directions from any source.

    In a Krylov space only the last block has a residual; here every column has one. W·V is not
    kept.

    Fields:
        probes: Power probes that are multiplied along.
        H: Vᵀ(WᵀW)V, of shape (width, width), in float64.
        rest: WᵀW·V − V·H, of shape (columns, width).

    Args:
        W: Matrix of shape (rows, columns).
        probes: Power probes, multiplied along with every product to bound the norm outside V.

    Cost:
        One fused product with W for each `add`, and about 6·columns·width·block operations; memory
        of three arrays like V.
    """

    def __init__(self, W: Matrix, probes: PowerProbes) -> None:
        columns = W.shape[1]
        self._W = W
        self.probes = probes
        self._namespace = W.namespace
        self._Vt = W.namespace.zeros((0, columns), W.dtype)
        self._Pt = self._Vt  # (WᵀW·V)ᵀ
        self.H = np.zeros((0, 0))
        self.rest = self.V
        self._ritz: tuple[Array, Array] | None = None

    @property
    def width(self) -> int:
        """Number of columns of V."""
        return self.H.shape[0]

    @property
    def V(self) -> Array:
        """Array of shape (columns, width) with orthonormal columns."""
        return self._Vt.T

    @property
    def Y(self) -> Array:
        """An empty array of shape (0, width): W·V is not kept."""
        return self._namespace.zeros((0, self.width), self._W.dtype)

    def add(self, X: Array) -> None:
        """Add the directions of X, of shape (columns, k), that are not in the space."""
        W, namespace = self._W, self._namespace
        Q = orthonormal(X, self.V, 8 * float(np.finfo(W.dtype).eps), namespace)
        product = self._product(Q)
        within, across = namespace.gram(Q, product), namespace.gram(self.V, product)
        # rounding leaves Qᵀ·(WᵀW·Q) unsymmetric
        self.H = np.block([[self.H, across], [across.T, (within + within.T) / 2]])
        self._Vt = namespace.concatenate([self._Vt, Q.T])
        self._Pt = namespace.concatenate([self._Pt, product.T])
        self.rest = self._Pt.T - self.V @ namespace.put(self.H, W.dtype)
        self._ritz = None

    def _product(self, Q: Array) -> Array:
        """Return WᵀW·Q; the probes are multiplied in the same product."""
        W, count, probes = self._W, Q.shape[1], self.probes
        both = self._namespace.concatenate([Q.T, probes.beside(W, self.V, Q).T]).T
        product = W.gram_times(both)
        probes.take(W, product[:, count:], self._namespace.concatenate([self._Vt, Q.T]).T)
        return product[:, :count]

    @property
    def squares_nothing(self) -> bool:
        """False: the Ritz values come from a Gram matrix, not from W·V itself."""
        return False

    def outside(self) -> tuple[float | None, float]:
        """A lower bound on ‖W(I − VVᵀ)‖² (spectral), and an estimate of it, from the probes."""
        return self.probes.outside(self._W)

    def ritz(self, rank: int = 1) -> tuple[Array, Array]:
        """Return the Ritz values of WᵀW, descending, and their vectors G in coordinates of V."""
        del rank
        if self._ritz is None:
            self._ritz = eigenpairs(self.H)
        return self._ritz

    def evidence(self) -> RitzData:
        """Return the Ritz data of the space as it is now."""
        return RitzData(
            V=self.V,
            H=self.H,
            rest=self._namespace.gram(self.rest, self.rest),
            tail=np.eye(self.width),
            known=self.ritz(),
            outside=self.probes.bound(self._W),
            likely=self.outside()[1],
            failure=self.probes.failure,
        )
