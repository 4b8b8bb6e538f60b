"""Upper bounds from a subspace: on what lies outside it, and on the leading singular values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness
from eckart.backends import Namespace, dtype_of
from eckart.matrices import Matrix

PROBES: Final = 16
"""A product with so few columns takes little longer than with one."""
POWERS: Final = 5
ENOUGH: Final = 0.05
"""A further t is tried while it may take more than this share off the bound."""
MOST_LEVELS: Final = 14
BETWEEN: Final = 200
"""Values of t that are tried to first order, twice so many."""
HIDDEN: Final = float(np.finfo(FLOAT64).eps) ** 2
"""Of the largest Ritz value: less than this is 0 to rounding, and nothing is divided by less."""
LEAST_ROOM: Final = 1e-12
"""Between ν and the r-th Ritz value, as a share of that; below it t would be ν to rounding."""
EVEN: Final = 1e-15
"""The smallest share that two parts of a sum are weighted by."""
EIGENVALUES: Final = 8.0
"""In eps·λ₁: what a routine for eigenvalues may be wrong by."""
TINY: Final = float(np.finfo(FLOAT64).tiny)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RitzData:
    """What a solver knows of W through products with an orthonormal V.

    Fields:
        V: Array of shape (columns, width) with orthonormal columns.
        H: (WV)ᵀ(WV), of shape (width, width), in float64.
        rest: SᵀS = tailᵀ·rest·tail in float64, with S = Wᵀ(WV) − V·H; symmetric, of shape (k, k).
        tail: Of shape (k, width); in a Krylov space k is the last block.
        restarts: How often directions were dropped from V. While this stands, V only grows.
        gain: By how much the factors that come with this lower the loss beyond ‖W‖² − Σλ_i.
        known: The eigenvalues of H, descending, and its eigenvectors, where they are known already.
        lost: L of shape (any, width), where LᵀL bounds the square of what S has beyond rest·tail:
            directions of earlier rests that were dropped. None where none were.
        outside: A bound on ‖W(I − VVᵀ)‖² (spectral) from probes that were multiplied along; None
            without them, infinite where they do not tell.
        likely: An estimate of the same, rather above it.
        failure: The probability that the bound is wrong, or that one before it was.
    """

    V: Array
    H: Array
    rest: Array
    tail: Array
    restarts: int = 0
    gain: float | None = None
    known: tuple[Array, Array] | None = None
    lost: Array | None = None
    outside: float | None = None
    likely: float = math.inf
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


def rounded(H: Array, values: Array, G: Array) -> Array:
    """Squares of what rounding may be in WᵀW·V·g_i, in eps²: σ₁² times Σ_j g_ji²·‖W·v_j‖².

    It is σ₁²·σ_i² where the columns of V are near singular vectors, and σ₁⁴ where g_i takes two
    that are long and nearly cancel.

    Args:
        H: (WV)ᵀ(WV).
        values: Its leading eigenvalues.
        G: Their eigenvectors.
    """
    return values[0] * (np.maximum(np.diag(H), 0.0) @ np.square(G))


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


def leading_squares_bound(evidence: RitzData, rank: int, outside: float, total: float) -> float:
    """An upper bound on σ₁² + … + σ_r² of W.

    For every t > ν each σ_i² ≤ max(t, λ_i(H + SᵀS/(t − ν))) (Schur's complement and Weyl), so that
    every i may take the best of several t; and λ₁(H) + … + λ_r(H) + min(r·ν, ‖W‖² − tr H) is a
    bound too (Ky Fan's inequality), which needs no gap.

    Args:
        evidence: Of W; its width is at least `rank`.
        rank: How many singular values.
        outside: ν ≥ ‖W(I − VVᵀ)‖² (spectral).
        total: ‖W‖²_F.

    Cost:
        Three to ten symmetric eigenvalue problems, each little larger than the rank where V holds
        much more than that, else of its width.

    Reference:
        docs/mathematics/certificate.md has the proof.
    """
    leading = float(evidence.ritz()[0][:rank].sum())
    return min(leading + rise_bound(evidence, rank, outside, total), total)


def rise_bound(
    evidence: RitzData, rank: int, outside: float, total: float, rounding: float = 0.0
) -> float:
    """An upper bound on σ₁² + … + σ_r² − (λ₁(H) + … + λ_r(H)), as `leading_squares_bound`.

    It is made of differences, one for each i, so that it may be far smaller than the sums.

    Args:
        evidence: Of W; its width is at least `rank`.
        rank: How many singular values.
        outside: ν ≥ ‖W(I − VVᵀ)‖² (spectral).
        total: ‖W‖²_F.
        rounding: By what share columns of S may be wrong, as `rounded`.
    """
    values, G = evidence.ritz()
    S = evidence.root() @ G
    unsure = rounding**2 * rounded(evidence.H, values, G)
    if rounding > 0:  # (x + y)ᵀ(x + y) ⪯ (1 + c)·xᵀx + (1 + 1/c)·yᵀy for every c > 0
        weights = 1 / np.maximum(values[:rank], TINY)
        known = float(np.einsum("ij,ij->j", S, S)[:rank] @ weights)
        share = min(
            max(math.sqrt(float(unsure[:rank] @ weights) / max(known, TINY)), EVEN), 1 / EVEN
        )
        S, unsure = math.sqrt(1 + share) * S, (1 + 1 / share) * unsure
    leading, squares = values[:rank], np.einsum("ij,ij->j", S, S)[:rank]
    least = rank * outside
    if rounding == 0:  # ‖W‖² less squares is known to √eps·‖W‖ only
        least = min(least, max(0.0, total - float(values.sum())))
    rises = np.full(rank, np.inf)
    for t in _levels(leading, squares + unsure[:rank], outside):
        rises = np.minimum(
            rises, np.maximum(t - leading, _lifted(values, S, unsure, rank, outside, t))
        )
    return min(least, float(np.maximum(rises, 0.0).sum()))


def rise(values: Array, squares: Array, outside: float) -> Array:
    """By how much squared singular values may be above Ritz values, to first order.

    That is the larger eigenvalue of [θ_i, s_i; s_i, ν] less θ_i, or the smallest t with
    t ≥ θ_i + s_i²/(t − ν). It leaves out only what residuals have in common, and makes no
    difference of large numbers.

    Args:
        values: Ritz values θ.
        squares: s², the squared lengths of their residuals.
        outside: ν.

    Example:
        >>> rise(np.array([3.0]), np.array([0.0]), 1.0), rise(np.array([1.0]), np.array([0.0]), 3.0)
        (array([0.]), array([2.]))
    """
    if math.isinf(outside):
        return np.full(len(values), math.inf)
    half = (values - outside) / 2
    squares = np.maximum(squares, 0.0)  # a quadratic form may be below 0 by rounding
    root = np.sqrt(half**2 + squares)
    above = half > 0  # there the same without a difference of two that are nearly equal
    return np.where(above, squares / np.where(above, half + root, 1.0), root - half)


def _levels(leading: Array, squares: Array, outside: float) -> list[float]:
    """Values of t that together leave little to first order, one after the other.

    To first order λ_i may rise by max(t − θ_i, s_i²/(t − ν)). The first t is best where all take
    the same, each further one where it takes most off what the others leave. The two parts of the
    maximum are equal at t = θ_i + `rise`; these are tried, and values between them.
    """
    equal = leading + rise(leading, squares, outside)
    least = max(outside * (1 + LEAST_ROOM), HIDDEN * float(leading[0]), TINY)
    largest = max(float(equal.max()), least)
    if not math.isfinite(largest):
        return []
    between = outside + np.geomspace(least - outside, largest - outside, BETWEEN)
    some = equal[np.linspace(0, len(equal) - 1, min(len(equal), BETWEEN)).astype(int)]
    tried = np.maximum(np.concatenate([some, between]), least)
    rises = np.maximum(tried[:, np.newaxis] - leading, squares / (tried - outside)[:, np.newaxis])
    chosen: list[float] = []
    best = np.full(len(leading), np.inf)
    while len(chosen) < MOST_LEVELS:
        together = np.minimum(rises, best).sum(axis=1)
        place = int(np.argmin(together))
        if chosen and together[place] >= (1 - ENOUGH) * best.sum():
            break
        chosen.append(float(tried[place]))
        best = np.minimum(best, rises[place])
    return chosen


def _lifted(values: Array, S: Array, unsure: Array, rank: int, outside: float, t: float) -> Array:
    """By how much those of H + SᵀS/(t − ν), or of its leading part, are above the eigenvalues of H.

    They bound the eigenvalues of WᵀW above t. A routine for them is wrong by a few eps·λ₁, of which
    a rise beside an outlier may be a small part; but the i-th of a matrix is at most the first of
    its part from i on (Cauchy), and so rises by no more than the norm of what is added there.

    Ritz vectors well below t may count as outside: in Schur's complement they raise ν by
    ‖S₂(t − Θ₂)⁻¹S₂ᵀ‖. Where that would take half of t − ν, none of them do.
    """
    middle = (outside + t) / 2
    count = max(rank, int(np.count_nonzero(values > middle)))
    room = t - values[count:]
    raised = outside + _largest_square(S[:, count:] / np.sqrt(room))
    raised += float((unsure[count:] / room).max(initial=0.0))
    if raised > middle:
        count, raised = len(values), outside
    near = S[:, :count]
    added = (near.T @ near + np.diag(unsure[:count])) / (t - raised)
    lifted = np.linalg.eigvalsh(np.diag(values[:count]) + added)[::-1] - values[:count]
    lifted += EIGENVALUES * float(np.finfo(FLOAT64).eps) * max(float(values[0]), 0.0)
    from_there = np.square(added)[::-1, ::-1].cumsum(axis=0).cumsum(axis=1).diagonal()[::-1]
    return np.minimum(lifted, np.sqrt(from_there))[:rank]


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
