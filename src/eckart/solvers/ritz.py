"""The step of a subspace solver: factors and estimates from the Ritz vectors of its space."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Final

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT64, Array
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.solvers.base import Step
from eckart.subspaces import (
    RitzData,
    RitzSpace,
    hidden,
    leading_directions,
    rise,
    ritz_of_products,
)
from eckart.subspaces.bounds import EIGENVALUE_EPS, rounding_squares
from eckart.subspaces.krylov import ROUNDED_SQUARES

NEAR_EXCESS: Final = 1e-3
"""Relative excess over the best error up to which an error counts as near it."""
RESIDUAL_EPS: Final = 32.0
"""Size in units of one rounding (eps) up to which a residual counts as rounding."""
SUCCESS_EXCESS: Final = 1e-2
"""Largest relative excess over the best error of a successful run."""
SQUARED_SHARE: Final = 1e-4
"""Share of σ₁² below which, in float64, squares of σ_r lose so many digits of the factors that
these are computed from W·V itself."""
SAFETY_FACTOR: Final = 1.4
"""Safety factor of the lower bound on what is missing."""


def ritz_step(
    number: int,
    W: Matrix,
    space: RitzSpace,
    rank: int,
    *,
    tall: bool,
    residual: float | None,
) -> Step:
    """Form the step that a space gives as it is now.

    `tall` tells whether the space keeps W·V, so that B takes no product; `residual` is the largest
    ‖WᵀWv − σ²v‖/σ² to accept, None if the error counts.
    """
    every, basis = space.ritz(rank)
    values, G = every[:rank], basis[:, :rank]
    lost = EIGENVALUE_EPS * float(np.finfo(FLOAT64).eps) * values[0]
    others = every[rank:] - (0.0 if space.squares_nothing else lost)
    tail = float(np.maximum(others, 0.0).sum())
    evidence = space.evidence()
    outside = evidence.tail @ basis
    lengths = np.einsum("ij,ij->j", outside, evidence.rest @ outside)
    squares = lengths[:rank]
    unsure, clear = _rounding_of(W, evidence.H, (values, G), squares)
    gain = float((squares[clear] / values[clear]).sum())
    # formed at most once, and only if somebody asks
    directions = cache(partial(leading_directions, evidence, space.rest, rank, W))
    hides = W.dtype == FLOAT64 and values[-1] < SQUARED_SHARE * values[0]
    formed = partial(
        _factors, W, space.Y, space.rest, evidence, None if hides else (values, G), rank
    )
    loss = max(0.0, W.squared_norm() - float(values.sum()) - gain)
    if tall and W.dtype == FLOAT64 and loss <= hidden(W):
        # nothing but rounding is left, and the rows of A, made from squares, have the most of it
        formed = partial(_half_step, W, formed)
    # directions are half a step ahead of V, too, unless squares hide the shortest of them
    sure = gain if tall or values[-1] > SQUARED_SHARE * values[0] else 0.0
    known, estimated = space.outside()
    least, likely = (
        excess(W, loss, (every, lengths), nu, tail, rank=rank, sure=sure)
        for nu in (known, estimated)
    )
    return Step(
        number=number,
        loss=loss,
        gain=gain,
        rank=rank,
        # without W·V the factors come from another product, and the gain is not theirs
        evidence=lambda: replace(evidence, gain=gain if tall else None),
        factors=formed if tall else partial(project, W, directions),
        residual=None
        if residual is None
        else _residual(values, squares, unsure, directions, residual),
        directions=directions,
        excess=likely,
        least_excess=least,
        larger_outside=None if known is None else bool(known > values[-1]),
    )


def is_missing(step: Step) -> bool:
    """Whether the least norm outside the space would lower the error by more than 0.1 %."""
    return step.least_excess is not None and SAFETY_FACTOR * step.least_excess > NEAR_EXCESS


def is_complete(step: Step) -> bool:
    """Whether the least norm outside the space is known, and would gain at most 0.1 %."""
    return step.least_excess is not None and not is_missing(step)


def is_near(step: Step) -> bool:
    """Whether the error is estimated to be within 0.1 % of the best possible one.

    Either the estimate that is rather too large says so, or the one from the lower bound, which is
    nearer the truth, does and the first is at most 1 %.
    """
    if step.excess is None:
        return False
    return step.excess <= NEAR_EXCESS or (is_complete(step) and step.excess <= SUCCESS_EXCESS)


def excess(
    W: Matrix,
    loss: float,
    ritz: tuple[Array, Array],
    outside: float | None,
    tail: float,
    *,
    rank: int,
    sure: float = 0.0,
) -> float | None:
    """The relative excess of the error over the best one, for a given norm outside the space.

    The best loss is the loss less the possible rise of the leading Ritz values and the rounding
    error, and at least the sum of the other Ritz values.

    `ritz` holds the Ritz values, descending, and the squared norms of their residuals; `outside` is
    ‖W(I − VVᵀ)‖² (spectral), `tail` the sum of the Ritz values beyond the rank, and `sure` the part
    of the rise that is subtracted from the loss already.
    """
    if outside is None or math.isinf(outside):
        return None
    values, squares = ritz
    # any may rise to a leading one: a missing direction may be half in the space, as a smaller one
    risen = np.sort(values + rise(values, squares, outside))[::-1]
    left = float((risen[:rank] - values[:rank]).sum()) - sure
    best = max(loss - left - hidden(W), tail)
    if left <= ROUNDED_SQUARES * float(np.finfo(W.dtype).eps) ** 2 * W.squared_norm():
        return 0.0
    return math.sqrt(1 + left / best) - 1 if best > 0 else math.inf


def _residual(
    values: Array,
    squares: Array,
    unsure: Array,
    directions: Callable[[], tuple[Array, Array]],
    wanted: float,
) -> float:
    """The largest residual and the gain of the last product, relative to the Ritz values λ.

    A residual that is rounding counts as 0. The gain shows directions that are still missing from a
    space without a random start. It needs the directions, which are not formed if the residual is
    too large already.
    """
    own = np.maximum(values, np.sqrt(unsure))
    # the residual of a zero direction is 0, and 0/0 would be NaN
    own[own == 0] = 1.0
    largest = float((np.sqrt(np.where(squares > unsure, squares, 0.0)) / own).max(initial=0.0))
    if largest > wanted:
        return largest
    return max(largest, float(directions()[1].sum() - values.sum()) / float(own[-1]))


def project(W: Matrix, directions: Callable[[], tuple[Array, Array]]) -> Factors:
    """Return the directions as A, and their product as B, by one pass over W."""
    A = directions()[0]
    return Factors(W.times(A.T), A)


def _half_step(W: Matrix, formed: Callable[[], Factors]) -> Factors:
    """Q·(QᵀW) with Q an orthonormal basis of the columns of B, the rows of A orthonormal.

    The columns of B are products with W itself, so that B holds what squares take from A. One
    transposed product.
    """
    namespace = W.namespace
    Q = namespace.qr(formed().B)[0]
    U, S, Vt = namespace.svd(W.transposed_times(Q).T)
    return Factors(Q @ (U * namespace.put(S, W.dtype)), Vt)


def _rounding_of(
    W: Matrix, H: Array, ritz: tuple[Array, Array], squares: Array
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """The rounding of squared residuals, and which are more; others would make A worse."""
    share = (RESIDUAL_EPS * float(np.finfo(W.dtype).eps)) ** 2
    unsure = share * rounding_squares(H, *ritz)
    return unsure, (ritz[0] > share * ritz[0][0]) & (squares > unsure)


def _factors(
    W: Matrix,
    Y: Array,
    rest: Array,
    evidence: RitzData,
    ritz: tuple[Array, Array] | None,
    rank: int,
) -> Factors:
    """B = Y·G and A = (V·G + rest·tail·G·Λ⁻¹)ᵀ, padded by zeros if W has no more directions.

    If no Ritz values are given, they are computed from Y itself.
    """
    found, basis = ritz_of_products(Y, W.namespace) if ritz is None else ritz
    values, G = found[:rank], basis[:, :rank]
    outside = evidence.tail @ G
    squares = np.einsum("ij,ij->j", outside, evidence.rest @ outside)
    _, clear = _rounding_of(W, evidence.H, (values, G), squares)
    # the inner `where` avoids a warning for the values that are not used
    correction = np.where(clear, outside / np.where(clear, values, 1.0), 0.0)
    missing = rank - G.shape[1]
    leading, more = (
        W.namespace.put(np.pad(X, ((0, 0), (0, missing))), W.dtype) for X in (G, correction)
    )
    return Factors(Y @ leading, leading.T @ evidence.V.T + more.T @ rest.T)
