"""Upper bounds from a subspace: on what lies outside it, and on the leading singular values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness
from eckart.matrices import Matrix
from eckart.namespaces import Namespace, dtype_of

PROBES: Final = 16
"""A product with so few columns takes little longer than with one."""
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
        restarts: How often directions were dropped from V. While this stands, V only grows.
        newest: The columns that V was last widened by.
        values: The eigenvalues of H, descending, where they are known already.
    """

    V: Array
    H: Array
    residual: Array
    restarts: int = 0
    newest: int = 0
    values: Array | None = None

    def ritz_values(self) -> Array:
        """The eigenvalues of H, descending."""
        return np.linalg.eigvalsh(self.H)[::-1] if self.values is None else self.values

    def likely_outside(self) -> float:
        """A guess at ‖W(I − VVᵀ)‖²: what the newest columns found outside those before them."""
        newest = self.H[-self.newest :, -self.newest :] if self.newest else self.H[-1:, -1:]
        return float(np.linalg.eigvalsh(newest)[-1])


def never(_bound: float) -> bool:
    """No bound is sharp enough."""
    return False


def outside_bound(
    W: Matrix,
    V: Array,
    failure: float,
    randomness: Randomness,
    *,
    enough: Callable[[float], bool] = never,
) -> float:
    """An upper bound ν on ‖W(I − VVᵀ)‖² (spectral), wrong with probability at most `failure`.

    With E = W(I − VVᵀ) and p Gaussian vectors ω, ‖M‖ ≤ α·√(2/π)·max‖Mω‖ holds for any matrix M
    but with probability α^−p; for M = (EEᵀ)^q·E, whose norm is ‖E‖^(2q+1), the factor in front
    counts by its (2q+1)-th root only. Each q from 1 to 5 is a bound of its own with a fifth of the
    failure, so that the products may end with the first that is sharp enough.

    Args:
        W: Matrix of shape (rows, columns).
        V: Array of shape (columns, width) with orthonormal columns.
        failure: Probability of the bound being wrong.
        randomness: Of the vectors; it must not have been used to make V.
        enough: Whether a bound is so sharp that the products may end.

    Cost:
        3 to 11 products with W of width 16.

    Reference:
        Halko, Martinsson, Tropp (2011), SIAM Review 53(2), lemma 4.1.
    """
    namespace = W.namespace
    drawn = randomness.standard_normal((W.shape[1], PROBES))
    X = _outside(namespace.put(drawn, W.dtype), V)
    slack = math.log((failure / POWERS) ** (-1 / PROBES) * math.sqrt(2 / math.pi))
    logarithms = np.zeros(PROBES)
    best = math.inf
    Y, sizes = _unit(W.times(X), namespace)
    for power in range(1, POWERS + 1):
        logarithms += sizes
        X, sizes = _unit(_outside(W.transposed_times(Y), V), namespace)
        logarithms += sizes
        Y, sizes = _unit(W.times(X), namespace)
        longest = float((logarithms + sizes).max())
        best = min(best, math.exp(2 * (slack + longest) / (2 * power + 1)))
        if enough(best):
            break
    return best


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
        Three to seven symmetric eigenvalue problems of the width.

    Reference:
        docs/mathematics/certificate.md has the proof.
    """
    values = evidence.ritz_values()
    leading = float(values[:rank].sum())
    best = leading + min(rank * outside, max(0.0, total - float(values.sum())))
    room = float(values[rank - 1]) - outside
    last = math.inf
    for place in PLACES if room > 0 else ():
        t = outside + place * room
        lifted = np.linalg.eigvalsh(evidence.H + evidence.residual / (place * room))
        upper = rank * t + float(np.maximum(lifted - t, 0.0).sum())
        best = min(best, upper)
        if upper > last:
            break
        last = upper
    return min(best, total)


def _outside(X: Array, V: Array) -> Array:
    return X - V @ (V.T @ X)


def _unit(X: Array, namespace: Namespace) -> tuple[Array, Array]:
    """Columns of length 1, and the logarithms of the lengths they had."""
    lengths = np.sqrt(np.diag(namespace.gram(X, X)))
    lengths = np.maximum(lengths, np.finfo(FLOAT64).tiny)
    return X / namespace.put(lengths, dtype_of(X)), np.log(lengths)
