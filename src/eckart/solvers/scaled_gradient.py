"""Scaled gradient descent, preconditioned so that its speed is independent of the spectrum."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final, final

from eckart.arguments import check_number
from eckart.arrays import Array, inner, rounding
from eckart.backends import svd
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.solvers.base import IterativeSolver, Problem, Step, check_count, start_of

DEFAULT_RATE: Final = 2 / 3
"""Default learning rate: near the optimum the scaled curvature lies between 1 and 2, so that every
error shrinks to about a third."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledGradientDescent(IterativeSolver):
    """Gradient descent on ½‖W − B·A‖²_F with the gradients scaled by (AAᵀ)⁻¹ and (BᵀB)⁻¹.

        B ← B + η·(W·Aᵀ(AAᵀ)⁻¹ − B)        A ← A + η·((BᵀB)⁻¹Bᵀ·W − A)

    Both updates use the old factors, so each factor goes the share η of the way to its
    least-squares solution. The inverses are applied through thin QR factorisations, Aᵀ = Q·R, so
    that small singular values are not squared; directions that are rounding are not changed. From a
    start with B = 0 the first update of A is zero.

    Fields:
        learning_rate: The share η, above 0 and below 1. None takes ⅔.
        epochs: Largest number of updates of both factors.
        stop_early: Whether to stop before `epochs`, once the loss has converged.

    Raises:
        ArgumentError: If a field is out of its range.

    Cost:
        Two products with W of width rank per epoch and one more at the very end, two thin QR;
        memory 7·(rows + columns)·rank.

    Example:
        >>> from eckart.matrices import Dense
        >>> problem = Problem(W=Dense([[2.0]]), rank=1, start=Factors([[1.0]], [[1.0]]))
        >>> solver = ScaledGradientDescent(learning_rate=0.5)
        >>> round(next(solver.steps(problem)).loss, 9)  # B = A = 1.5, and (2 − 2.25)² is left
        0.0625

    Reference:
        Tong, Ma, Chi (2021), Journal of Machine Learning Research 22(150), equation 3.
    """

    name: ClassVar[str] = "scaled-gd"

    learning_rate: float | None = None
    epochs: int = 1000
    stop_early: bool = True

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if rate is not None and not 0 < check_number("learning rate", rate) < 1:
            raise ArgumentError(
                f"The learning rate of scaled gradient descent is {self.learning_rate}.",
                hint="Give a number between 0 and 1, or leave it out.",
                code="bad-learning-rate",
            )
        check_count("epochs", self.epochs)

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield steps without end; the loss of each takes the first product of the next."""
        W, start = problem.W, start_of(problem)
        rate = self.learning_rate or DEFAULT_RATE
        B, A = start.B, start.A  # (rows, rank), (rank, columns)
        gram = W.namespace.gram
        P, R = _product(W.times, W, A.T)
        for number in itertools.count():
            Q, L = _product(W.transposed_times, W, B)
            left, right = _inverse(W, R), _inverse(W, L)
            # for A = 0 the least-squares B is 0, and a step would only shrink B
            if R.any():
                B = B + rate * (P @ left.T - B)
            if L.any():
                A = A + rate * (right @ Q.T - A)
            P, R = _product(W.times, W, A.T)
            fitted = W.namespace.inner(B, P @ W.namespace.put(R, W.dtype))
            loss = W.squared_norm() - 2 * fitted + inner(gram(B, B), gram(A.T, A.T))
            yield Step(
                number=number,
                loss=max(loss, 0.0) if math.isfinite(loss) else math.inf,
                factors=partial(Factors, B, A),
            )

    def resolved(self, problem: Problem, /) -> "ScaledGradientDescent":
        """Return the solver with the learning rate that it uses."""
        del problem
        return replace(self, learning_rate=self.learning_rate or DEFAULT_RATE)

    def suggested_rate(self, problem: Problem, /) -> str:
        """Name a learning rate that works for every problem."""
        del problem
        return f"A learning rate of {DEFAULT_RATE:.2g} works here."


def _product(product: Any, W: Matrix, X: Array) -> tuple[Array, Array]:
    """Return the product with Q, and R as a NumPy array, for the QR factorisation X = Q·R."""
    Q, R = W.namespace.qr(X)
    return product(Q), W.namespace.get(R)


def _inverse(W: Matrix, R: Array) -> Array:
    """Return the pseudo-inverse of R in the namespace of W, without directions of rounding."""
    U, S, Vt = svd(R)
    # strictly above, so that R = 0 keeps nothing and nothing is divided by 0
    kept = rounding(W.shape, W.dtype) * float(S[0]) < S
    inverse = (Vt[kept].T / S[kept]) @ U[:, kept].T
    return W.namespace.put(inverse, W.dtype)
