"""A step of a solver that works in a space of directions: the Ritz vectors of that space."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Final

import numpy as np

from eckart.arrays import Array
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.solvers.protocol import Step
from eckart.subspaces import (
    Evidence,
    GivenSpace,
    KrylovSpace,
    hidden,
    leading_directions,
    leading_squares_bound,
)
from eckart.subspaces.directions import SHARP

NEAREST: Final = 0.95
"""A direction outside the space is taken to be no longer than this share of a Ritz value."""


def ritz_step(
    number: int,
    W: Matrix,
    space: KrylovSpace | GivenSpace,
    rank: int,
    *,
    tall: bool,
    residual: float | None,
) -> Step:
    """What a space has to give now.

    Args:
        number: Of the step.
        W: The matrix.
        space: Of directions, with the products with them.
        rank: How many directions are wanted.
        tall: Whether the space has W·V too, so that B takes no product.
        residual: ‖WᵀWv − σ²v‖/σ₁² that is asked for; None where the error counts.
    """
    values, G = space.ritz()
    values, G = values[:rank], G[:, :rank]
    sharp = values > SHARP * float(np.finfo(W.dtype).eps) * values[0]
    evidence = space.evidence()
    outside = evidence.tail @ G
    squares = np.einsum("ij,ij->j", outside, evidence.rest @ outside)
    gains = squares[sharp] / values[sharp]
    gain = float(gains.sum())
    correction = np.where(sharp, outside / np.where(sharp, values, 1.0), 0.0)
    directions = cache(partial(leading_directions, evidence, space.rest, rank, W))
    formed = partial(_factors, W, space.V, space.Y, space.rest, G, correction, rank)
    return Step(
        number=number,
        loss=max(0.0, W.squared_norm() - float(values.sum()) - gain),
        gain=gain,
        foreseen=_foreseen(gains, values[sharp], evidence.next_square()),
        rank=rank,
        evidence=lambda: evidence,
        factors=formed if tall else partial(projected, W, directions),
        residual=None if residual is None else _residual(values, squares, directions, residual),
        directions=directions,
        excess=None if residual is not None else _excess(W, evidence, rank, directions),
    )


def _excess(
    W: Matrix, evidence: Evidence, rank: int, directions: Callable[[], tuple[Array, Array]]
) -> float | None:
    """How far the error of the directions may be above the best, as a share of it."""
    total, outside = W.squared_norm(), evidence.outside
    if outside is None:
        return None
    left = total - leading_squares_bound(evidence, rank, outside, total) - hidden(W)
    reached = total - float(directions()[1].sum())
    return math.sqrt(max(reached, 0.0) / left) - 1 if left > 0 else None


def _residual(
    values: Array, squares: Array, directions: Callable[[], tuple[Array, Array]], wanted: float
) -> float:
    """The largest residual, and what the last product found beside the Ritz vectors, by λ₁.

    The second tells of directions that a space not begun at random does not have yet. It takes the
    directions, which are not formed where the first is too large already.
    """
    scale = float(values[0] or 1.0)
    largest = math.sqrt(float(squares.max(initial=0.0))) / scale
    if largest > wanted:
        return largest
    return max(largest, float(directions()[1].sum() - values.sum()) / scale)


def projected(W: Matrix, directions: Callable[[], tuple[Array, Array]]) -> Factors:
    """The directions and the product with them, by one pass over W."""
    A = directions()[0]
    return Factors(W.times(A.T), A)


def _foreseen(gains: Array, values: Array, square: float) -> float:
    """What the next blocks will lower the loss by, to second order.

    A Ritz value θ rises by ‖S·g‖²/(θ − μ), where μ is the squared length of W on the direction that
    is new to the space; ‖S·g‖²/θ of that was gained already.
    """
    share = np.minimum(square / values, NEAREST)
    return float((gains * share / (1 - share)).sum())


def _factors(
    W: Matrix, V: Array, Y: Array, rest: Array, G: Array, correction: Array, rank: int
) -> Factors:
    """B = Y·G and A = (V·G + rest·correction)ᵀ, with zeros where W has no more directions."""
    missing = rank - G.shape[1]
    leading, more = (
        W.namespace.put(np.pad(X, ((0, 0), (0, missing))), W.dtype) for X in (G, correction)
    )
    return Factors(Y @ leading, leading.T @ V.T + more.T @ rest.T)
