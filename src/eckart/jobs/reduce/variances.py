"""What the figures of a reduction are where its σ² do not tell them: the scores do."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from eckart.arrays import FLOAT64, Array, as_randomness
from eckart.jobs.reduce.opening import raw_blocks
from eckart.jobs.reduce.reduction import Reduction
from eckart.matrices import Matrix, Sparse
from eckart.matrices.standardised import measured
from eckart.namespaces import HOST
from eckart.subspaces import directed


@final
@dataclass(frozen=True, slots=True)
class Sums:
    """Over the scores of all rows, and over what is known of each column beside them.

    Fields:
        means: Of the scores.
        around: Their products about these, of shape (rank, rank).
        left: Squares of what is known about the scores.
        beside: The same about its mean in each column.
        known: How many entries are known.
    """

    means: Array
    around: Array
    left: float
    beside: float
    known: int


def told_by_scores(reduction: Reduction, W: Matrix) -> Reduction:
    """A reduction whose variances are those of the scores that it gives the rows of W.

    The components of rows with gaps are turned to the principal axes of these scores first: the
    singular values of the fit are smaller, by the penalty.

    Cost:
        Two passes, each with the scores of all rows.
    """
    rows, plain = W.shape[0], replace(reduction, whitened=False)
    if not plain.missing:
        around = measured(
            W, centre=True, scale=plain.scales is not None, width=1, seed=as_randomness(0)
        )
        moments, sums = around.moments, _summed(plain, W)
        scales = 1.0 if moments.scales is None else moments.scales
        return replace(
            reduction,
            measured=np.diagonal(sums.around) / rows,
            whole=moments.energy / rows,
            away=moments.means / scales,
        )
    plain = _turned(plain, _summed(plain, W), W.shape)
    sums, freedom = _summed(plain, W), max(1, rows - 1) if plain.centred else rows
    variances = np.diagonal(sums.around) / freedom
    beside = sums.beside * rows * W.shape[1] / sums.known
    return replace(
        plain,
        whitened=reduction.whitened,
        measured=variances,
        whole=float(variances.sum()) + beside / freedom,
    )


def _turned(reduction: Reduction, sums: Sums, shape: tuple[int, int]) -> Reduction:
    """The same components along the principal axes of the scores, and their σ²."""
    about_zero = sums.around + shape[0] * np.outer(sums.means, sums.means)
    values, G = np.linalg.eigh(sums.around if reduction.centred else about_zero)
    squares, turned = np.maximum(values[::-1], 0.0), G[:, ::-1].T
    A = directed(turned @ reduction.A.astype(FLOAT64), HOST).astype(reduction.dtype)
    energy = float(squares.sum()) + sums.left * shape[0] * shape[1] / sums.known
    return replace(reduction, A=A, squares=squares, energy=energy)


def _summed(reduction: Reduction, W: Matrix) -> Sums:
    """Sums over all rows, about the scores of the first of them. One pass."""
    rank, columns = reduction.rank, reduction.columns
    pivot, first, second = np.zeros(rank), np.zeros(rank), np.zeros((rank, rank))
    sums, squares, known = np.zeros(columns), np.zeros(columns), 0
    for place, native in enumerate(raw_blocks(W)):
        block: Any = native if isinstance(W, Sparse) else W.namespace.get(native)
        scores = reduction.project(block).astype(FLOAT64)
        pivot = scores[:64].mean(axis=0) if place == 0 else pivot
        about = scores - pivot
        first += about.sum(axis=0)
        second += about.T @ about
        if reduction.missing:
            left = np.subtract(block, reduction.restore(scores), dtype=FLOAT64)
            left /= 1.0 if reduction.scales is None else reduction.scales
            there = ~np.isnan(left)
            left = np.where(there, left, 0.0)
            sums += left.sum(axis=0)
            squares += np.square(left).sum(axis=0)
            known += int(there.sum())
    rows = W.shape[0]
    return Sums(
        means=pivot + first / rows,
        around=second - np.outer(first, first) / rows,
        left=float(squares.sum()),
        beside=float((squares - np.square(sums) / rows).sum()),
        known=known,
    )
