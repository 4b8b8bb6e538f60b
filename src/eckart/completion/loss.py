"""The error of an approximation over known entries, units of entries, and the certificate."""

import math

import numpy as np
import scipy.sparse

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.arrays import FLOAT32, FLOAT64, Array, rounding
from eckart.certificates import GATHERED_KEY, Certificate, spectrum
from eckart.completion.entries import Entries
from eckart.completion.equations import cut
from eckart.completion.objective import Observed
from eckart.factors import Factors
from eckart.matrices import Matrix, Sparse
from eckart.subspaces import FAILURE_PROBABILITY, outside_bound
from eckart.threads import in_threads


def known_error(
    entries: Entries, objective: Observed, offset: BiasedFactors
) -> tuple[float, float]:
    """Return Σ w·(W − ŷ)² and Σ w·W² over the known entries, in float64."""
    from eckart.completion.kernels.gathered import squared_errors

    order = entries.by_rows
    sums, squares = np.zeros((2, entries.shape[0]))
    # a row for each column of W, so that a kernel reads along memory
    table = np.ascontiguousarray(offset.factors.A.T, FLOAT32)
    B = np.ascontiguousarray(offset.factors.B, FLOAT32)
    column_bias, row_bias = (bias.astype(FLOAT32) for bias in (offset.column_bias, offset.row_bias))

    def kernel(piece: tuple[int, int]) -> None:
        squared_errors(
            *piece,
            order.starts,
            order.indices,
            objective.targets(order),
            objective.weights(order),
            column_bias,
            np.float32(offset.mean),
            table,
            B,
            row_bias,
            sums,
            squares,
        )

    in_threads(kernel, cut(order.starts, per_row=1))
    return math.fsum(sums), math.fsum(squares)


def spread(values: Array) -> float:
    """A power of 4 near the standard deviation of values; its root is exact too.

    Example:
        >>> spread(np.array([1.0, 5.0])), spread(np.array([0.0, 99.0]))
        (1.0, 64.0)
    """
    found = float(np.std(values, dtype=FLOAT64))
    return 4.0 ** round(np.log(found) / np.log(4)) if found > 0 else 1.0


def in_units(entries: Entries, unit: float) -> Entries:
    """Return the entries with their values divided by the unit."""
    if unit == 1:
        return entries
    order = entries.by_rows
    weights = order.weights if len(order.weights) else None
    values = order.values / np.float32(unit)
    return Entries.of_rows(order.counts, order.indices, values, weights, entries.shape)


def offset_times(offset: BiasedFactors, unit: float) -> BiasedFactors:
    """Return the biased factors for entries that are `unit` times as large."""
    if unit == 1:
        return offset
    root, factors = np.sqrt(unit), offset.factors
    return BiasedFactors(
        offset.mean * unit,
        offset.row_bias * FLOAT32.type(unit),
        offset.column_bias * FLOAT32.type(unit),
        Factors(factors.B * FLOAT32.type(root), factors.A * FLOAT32.type(root)),
    )


def certify_known(
    entries: Entries,
    objective: Observed,
    fitted: BiasedFactors | PosteriorSamples,
    *,
    bound: bool = True,
) -> Certificate:
    """Measure the error over the known entries, and its gap to the best where that is computable.

    The best error of a rank is NP-hard to find. But the minimum of Σ(W − B·A)² + λ(‖B‖² + ‖A‖²)
    over all ranks is that of ‖W − X‖² + 2λ‖X‖_* over X: a convex problem. Its dual bounds the
    distance of the factors from that optimum, `regularized_gap`, if the objective has this form: a
    count exponent of 0 and nothing but λ.

    Cost:
        2·rank operations for each entry; for the gap some products of width 16 with a sparse matrix
        of the entries.

    Reference:
        Mazumder, Hastie, Tibshirani (2010), JMLR 11; docs/mathematics/observed.md.
    """
    offset = fitted.offset if isinstance(fitted, PosteriorSamples) else fitted
    squared, scale = known_error(entries, objective, offset)
    gap, how = None, "the best possible error of a rank is NP-hard to find"
    if bound and isinstance(fitted, BiasedFactors) and objective.is_nuclear(entries):
        gap = duality_gap(entries, objective.strength, offset.factors)
        how += "; gap to the best of any rank with its penalty by the dual of the nuclear norm"
    return Certificate(
        error=math.sqrt(squared),
        relative_error=math.sqrt(squared / scale) if scale > 0 else 0.0,
        best_possible_error=None,
        gap=None,
        failure_probability=0.0 if gap is None else FAILURE_PROBABILITY,
        method=f"error over the known entries; {how}",
        regularized_gap=gap,
    )


def duality_gap(entries: Entries, strength: float, factors: Factors) -> float | None:
    """Relative excess of ½‖W − X‖² + λ‖X‖_* over the known entries above its minimum.

    With R = W − X on the known entries, Y = R·min(1, λ/‖R‖₂) is feasible in the dual, whose value
    ⟨Y, W⟩ − ½‖Y‖² is a lower bound on the minimum. ‖R‖₂ is computed if min(rows, columns) is at
    most 3000, and otherwise bounded from above by products with R, which fails with probability
    10⁻⁶. The result is None if the bound is not positive.
    """
    order = entries.by_rows
    here = BiasedFactors(0.0, np.zeros(entries.shape[0]), np.zeros(entries.shape[1]), factors)
    values = order.values.astype(FLOAT64)
    left = values - here.predict(entries.rows, entries.columns)
    primal = 0.5 * float(left @ left) + strength * float(np.sum(factors.singular_values()))
    R = Sparse(scipy.sparse.csr_array((left, order.indices, order.starts), shape=entries.shape))
    spectral = _spectral_norm(R) if left.any() else 0.0
    share = min(1.0, strength / spectral) if spectral > 0 else 1.0  # makes ‖Y‖₂ ≤ λ: feasible
    dual = share * float(left @ values) - 0.5 * share**2 * float(left @ left)
    return max(0.0, primal / dual - 1) if dual > 0 else None


def _spectral_norm(R: Matrix) -> float:
    values = spectrum(R)
    if values is not None:
        # raised by its rounding, because a norm that is too small is not feasible
        return float(values[0]) * (1 + rounding(R.shape, values.dtype))
    randomness = np.random.Generator(np.random.Philox(key=GATHERED_KEY))
    return math.sqrt(outside_bound(R, np.zeros((R.shape[1], 0)), FAILURE_PROBABILITY, randomness))
