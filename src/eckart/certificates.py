"""How good: the error of W − B·A beside a bound on the best error that is possible."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np
import scipy.sparse

from eckart.arrays import FLOAT32, FLOAT64, Array, rounding
from eckart.factors import Factors
from eckart.lapack import singular_values as all_singular_values
from eckart.matrices import Entries, Matrix, Sparse, as_matrix
from eckart.matrices.derived import dense
from eckart.objectives import Observed
from eckart.offset import Offset
from eckart.ranks import tail_errors
from eckart.residuals import MEASURED_WITHIN, is_large, residual_norm
from eckart.samples import Samples
from eckart.solvers.known import known_error
from eckart.subspaces import (
    FAILURE,
    Evidence,
    KrylovSpace,
    Probing,
    hidden,
    leading_squares_bound,
    outside_bound,
    rise_bound,
)

SMALL: Final = 1000
"""Up to min(rows, columns) of this, the best possible error comes from all singular values."""
LARGEST_EXACT: Final = 3000
"""Up to min(rows, columns) of this, all singular values can be had."""
KNOWN_WITHIN: Final = {FLOAT32: 1e-3, FLOAT64: 1e-8}
"""The error is taken from what a solver knows where that is sure to this share of it: in float32
the 0.1 % within which an answer is called near the best."""
ROUGHLY: Final = 1e-2
"""The same share where no bound is asked for, so that nothing is made of the error but a figure."""
GATHERED: Final = 0xEC4A86
"""Key of the directions in which evidence is gathered for factors that came without any."""
LITTLE: Final = 2e-3
"""What rounding may hide of ‖W‖² is of no account where it is below this share of the loss."""
OVERSAMPLING: Final = 8
BLOCKS: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How far factors are from W, and from the best factors of their rank.

    Fields:
        error: ‖W − B·A‖_F.
        relative_error: error / ‖W‖_F; 0 for a matrix of zeros.
        best_possible_error: At most the error of any pair of this rank. None where it is not known.
        gap: error / best_possible_error − 1, at least 0. None where nothing bounds it.
        failure_probability: Of `best_possible_error` being too large; 0 where nothing is random.
        method: How the figures were obtained.
        regularized_gap: How far the penalised error over known entries is above the least of any
            rank, as a share of that; None where it is not known.
    """

    error: float
    relative_error: float
    best_possible_error: float | None
    gap: float | None
    failure_probability: float
    method: str
    regularized_gap: float | None = None

    @property
    def share_of_optimum(self) -> float | None:
        """best_possible_error / error = 1 / (1 + gap): 1 at the optimum."""
        return None if self.gap is None else 1 / (1 + self.gap)

    def scaled(self, factor: float, failure: float = 0.0) -> "Certificate":
        """That of factor·W and its factors, after further tests that fail with some probability."""
        best = self.best_possible_error
        return replace(
            self,
            error=self.error * factor,
            best_possible_error=None if best is None else best * factor,
            failure_probability=self.failure_probability + failure,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields and the share of the optimum, as plain numbers."""
        return {**asdict(self), "share_of_optimum": self.share_of_optimum}


def certify(
    W: object,
    factors: Factors,
    singular_values: Array | None = None,
    *,
    evidence: Evidence | None = None,
    probing: Probing | None = None,
    loss: float | None = None,
    bound: bool = True,
) -> Certificate:
    """Measure the error of factors and bound the best error of their rank.

    By Eckart and Young no pair (B, A) of rank r has ‖W − B·A‖ below √(σ²_{r+1} + σ²_{r+2} + …).
    Where min(rows, columns) is at most 1000, or `singular_values` are given, that is computed, each
    singular value lowered by what rounding may have added to it. Else σ₁² + … + σ_r² is bounded
    from above by products with W only, and ‖W‖² less that bound is what no pair can go below. An
    error within the rounding of the factors' own dtype is reported as exact, with gap 0.

    Args:
        W: Matrix of shape (rows, columns), or what `as_matrix` reads.
        factors: Factors of that shape, from anywhere.
        singular_values: All singular values of W where a solver already has them.
        evidence: What a solver knows of a large W; it is gathered where it is missing.
        probing: The random tests of a run so far, if this is not the first.
        loss: ‖W − B·A‖²_F of a large W, where the solver has it from its own products, wrong by at
            most 32·eps·‖W‖². It takes the place of a measurement where that is at most 1/1000 of
            the error (in float64 10⁻⁸, without the bound 1/100), else the measurement is right to
            that share.
        bound: False measures the error only, in one pass.

    Returns:
        The certificate; `failure_probability` is 0 for a small W, else at most 10⁻⁶, that of all
        tests up to this one together.

    Raises:
        MatrixError: If the shapes differ.

    Cost:
        Nothing where the loss is sure enough, else one product of width rank, and a pass in float64
        where the error is small. For a small W all
        its singular values by LAPACK; for a large one 3 to 11 products of width 16, and without
        evidence those of `KrylovSpace`.

    Example:
        >>> from eckart.matrices import Dense
        >>> proof = certify(Dense(np.diag([3.0, 2.0])), Factors([[3.0], [0.0]], [[1.0, 0.0]]))
        >>> proof.error, round(proof.best_possible_error, 9), round(proof.gap, 9)
        (2.0, 2.0, 0.0)

    Reference:
        Eckart, Young (1936), Psychometrika 1(3); docs/mathematics/certificate.md.
    """
    matrix = as_matrix(W)
    factors = factors.on(matrix.namespace)
    within = KNOWN_WITHIN[matrix.dtype] if bound else ROUGHLY
    norm, measured = math.sqrt(matrix.squared_norm()), "error by direct products"
    if loss and (doubt := hidden(matrix) / (2 * loss)) <= within and is_large(matrix):
        error, measured = math.sqrt(loss), f"error by products of the solver, to {doubt:.1g} of it"
    else:
        doubt = MEASURED_WITHIN[matrix.dtype] if bound and loss is None else within
        error = residual_norm(matrix, factors, doubt)
    exact = error <= rounding(matrix.shape, factors.dtype) * norm
    best, failure, how = None, 0.0, "the best possible error was not asked for"
    if bound and min(matrix.shape) <= SMALL and singular_values is None:
        singular_values = spectrum(matrix)
    if bound and singular_values is not None:
        best = exact_bound(matrix, factors.rank, singular_values)
        how = "best possible error from all singular values (LAPACK)"
    elif bound and not exact:
        found = evidence or _gathered(matrix, factors.rank)
        best, failure = _bounded(matrix, factors.rank, found, probing)
        if loss is not None and hidden(matrix) > LITTLE * loss:
            best = _larger(best, _measured_bound(matrix, factors.rank, found, error * (1 - doubt)))
        how = "best possible error bounded by products with W (Weyl)"
    best = None if best is None else min(error, best)
    gap = 0.0 if exact else (error / best - 1 if best else None)
    return Certificate(
        error=error,
        relative_error=error / norm if norm > 0 else 0.0,
        best_possible_error=best,
        gap=gap,
        failure_probability=failure,
        method="exact to rounding" if exact else f"{measured}; {how}",
    )


def certify_known(
    entries: Entries, objective: Observed, fitted: Offset | Samples, *, bound: bool = True
) -> Certificate:
    """The error over the known entries, and how far from the best that is where it can be known.

    The best error of a rank is NP-hard to find. But Σ(W − B·A)² + λ(‖B‖² + ‖A‖²) is least where
    ‖W − X‖² + 2λ‖X‖_* is, over X of any rank: a convex problem. Its dual says how far from that
    optimum the factors are, `regularized_gap`, where the objective has this form: a count exponent
    of 0 and nothing else but λ.

    Cost:
        2·rank operations for each entry; for the gap some products of width 16 with a sparse matrix
        of the entries.

    Reference:
        Mazumder, Hastie, Tibshirani (2010), JMLR 11; docs/mathematics/observed.md.
    """
    offset = fitted.offset if isinstance(fitted, Samples) else fitted
    squared, scale = known_error(entries, objective, offset)
    gap, how = None, "the best possible error of a rank is NP-hard to find"
    if bound and isinstance(fitted, Offset) and objective.is_nuclear(entries):
        gap = duality_gap(entries, objective.strength, offset.factors)
        how += "; gap to the best of any rank with its penalty by the dual of the nuclear norm"
    return Certificate(
        error=math.sqrt(squared),
        relative_error=math.sqrt(squared / scale) if scale > 0 else 0.0,
        best_possible_error=None,
        gap=None,
        failure_probability=0.0 if gap is None else FAILURE,
        method=f"error over the known entries; {how}",
        regularized_gap=gap,
    )


def duality_gap(entries: Entries, strength: float, factors: Factors) -> float | None:
    """How far ½‖W − X‖² + λ‖X‖_* over the known entries is above its minimum, as a share of that.

    With R = W − X on the known entries, Y = R·min(1, λ/‖R‖₂) is feasible in the dual, whose value
    ⟨Y, W⟩ − ½‖Y‖² nothing can go below. ‖R‖₂ is computed where min(rows, columns) is at most 3000,
    else bounded from above by products with R, wrong with probability 10⁻⁶. None where that leaves
    nothing.
    """
    order = entries.by_rows
    here = Offset(0.0, np.zeros(entries.shape[0]), np.zeros(entries.shape[1]), factors)
    values = order.values.astype(FLOAT64)
    left = values - here.predict(entries.rows, entries.columns)
    primal = 0.5 * float(left @ left) + strength * float(np.sum(factors.singular_values()))
    R = Sparse(scipy.sparse.csr_array((left, order.indices, order.starts), shape=entries.shape))
    spectral = _spectral_norm(R) if left.any() else 0.0
    share = min(1.0, strength / spectral) if spectral > 0 else 1.0
    dual = share * float(left @ values) - 0.5 * share**2 * float(left @ left)
    return max(0.0, primal / dual - 1) if dual > 0 else None


def _spectral_norm(R: Matrix) -> float:
    values = spectrum(R)
    if values is not None:
        return float(values[0]) * (1 + rounding(R.shape, values.dtype))
    randomness = np.random.Generator(np.random.Philox(key=GATHERED))
    return math.sqrt(outside_bound(R, np.zeros((R.shape[1], 0)), FAILURE, randomness))


def together(certificates: Sequence[Certificate], norms: Sequence[float]) -> Certificate:
    """One certificate for several matrices with their own factors, as if they were one matrix.

    Squared errors add up, and so do the bounds and the failure probabilities.

    Args:
        certificates: One for each matrix.
        norms: ‖W‖_F of each.

    Example:
        >>> parts = [certify(np.diag([3.0, 1.0]), Factors([[3.0], [0.0]], [[1.0, 0.0]]))] * 4
        >>> together(parts, [10**0.5] * 4).error
        2.0
    """
    error, norm = math.hypot(*(one.error for one in certificates)), math.hypot(*norms)
    bounds = [one.best_possible_error for one in certificates]
    best = None if None in bounds else math.hypot(*(bound or 0.0 for bound in bounds))
    exact = all(one.gap == 0 for one in certificates)
    return Certificate(
        error=error,
        relative_error=error / norm if norm > 0 else 0.0,
        best_possible_error=best,
        gap=0.0 if exact else (error / best - 1 if best else None),
        failure_probability=sum(one.failure_probability for one in certificates),
        method="; ".join(dict.fromkeys(one.method for one in certificates)),
    )


def exact_bound(W: Matrix, rank: int, singular_values: Array) -> float:
    """√(σ²_{r+1} + …), each σ lowered by what rounding may have added to it."""
    slack = rounding(W.shape, singular_values.dtype) * float(singular_values[0])
    surely = np.maximum(singular_values.astype(FLOAT64) - slack, 0.0)
    return float(tail_errors(surely)[min(rank, len(surely))])


def probable_bound(W: Matrix, rank: int, evidence: Evidence, probing: Probing) -> float | None:
    """√(‖W‖² − U), where U bounds σ₁² + … + σ_r² and what rounding may have hidden of it.

    None where that leaves nothing.
    """
    if evidence.width < rank:
        return None
    return _root(W, probing.leading_squares(W, evidence, rank))


def _bounded(
    W: Matrix, rank: int, evidence: Evidence, probing: Probing | None
) -> tuple[float | None, float]:
    """The best bound that was found, and the probability that any of them is wrong.

    Tests of their own are made only where no probes were multiplied along, or were made before.
    """
    carried = carried_bound(W, rank, evidence)
    carries = evidence.outside is not None and math.isfinite(evidence.outside)
    if carries and not (probing and probing.tests):
        return carried, evidence.failure
    probing = probing or Probing()
    tested = probable_bound(W, rank, evidence, probing)
    return _larger(carried, tested), evidence.failure + probing.failure


def _larger(*bounds: float | None) -> float | None:
    """The largest of the bounds that there are."""
    return max((bound for bound in bounds if bound is not None), default=None)


def _measured_bound(W: Matrix, rank: int, evidence: Evidence, error: float) -> float | None:
    """The best possible error, from the least that the error of the solver's factors can be.

    With P an orthonormal basis of the columns of B, ‖W − B·A‖² = ‖W − PPᵀW‖² + ‖PPᵀW − B·A‖², and
    the last is rounding. ‖W‖² appears nowhere, so that a large σ₁ hides only p·eps·‖W‖ of an error,
    not √eps of it.
    """
    if evidence.gain is None or evidence.outside is None or evidence.width < rank:
        return None
    total, share = W.squared_norm(), rounding(W.shape, W.dtype)
    upper = rise_bound(evidence, rank, evidence.outside, total, share)
    left = error**2 - share**2 * total
    left -= max(0.0, upper - evidence.gain)
    return math.sqrt(left) if left > 0 else None


def carried_bound(
    W: Matrix, rank: int, evidence: Evidence, *, likely: bool = False
) -> float | None:
    """As `probable_bound`, by the probes that were multiplied along with the space, if any.

    No product; a few symmetric eigenvalue problems of the width of V.

    Args:
        W: The matrix.
        rank: Columns of B.
        evidence: Of a space.
        likely: Whether to take the estimate of the probes in place of their bound.
    """
    outside = evidence.likely if likely else evidence.outside
    if evidence.width < rank or outside is None or math.isinf(outside):
        return None
    return _root(W, leading_squares_bound(evidence, rank, outside, W.squared_norm()))


def clearest_bound(W: Matrix, rank: int, evidence: Evidence) -> float | None:
    """What `probable_bound` could find if nothing lay outside V: what rounding alone leaves."""
    return _root(W, float(evidence.ritz()[0][:rank].sum()))


def _root(W: Matrix, leading_squares: float) -> float | None:
    """√(‖W‖² − U), with what rounding may have hidden of U; None where nothing is left."""
    total = W.squared_norm()
    upper = leading_squares + hidden(W)
    return math.sqrt(total - upper) if upper < total else None


def _gathered(W: Matrix, rank: int) -> Evidence:
    """Evidence of a Krylov space four blocks wide, for factors that came without any."""
    randomness = np.random.Generator(np.random.Philox(key=GATHERED))
    space = KrylovSpace(W, rank + OVERSAMPLING, randomness)
    for _ in range(BLOCKS):
        space.grow()
        if space.is_whole:
            break
    return space.evidence()


def spectrum(W: Matrix) -> Array | None:
    """All singular values of W in float64, or None where that would take too long.

    Cost:
        As `eckart.lapack.singular_values`, for min(rows, columns) up to 3000.
    """
    if min(W.shape) > LARGEST_EXACT or math.prod(W.shape) > LARGEST_EXACT * 10**5:
        return None
    return all_singular_values(W.namespace.get(dense(W)))
