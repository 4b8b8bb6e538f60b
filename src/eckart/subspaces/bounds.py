"""Upper bounds from a subspace: on what lies outside it, and on the leading singular values."""

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness
from eckart.matrices import Matrix

PROBES: Final = 6
POWERS: Final = 5
PLACES: Final = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1)
"""Where between ν and the r-th Ritz value the free parameter t is tried."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a solver knows of W through products with an orthonormal V.

    Fields:
        V: Array of shape (columns, width) with orthonormal columns.
        H: (WV)ᵀ(WV), of shape (width, width), in float64.
        residual: SᵀS with S = Wᵀ(WV) − V·H, of shape (width, width), in float64.
    """

    V: Array
    H: Array
    residual: Array


def outside_bound(W: Matrix, V: Array, failure: float, randomness: Randomness) -> float:
    """An upper bound ν on ‖W(I − VVᵀ)‖² (spectral), wrong with probability at most `failure`.

    With E = W(I − VVᵀ) and six Gaussian vectors ω, ‖M‖ ≤ α·√(2/π)·max‖Mω‖ holds for any matrix M
    but with probability α⁻⁶; for M = (EEᵀ)^q·E, whose norm is ‖E‖^(2q+1), the factor in front
    counts by its (2q+1)-th root only.

    Args:
        W: Matrix of shape (rows, columns).
        V: Array of shape (columns, width) with orthonormal columns.
        failure: Probability of the bound being wrong.
        randomness: Of the vectors; it must not have been used to make V.

    Cost:
        11 products with W of width 6.

    Reference:
        Halko, Martinsson, Tropp (2011), SIAM Review 53(2), lemma 4.1.
    """
    X = randomness.standard_normal((W.shape[1], PROBES)).astype(W.dtype)
    logarithms = np.zeros(PROBES)
    for _ in range(POWERS):
        X, sizes = _unit(W.times(_outside(X, V)))
        X, more = _unit(_outside(W.transposed_times(X), V))
        logarithms += sizes + more
    logarithms += _unit(W.times(_outside(X, V)))[1]
    slack = math.log(failure ** (-1 / PROBES) * math.sqrt(2 / math.pi))
    return math.exp(2 * (slack + float(logarithms.max())) / (2 * POWERS + 1))


def leading_squares_bound(evidence: Evidence, rank: int, outside: float, total: float) -> float:
    """An upper bound on σ₁² + … + σ_r² of W.

    For every t > ν, U(t) = r·t + Σ [λ_i(H + SᵀS/(t − ν)) − t]₊ is one (Ky Fan's dual with a Schur
    complement), and so is λ₁(H) + … + λ_r(H) + min(r·ν, ‖W‖² − tr H) (Ky Fan's inequality), which
    needs no gap.

    Args:
        evidence: Of W; its width is at least `rank`.
        rank: How many singular values.
        outside: ν ≥ ‖W(I − VVᵀ)‖² (spectral).
        total: ‖W‖²_F.

    Cost:
        Seven symmetric eigenvalue problems of the width.

    Reference:
        docs/mathematics/certificate.md has the proof.
    """
    values = np.linalg.eigvalsh(evidence.H)[::-1]
    leading = float(values[:rank].sum())
    best = leading + min(rank * outside, max(0.0, total - float(values.sum())))
    room = float(values[rank - 1]) - outside
    for place in PLACES if room > 0 else ():
        t = outside + place * room
        lifted = np.linalg.eigvalsh(evidence.H + evidence.residual / (place * room))
        best = min(best, rank * t + float(np.maximum(lifted - t, 0.0).sum()))
    return min(best, total)


def _outside(X: Array, V: Array) -> Array:
    return X - V @ (V.T @ X)


def _unit(X: Array) -> tuple[Array, Array]:
    """Columns of length 1, and the logarithms of the lengths they had."""
    lengths = np.sqrt(np.square(X, dtype=FLOAT64).sum(axis=0))
    lengths = np.maximum(lengths, np.finfo(FLOAT64).tiny)
    return X / lengths.astype(X.dtype), np.log(lengths)
