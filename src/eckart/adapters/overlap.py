"""How two low-rank changes of one weight lie to each other: norms, cosines, principal angles.

Neither product B·A is formed: all figures come from thin decompositions and small matrices.
"""

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eckart.adapters.settings import Document
from eckart.adapters.tensor_checks import relative
from eckart.arrays import FLOAT64, Array, rounding
from eckart.backends import singular_values
from eckart.factors import Factors
from eckart.matrices import Matrix, rescaled

NOTHING: Final = np.zeros(0)
"""Angles between spaces of which one has no dimension."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """The singular value decomposition B·A = U·diag(S)·Vt in float64, and the numerical rank.

    Fields:
        U, S, Vt: As many components as B has columns.
        rank: Number of singular values above the rounding of the factors; the leading components
            span the column space and the row space.
        norm: ‖B·A‖_F.
    """

    U: Array
    S: Array
    Vt: Array
    rank: int
    norm: float

    @staticmethod
    def of(factors: Factors) -> "Directions":
        """The directions of B·A.

        Cost:
            Two thin QR factorisations in float64 and a singular value decomposition of rank × rank.
        """
        U, S, Vt = factors.astype(FLOAT64).svd()
        # of the dtype in which the factors are held: smaller singular values are their rounding
        noise = rounding(factors.shape, factors.dtype) * float(S[0])
        return Directions(U, S, Vt, int(np.count_nonzero(noise < S)), math.hypot(*S))

    @property
    def weights(self) -> Array:
        """Singular values relative to the norm; their squares add up to 1, unless B·A is 0."""
        return self.S / self.norm if self.norm else self.S

    @property
    def columns(self) -> Array:
        """An orthonormal basis of the column space, of shape (rows, numerical rank)."""
        return self.U[:, : self.rank]

    @property
    def rows(self) -> Array:
        """An orthonormal basis of the row space, of shape (columns, numerical rank)."""
        return self.Vt[: self.rank].T

    def share_of(self, W: Matrix) -> float:
        """‖P·W·Q‖² / ‖W‖² with the projections P and Q on column and row space, from 0 to 1.

        Cost:
            One product with W, in its dtype.
        """
        near_one, _ = rescaled(W)
        inside = self.columns.T @ near_one.times(self.rows)
        # squares of numbers near 1, which neither over- nor underflow
        return min(1.0, float(np.square(inside).sum()) / near_one.squared_norm())


def principal_angles(X: Array, Y: Array) -> Array:
    """The principal angles between two spaces from orthonormal bases, in radians, ascending.

    The cosines are the singular values of XᵀY. Close to an angle of 0 they are all 1 to rounding,
    so each angle is found from its sine too, a singular value of Y − X·XᵀY.

    Cost:
        Two products and the singular values of a thin matrix.

    Example:
        >>> X, Y = np.eye(3)[:, :2], np.array([[1.0], [1e-12], [1e-12]])
        >>> principal_angles(X, Y)
        array([1.e-12])

    Reference:
        Björck, Golub (1973), Mathematics of Computation 27(123); Knyazev, Argentati (2002), SIAM
        Journal on Scientific Computing 23(6).
    """
    if X.shape[1] < Y.shape[1]:
        X, Y = Y, X
    if Y.shape[1] == 0:
        return NOTHING
    product = X.T @ Y
    # the larger cosine belongs to the smaller sine
    return np.arctan2(singular_values(Y - X @ product)[::-1], singular_values(product))


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """How the change ΔB of a weight lies to another change ΔA of it.

    Fields:
        norms: ‖ΔA‖_F and ‖ΔB‖_F.
        ranks: Numerical ranks of both: the singular values above rounding.
        distance: ‖ΔA − ΔB‖_F.
        cosine: ⟨ΔA, ΔB⟩ / (‖ΔA‖·‖ΔB‖); None if one of them is 0.
        energy: ‖P·ΔB·Q‖² / ‖ΔB‖² with the projections P and Q on the column and the row space of
            ΔA; None if ΔB is 0.
        column_angles: Principal angles between the column spaces, in radians, ascending.
        row_angles: Principal angles between the row spaces.
    """

    norms: tuple[float, float]
    ranks: tuple[int, int]
    distance: float
    cosine: float | None
    energy: float | None
    column_angles: Array
    row_angles: Array

    @property
    def relative_difference(self) -> float | None:
        """‖ΔA − ΔB‖ / ‖ΔA‖; None if ΔA alone is 0."""
        return relative(self.distance, self.norms[0])

    def to_dict(self) -> Document:
        """The figures as plain numbers, each angle beside its cosine."""
        return {
            "norms": list(self.norms),
            "numerical_ranks": list(self.ranks),
            "distance": self.distance,
            "relative_difference": self.relative_difference,
            "cosine": self.cosine,
            "energy": self.energy,
            "column_cosines": np.cos(self.column_angles).tolist(),
            "row_cosines": np.cos(self.row_angles).tolist(),
            "column_angles": self.column_angles.tolist(),
            "row_angles": self.row_angles.tolist(),
        }


def distance_between(one: Factors, other: Factors) -> float:
    """‖B·A − B'·A'‖_F to the rounding of float64, relative to the larger of the two norms.

    Cost:
        Two thin QR factorisations of twice the rank, and the singular values of a small matrix.

    Example:
        >>> one = Factors([[3.0]], [[1.0]])
        >>> distance_between(one, Factors([[1.0]], [[3.0 + 2**-50]])) == 2**-50
        True
    """
    if np.array_equal(one.B, other.B) and np.array_equal(one.A, other.A):
        return 0.0
    (B, A), (Y, X) = ((x.B.astype(FLOAT64), x.A.astype(FLOAT64)) for x in (one, other))
    # B·A − B'·A' as one product of twice the rank
    return math.hypot(*Factors(np.hstack([B, Y]), np.vstack([A, -X])).singular_values())


def overlap(first: Factors, other: Factors) -> Overlap:
    """How the change of `other` lies to that of `first`, a change of the same weight.

    Cost:
        Three times two thin QR factorisations, products of thin matrices, and the singular values
        of small ones.

    Example:
        >>> first, other = Factors([[3.0], [0.0]], [[1.0, 0.0]]), Factors([[0.0], [4.0]], [[1, 0]])
        >>> found = overlap(first, other)
        >>> found.distance, found.cosine, found.energy
        (5.0, 0.0, 0.0)
    """
    return overlap_of(Directions.of(first), Directions.of(other), distance_between(first, other))


def overlap_of(first: Directions, other: Directions, distance: float) -> Overlap:
    """The overlap of two changes whose directions and distance are known."""
    X, Y = first.U.T @ other.U, first.Vt @ other.Vt.T
    cosine = energy = None
    if first.norm and other.norm:
        # ⟨ΔA, ΔB⟩ = Σ σᵢ·σⱼ'·⟨uᵢ, uⱼ'⟩·⟨vᵢ, vⱼ'⟩
        cosine = max(-1.0, min(1.0, float(first.weights @ (X * Y) @ other.weights)))
    if other.norm:
        inside = (X[: first.rank] * other.weights) @ Y[: first.rank].T
        energy = min(1.0, float(np.square(inside).sum()))
    return Overlap(
        norms=(first.norm, other.norm),
        ranks=(first.rank, other.rank),
        distance=distance,
        cosine=cosine,
        energy=energy,
        column_angles=principal_angles(first.columns, other.columns),
        row_angles=principal_angles(first.rows, other.rows),
    )
