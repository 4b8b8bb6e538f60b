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
LEAST_ROOM: Final = 1e-12
"""Between ν and the r-th Ritz value, as a share of that; below it t would be ν to rounding."""
UNSEEN: Final = 1.5
"""What a test will find outside a space, for each unit that the newest columns found: a bound is
above the truth, and each block finds less of it."""

EVEN: Final = 1e-15
"""The smallest share that two parts of a sum are weighted by."""
TINY: Final = float(np.finfo(FLOAT64).tiny)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a solver knows of W through products with an orthonormal V.

    Fields:
        V: Array of shape (columns, width) with orthonormal columns.
        H: (WV)ᵀ(WV), of shape (width, width), in float64.
        rest: SᵀS = tailᵀ·rest·tail in float64, with S = Wᵀ(WV) − V·H; symmetric, of shape (k, k).
        tail: Of shape (k, width); in a Krylov space k is the last block.
        restarts: How often directions were dropped from V. While this stands, V only grows.
        newest: The columns that V was last widened by.
        known: The eigenvalues of H, descending, and its eigenvectors, where they are known already.
        lost: L of shape (any, width), where LᵀL bounds the square of what S has beyond rest·tail:
            directions of earlier rests that were dropped. None where none were.
        outside: A bound on ‖W(I − VVᵀ)‖² (spectral) from probes that rode along; None without them.
        failure: The probability that it is wrong, or that one before it was.
    """

    V: Array
    H: Array
    rest: Array
    tail: Array
    restarts: int = 0
    newest: int = 0
    known: tuple[Array, Array] | None = None
    lost: Array | None = None
    outside: float | None = None
    failure: float = 0.0

    @property
    def width(self) -> int:
        """Columns of V."""
        return self.H.shape[0]

    def ritz(self) -> tuple[Array, Array]:
        """The eigenvalues of H, descending, and its eigenvectors."""
        return eigenpairs(self.H) if self.known is None else self.known

    def root(self) -> Array:
        """R with RᵀR = SᵀS, or ⪰ where something was lost; of shape (any, width)."""
        squares, E = np.linalg.eigh(self.rest)
        known = np.sqrt(np.maximum(squares, 0.0))[:, np.newaxis] * (E.T @ self.tail)
        if self.lost is None:
            return known
        # (x + y)ᵀ(x + y) ⪯ (1 + c)·xᵀx + (1 + 1/c)·yᵀy for every c > 0
        share = float(np.linalg.norm(self.lost)) / max(float(np.linalg.norm(known)), TINY)
        share = min(max(share, EVEN), 1 / EVEN)
        return np.vstack([math.sqrt(1 + share) * known, math.sqrt(1 + 1 / share) * self.lost])

    def likely_outside(self) -> float:
        """A guess at ‖W(I − VVᵀ)‖²: what the newest columns found outside those before them."""
        return UNSEEN * float(np.linalg.eigvalsh(self._newest())[-1])

    def next_square(self) -> float:
        """A guess at ‖W·v‖² of directions v outside: that of the newest columns, on average.

        The first columns hold the leading directions themselves; of them the smallest counts.
        """
        newest = self._newest()
        if len(newest) == self.width:
            return float(np.linalg.eigvalsh(newest)[0])
        return float(np.trace(newest)) / len(newest)

    def _newest(self) -> Array:
        return self.H[-self.newest :, -self.newest :] if self.newest else self.H[-1:, -1:]


def eigenpairs(H: Array) -> tuple[Array, Array]:
    """The eigenvalues of a symmetric H, descending, and its eigenvectors."""
    values, G = np.linalg.eigh(H)
    return values[::-1], G[:, ::-1]


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
        Three to seven symmetric eigenvalue problems, each little larger than the rank where V holds
        much more than that, else of its width.

    Reference:
        docs/mathematics/certificate.md has the proof.
    """
    values, G = evidence.ritz()
    S = evidence.root() @ G
    leading = float(values[:rank].sum())
    best = leading + min(rank * outside, max(0.0, total - float(values.sum())))
    room = float(values[rank - 1]) - outside
    last = math.inf
    for place in PLACES if room > LEAST_ROOM * float(values[rank - 1]) else ():
        t = outside + place * room
        lifted = _lifted(values, S, rank, outside, t)
        upper = rank * t + float(np.maximum(lifted - t, 0.0).sum())
        best = min(best, upper)
        if upper > last:
            break
        last = upper
    return min(best, total)


def _lifted(values: Array, S: Array, rank: int, outside: float, t: float) -> Array:
    """Eigenvalues that bound those of WᵀW above t: of H + SᵀS/(t − ν), or of its leading part.

    Ritz vectors well below t may count as outside: in Schur's complement they raise ν by
    ‖S₂(t − Θ₂)⁻¹S₂ᵀ‖. Where that would take half of t − ν, none of them do.
    """
    middle = (outside + t) / 2
    count = max(rank, int(np.count_nonzero(values > middle)))
    far = S[:, count:] / np.sqrt(t - values[count:])
    raised = outside + _largest_square(far)
    if raised > middle:
        count, raised = len(values), outside
    near = S[:, :count]
    return np.linalg.eigvalsh(np.diag(values[:count]) + near.T @ near / (t - raised))


def _largest_square(X: Array) -> float:
    """‖X‖² (spectral), by the smaller of its Gram matrices."""
    if not X.size:
        return 0.0
    return float(np.linalg.eigvalsh(X @ X.T if X.shape[0] < X.shape[1] else X.T @ X)[-1])


def _outside(X: Array, V: Array) -> Array:
    return X - V @ (V.T @ X)


def _unit(X: Array, namespace: Namespace) -> tuple[Array, Array]:
    """Columns of length 1, and the logarithms of the lengths they had."""
    lengths = np.sqrt(np.diag(namespace.gram(X, X)))
    lengths = np.maximum(lengths, TINY)
    return X / namespace.put(lengths, dtype_of(X)), np.log(lengths)
