"""Upper bounds from a subspace: on the norm outside it, and on the leading singular values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, Randomness
from eckart.backends import Namespace, dtype_of
from eckart.matrices import Matrix

PROBE_COLUMNS: Final = 16
"""Number of probes: a product with so few columns takes little longer than with one."""
MOST_POWERS: Final = 5
"""Most powers q of a probe; each q gives a bound with a fifth of the failure probability."""
LEVEL_GAIN: Final = 0.05
"""A further t is tried while it may lower the bound by more than this share."""
MOST_LEVELS: Final = 14
"""Most values of t: each costs a symmetric eigenvalue problem."""
TRIED_LEVELS: Final = 200
"""Half of the number of values of t that are tried to first order."""
ZERO_SHARE: Final = float(np.finfo(FLOAT64).eps) ** 2
"""Share of the largest Ritz value that is 0 to rounding; nothing is divided by less."""
LEAST_DISTANCE: Final = 1e-12
"""Least relative distance of t from ν; below it t would equal ν to rounding."""
LEAST_WEIGHT: Final = 1e-15
"""The smallest weight of two parts of a sum."""
EIGENVALUE_EPS: Final = 8.0
"""Error of a computed eigenvalue of a matrix in float64, in eps·λ₁."""
SMALLEST_NORMAL: Final = float(np.finfo(FLOAT64).tiny)
"""Smallest normal float64; divisors are raised to it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RitzData:
    """Ritz data: what products with an orthonormal V tell about W.

    Fields:
        V: Array of shape (columns, width) with orthonormal columns.
        H: (WV)ᵀ(WV), of shape (width, width), in float64.
        rest: SᵀS = tailᵀ·rest·tail in float64, with S = Wᵀ(WV) − V·H; symmetric, of shape (k, k).
        tail: Array of shape (k, width); in a Krylov space k is the size of the last block.
        restarts: Number of times that directions were dropped from V; between two, V only grows.
        gain: Reduction of the loss below ‖W‖² − Σλ_i by the factors that belong to these data.
        known: Eigenvalues of H, descending, and eigenvectors, if they are known already.
        lost: L of shape (any, width), where LᵀL bounds the Gram matrix of the part of S beyond
            rest·tail: residual directions that were dropped. None if there are none.
        outside: Bound on ‖W(I − VVᵀ)‖² (spectral) from power probes; None without probes, infinite
            before their first product.
        likely: Estimate of ‖W(I − VVᵀ)‖², rather too large.
        failure: Probability that this bound or an earlier one is wrong.
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
        """Number of columns of V."""
        return self.H.shape[0]

    def ritz(self) -> tuple[Array, Array]:
        """Return the eigenvalues of H, descending, and its eigenvectors."""
        return eigenpairs(self.H) if self.known is None else self.known

    def root(self) -> Array:
        """R of shape (any, width) with RᵀR = SᵀS, or RᵀR ⪰ SᵀS if directions were dropped."""
        squares, E = np.linalg.eigh(self.rest)
        known = np.sqrt(np.maximum(squares, 0.0))[:, np.newaxis] * (E.T @ self.tail)
        if self.lost is None:
            return known
        # (x + y)ᵀ(x + y) ⪯ (1 + c)·xᵀx + (1 + 1/c)·yᵀy for every c > 0
        length = max(float(np.linalg.norm(known)), SMALLEST_NORMAL)
        share = _weight(float(np.linalg.norm(self.lost)) / length)
        return np.vstack([math.sqrt(1 + share) * known, math.sqrt(1 + 1 / share) * self.lost])


def _weight(share: float) -> float:
    return min(max(share, LEAST_WEIGHT), 1 / LEAST_WEIGHT)


def rounding_squares(H: Array, values: Array, G: Array) -> Array:
    """Squared rounding errors of WᵀW·V·g_i, in eps²: σ₁² times Σ_j g_ji²·‖W·v_j‖².

    That is σ₁²·σ_i² if the columns of V are near singular vectors, and σ₁⁴ if g_i combines two long
    columns that nearly cancel.
    """
    return values[0] * (np.maximum(np.diag(H), 0.0) @ np.square(G))


def eigenpairs(H: Array) -> tuple[Array, Array]:
    """Return the eigenvalues of a symmetric H, descending, and its eigenvectors."""
    values, G = np.linalg.eigh(H)
    # eigh sorts ascending
    return values[::-1], G[:, ::-1]


def outside_bound(
    W: Matrix,
    V: Array,
    failure: float,
    randomness: Randomness,
    *,
    enough: Callable[[float], bool] | None = None,
) -> float:
    """An upper bound ν on ‖W(I − VVᵀ)‖² (spectral), wrong with probability at most `failure`.

    With E = W(I − VVᵀ) and p Gaussian vectors ω, ‖M‖ ≤ α·√(2/π)·max‖Mω‖ fails for any matrix M
    with probability at most α^−p. For M = (EEᵀ)^q·E, whose norm is ‖E‖^(2q+1), only the (2q+1)-th
    root of the factor counts. Each q from 1 to 5 gives a bound with a fifth of the failure
    probability, so that the products end with the first that is sharp enough.

    `enough` tells whether a bound is so sharp that the products may end; V, orthonormal, must not
    depend on the random vectors.

    Cost:
        3 to 11 products with W of width 16.

    Reference:
        Halko, Martinsson, Tropp (2011), SIAM Review 53(2), lemma 4.1.
    """
    namespace = W.namespace
    drawn = randomness.standard_normal((W.shape[1], PROBE_COLUMNS))
    X = project_out(namespace.put(drawn, W.dtype), V)
    # logarithms, because powers of ‖E‖ leave the range of float64
    slack = math.log((failure / MOST_POWERS) ** (-1 / PROBE_COLUMNS) * math.sqrt(2 / math.pi))
    # of ‖(EEᵀ)^q·Eω‖, while the columns themselves are kept at length 1
    logarithms = np.zeros(PROBE_COLUMNS)
    best = math.inf
    Y, sizes = _normalize(W.times(X), namespace)
    for power in range(1, MOST_POWERS + 1):
        logarithms += sizes
        X, sizes = _normalize(project_out(W.transposed_times(Y), V), namespace)
        logarithms += sizes
        Y, sizes = _normalize(W.times(X), namespace)
        longest = float((logarithms + sizes).max())
        # ‖E‖² from ‖E‖^(2q+1)
        best = min(best, math.exp(2 * (slack + longest) / (2 * power + 1)))
        if enough is not None and enough(best):
            break
    return best


def leading_squares_bound(evidence: RitzData, rank: int, outside: float, total: float) -> float:
    """An upper bound on σ₁² + … + σ_r² of W.

    For every t > ν each σ_i² ≤ max(t, λ_i(H + SᵀS/(t − ν))) (Schur's complement and Weyl), so that
    the best of several t counts for every i. The sum λ₁(H) + … + λ_r(H) + min(r·ν, ‖W‖² − tr H) is
    a bound too (Ky Fan's inequality), which needs no gap.

    ν ≥ ‖W(I − VVᵀ)‖² (spectral) is `outside`, `total` is ‖W‖²_F; V is as wide as the rank or wider.

    Cost:
        Three to ten symmetric eigenvalue problems, each little larger than the rank if V is much
        wider than that, else of the width of V.

    Reference:
        docs/mathematics/certificate.md has the proof.
    """
    leading = float(evidence.ritz()[0][:rank].sum())
    return min(leading + rise_bound(evidence, rank, outside, total), total)


def rise_bound(
    evidence: RitzData, rank: int, outside: float, total: float, rounding: float = 0.0
) -> float:
    """An upper bound on σ₁² + … + σ_r² − (λ₁(H) + … + λ_r(H)); see `leading_squares_bound`.

    It adds a difference for each i, so that it is accurate even if it is far smaller than the sums.

    `rounding` is the relative error of the columns of S, in the unit of `rounding_squares`.
    """
    values, G = evidence.ritz()
    S = evidence.root() @ G
    unsure = rounding**2 * rounding_squares(evidence.H, values, G)
    if rounding > 0:  # (x + y)ᵀ(x + y) ⪯ (1 + c)·xᵀx + (1 + 1/c)·yᵀy for every c > 0
        weights = 1 / np.maximum(values[:rank], SMALLEST_NORMAL)
        known = float(np.einsum("ij,ij->j", S, S)[:rank] @ weights)
        doubt = float(unsure[:rank] @ weights)
        share = _weight(math.sqrt(doubt / max(known, SMALLEST_NORMAL)))
        S, unsure = math.sqrt(1 + share) * S, (1 + 1 / share) * unsure
    leading, squares = values[:rank], np.einsum("ij,ij->j", S, S)[:rank]
    least = rank * outside
    if rounding == 0:  # the difference of ‖W‖² and squares is known to √eps·‖W‖ only
        least = min(least, max(0.0, total - float(values.sum())))
    rises = np.full(rank, np.inf)
    for t in _levels(leading, squares + unsure[:rank], outside):
        rises = np.minimum(
            rises, np.maximum(t - leading, _eigenvalue_rises(values, S, unsure, rank, outside, t))
        )
    return min(least, float(np.maximum(rises, 0.0).sum()))


def rise(values: Array, squares: Array, outside: float) -> Array:
    """How far squared singular values may be above Ritz values, to first order.

    That is the larger eigenvalue of [θ_i, s_i; s_i, ν] less θ_i, or t − θ_i for the smallest t with
    t ≥ θ_i + s_i²/(t − ν). Only the inner products of different residuals are left out. No
    difference of large numbers occurs.

    θ are the Ritz `values`, s² the squared norms of their residuals and ν the norm `outside`.

    Example:
        >>> rise(np.array([3.0]), np.array([0.0]), 1.0), rise(np.array([1.0]), np.array([0.0]), 3.0)
        (array([0.]), array([2.]))
    """
    if math.isinf(outside):
        return np.full(len(values), math.inf)
    half = (values - outside) / 2
    squares = np.maximum(squares, 0.0)  # a quadratic form may be below 0 by rounding
    root = np.sqrt(half**2 + squares)
    above = half > 0  # there an equal form that does not cancel
    return np.where(above, squares / np.where(above, half + root, 1.0), root - half)


def _levels(leading: Array, squares: Array, outside: float) -> list[float]:
    """Choose values of t that together give a small bound to first order, one after the other.

    To first order λ_i may rise by max(t − θ_i, s_i²/(t − ν)). The first t is the best single value
    for all i; each further t lowers the bound most. The two parts of the maximum are equal at
    t = θ_i + `rise`; these values are tried, and values between them.
    """
    equal = leading + rise(leading, squares, outside)
    least = max(outside * (1 + LEAST_DISTANCE), ZERO_SHARE * float(leading[0]), SMALLEST_NORMAL)
    largest = max(float(equal.max()), least)
    if not math.isfinite(largest):
        return []
    between = outside + np.geomspace(least - outside, largest - outside, TRIED_LEVELS)
    some = equal[np.linspace(0, len(equal) - 1, min(len(equal), TRIED_LEVELS)).astype(int)]
    tried = np.maximum(np.concatenate([some, between]), least)
    rises = np.maximum(tried[:, np.newaxis] - leading, squares / (tried - outside)[:, np.newaxis])
    chosen: list[float] = []
    best = np.full(len(leading), np.inf)
    while len(chosen) < MOST_LEVELS:
        together = np.minimum(rises, best).sum(axis=1)
        place = int(np.argmin(together))
        if chosen and together[place] >= (1 - LEVEL_GAIN) * best.sum():
            break
        chosen.append(float(tried[place]))
        best = np.minimum(best, rises[place])
    return chosen


def _eigenvalue_rises(
    values: Array, S: Array, unsure: Array, rank: int, outside: float, t: float
) -> Array:
    """How far the eigenvalues of H + SᵀS/(t − ν), or of its leading part, are above those of H.

    They bound the eigenvalues of WᵀW above t. Computed eigenvalues are off by a few eps·λ₁, and a
    rise beside an outlier may be smaller than that; but the i-th eigenvalue is at most the first of
    the part from i on (Cauchy), and so rises by no more than the norm of the matrix added there.

    Ritz vectors well below t may count as outside: in Schur's complement they raise ν by
    ‖S₂(t − Θ₂)⁻¹S₂ᵀ‖. If that takes half of t − ν, all of them count as inside.
    """
    middle = (outside + t) / 2
    count = max(rank, int(np.count_nonzero(values > middle)))
    # positive: these values are at most (ν + t)/2
    room = t - values[count:]
    raised = outside + _largest_square(S[:, count:] / np.sqrt(room))
    # the rounding errors are a diagonal, so their largest entry bounds them
    raised += float((unsure[count:] / room).max(initial=0.0))
    if raised > middle:
        count, raised = len(values), outside
    near = S[:, :count]
    added = (near.T @ near + np.diag(unsure[:count])) / (t - raised)
    lifted = np.linalg.eigvalsh(np.diag(values[:count]) + added)[::-1] - values[:count]
    lifted += EIGENVALUE_EPS * float(np.finfo(FLOAT64).eps) * max(float(values[0]), 0.0)
    from_there = np.square(added)[::-1, ::-1].cumsum(axis=0).cumsum(axis=1).diagonal()[::-1]
    return np.minimum(lifted, np.sqrt(from_there))[:rank]


def _largest_square(X: Array) -> float:
    """‖X‖² (spectral), from the smaller of its two Gram matrices."""
    if not X.size:
        return 0.0
    return float(np.linalg.eigvalsh(X @ X.T if X.shape[0] < X.shape[1] else X.T @ X)[-1])


def project_out(X: Array, V: Array) -> Array:
    """X less its part in the span of V, whose columns are orthonormal."""
    return X - V @ (V.T @ X)


def _normalize(X: Array, namespace: Namespace) -> tuple[Array, Array]:
    """Return the columns scaled to length 1, and the logarithms of their lengths."""
    lengths = np.sqrt(np.diag(namespace.gram(X, X)))
    # a column of zeros stays zero, and its logarithm is finite
    lengths = np.maximum(lengths, SMALLEST_NORMAL)
    return X / namespace.put(lengths, dtype_of(X)), np.log(lengths)
