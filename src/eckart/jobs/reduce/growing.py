"""New rows into a reduction, without the old ones."""

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np

from eckart.arrays import FLOAT64, Array, working_dtype
from eckart.jobs.reduce.fit import reduced
from eckart.jobs.reduce.reduction import Reduction
from eckart.lapack import svd
from eckart.matrices import as_matrix
from eckart.matrices.standardised import measured

SPARE: Final = 2
"""Directions kept for each that is used: what is let go now may be wanted later."""
FEWEST_SPARE: Final = 8


def begun_with(
    X: Any, rank: int, *, centre: bool = True, scale: bool = False, whiten: bool = False
) -> Reduction:
    """The reduction of the first rows, whose standard deviations stay the scales."""
    working = measured(as_matrix(X), centre=centre, scale=scale)
    if not working.is_finite:
        return reduced(X, rank, centre=centre, scale=scale, whiten=whiten, certificate=False)[0]
    columns = X.shape[1]
    empty = Reduction(
        A=np.zeros((0, columns), working_dtype(X.dtype)),
        means=np.zeros(columns),
        scales=working.moments.scales,
        squares=np.zeros(0),
        energy=0.0,
        rows=0,
        rank=rank,
        centred=centre,
        whitened=whiten,
        floor=0.0,
        away=None if centre else np.zeros(columns),
    )
    return grown(empty, X)


def grown(old: Reduction, X: Any) -> Reduction:
    """The reduction of the old rows and of those of X.

    With μ, n of the old rows and ν, m of the new ones, the matrix of all rows about their mean has

        WᵀW = W_oldᵀW_old + (X − ν)ᵀ(X − ν) + n·m/(n + m)·(μ − ν)(μ − ν)ᵀ

    and of W_oldᵀW_old the part Aᵀ·diag(σ²)·A is known, which is at most the whole. So the σ² that
    come out are at most those of all rows, their energy is exact, and

        ‖W − W·Aᵀ·A‖² ≤ energy − σ₁² − … − σ_r²,

    while nothing of rank r is below the tail of what is known. What is missing in the new rows is
    taken as their scores in the old components restore it, and no such bound is known then.

    Args:
        old: The reduction so far; its scales stay as they are.
        X: New rows, dense or sparse, of shape (m, columns).

    Cost:
        A decomposition of (kept + m + 1) × columns numbers, rows in blocks of at most 4·kept.

    Reference:
        Ross, Lim, Lin, Yang (2008), Incremental learning for robust visual tracking, International
        Journal of Computer Vision 77, section 3.1.
    """
    height = max(64, 4 * max(len(old.A), SPARE * old.rank + FEWEST_SPARE))
    for start in range(0, X.shape[0], height):
        piece = X[start : start + height]
        dense = piece.toarray() if hasattr(piece, "toarray") else np.asarray(piece)
        whole = old.filled(dense).astype(FLOAT64)
        old = replace(old, missing=old.missing + int(np.count_nonzero(np.isnan(dense))))
        old = _with_block(old, whole)
    return old


def _with_block(old: Reduction, X: Array) -> Reduction:
    scales = np.ones(X.shape[1]) if old.scales is None else old.scales
    n, m = old.rows, len(X)
    means = X.mean(axis=0) if old.centred else np.zeros(X.shape[1])
    around = (X - means) / scales
    between = math.sqrt(n * m / (n + m)) * (old.means - means) / scales if old.centred else None
    roots = np.sqrt(old.squares)[:, np.newaxis] * old.A.astype(FLOAT64)
    stack = [roots, around] if between is None else [roots, around, between[np.newaxis]]
    added = float(np.square(around).sum())
    added += 0.0 if between is None else float(np.square(between).sum())
    away = None if old.away is None else (n * old.away + m * (X / scales).mean(axis=0)) / (n + m)
    _, S, Vt = svd(np.vstack(stack))
    squares = np.square(S)
    keep = min(len(S), SPARE * old.rank + FEWEST_SPARE)
    rank = old.rank
    signs = np.sign(Vt[np.arange(len(Vt)), np.abs(Vt).argmax(axis=1)])
    signs = np.where(signs == 0, 1.0, signs)
    return replace(
        old,
        A=(signs[:keep, np.newaxis] * Vt[:keep]).astype(old.dtype),
        squares=squares[:keep],
        means=(n * old.means + m * means) / (n + m) if old.centred else old.means,
        energy=old.energy + added,
        rows=n + m,
        measured=None,
        whole=None,
        away=away,
        floor=None
        if old.missing
        else max(old.floor or 0.0, math.sqrt(float(squares[rank:].sum()))),
    )
