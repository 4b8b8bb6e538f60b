"""Plain gradient descent on ‖W − B·A‖²_F, which never forms the residual."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np

from eckart.arguments import check_number
from eckart.arrays import Array, inner
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.solvers.base import IterativeSolver, Problem, Step, check_count, start_of
from eckart.subspaces import largest_singular_value


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GradientDescent(IterativeSolver):
    """Gradient descent on f(B, A) = ‖W − B·A‖²_F, both gradients at the old factors.

        G_B = −2·(W·Aᵀ − B·(A·Aᵀ))        B ← B − learning_rate·G_B
        G_A = −2·(Bᵀ·W − (Bᵀ·B)·A)        A ← A − learning_rate·G_A

    The residual W − B·A is never formed: the gradient takes two products with W and two of
    rank × rank, and the loss ‖W‖² − 2⟨B, W·Aᵀ⟩ + ⟨BᵀB, AAᵀ⟩ comes from the product that the next
    epoch needs anyway. Below about eps·‖W‖² this expanded loss is rounding, and is reported as
    computed, or as 0 if it is negative; the certificate measures the error itself.

    Fields:
        learning_rate: Step size η. None chooses `safe_learning_rate`.
        epochs: Largest number of updates of both factors.
        momentum: Share of the last update that is added to the next (heavy ball), 0 to below 1.
        stop_early: Whether to stop before `epochs`, once the loss has converged.

    Raises:
        ArgumentError: If a field is out of its range.

    Cost:
        Two products with W of width rank per epoch, one more at the very end, and eight of width 6
        where `learning_rate` is None; memory 5·(rows + columns)·rank.

    Example:
        >>> from eckart.matrices import Dense
        >>> W, start = Dense([[2.0]]), Factors([[1.0]], [[1.0]])
        >>> steps = GradientDescent(learning_rate=0.1).steps(Problem(W=W, rank=1, start=start))
        >>> round(next(steps).loss, 9)  # B = A = 1 + 0.1·2·(2 − 1), and (2 − 1.44)² is left
        0.3136

    Reference:
        docs/mathematics/gradient-descent.md derives the gradients, the loss and the step size.
    """

    name: ClassVar[str] = "gd"

    learning_rate: float | None = None
    epochs: int = 1000
    momentum: float = 0.0
    stop_early: bool = True

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if rate is not None and not 0 < check_number("learning rate", rate) < math.inf:
            raise ArgumentError(
                f"The learning rate is {self.learning_rate}.",
                hint="Give a positive number, or leave it out to have one chosen from the data.",
                code="bad-learning-rate",
            )
        check_count("epochs", self.epochs)
        if not 0 <= check_number("momentum", self.momentum) < 1:
            raise ArgumentError(
                f"The momentum is {self.momentum}.",
                hint="Give a number from 0 to below 1.",
                code="bad-momentum",
            )

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield steps without end; the loss of each takes the first product of the next."""
        W, start = problem.W, start_of(problem)
        # never None once settled; `or` only tells the type checker so
        rate = self.resolved(problem).learning_rate or math.nan
        unit = _unit(W)  # B = √unit·B', A = √unit·A': no product overflows in float32
        B, A = start.B / math.sqrt(unit), start.A / math.sqrt(unit)  # (rows, rank), (rank, columns)
        root, put, gram = math.sqrt(unit), W.namespace.put, W.namespace.gram
        V_B, V_A = 0 * B, 0 * A  # the last updates, in the namespace of W
        P, H_B, H_A = W.times(A.T), gram(B, B), gram(A.T, A.T)
        for number in itertools.count():
            Q = W.transposed_times(B)  # (columns, rank)
            V_B = self._update(P - B @ put(unit * H_A, W.dtype), 2 * rate, V_B)
            V_A = self._update(Q.T - put(unit * H_B, W.dtype) @ A, 2 * rate, V_A)
            # new arrays: the step before keeps the old ones
            B, A = B + V_B, A + V_A
            P, H_B, H_A = W.times(A.T), gram(B, B), gram(A.T, A.T)
            left = W.squared_norm() - 2 * unit * W.namespace.inner(B, P)
            loss = left + unit**2 * inner(H_B, H_A)
            yield Step(
                number=number,
                loss=max(loss, 0.0) if math.isfinite(loss) else math.inf,
                factors=lambda B=B, A=A: Factors(B * root, A * root),
            )

    def _update(self, descent: Array, twice_rate: float, last: Array) -> Array:
        """Return the next update of a factor from half its negative gradient and the last one."""
        # in place: the array is a temporary of the caller, as tall as W
        descent *= twice_rate
        if self.momentum:
            descent += self.momentum * last
        return descent

    def resolved(self, problem: Problem, /) -> "GradientDescent":
        """Return the solver with the learning rate that it uses."""
        if self.learning_rate is not None:
            return self

        rate = safe_learning_rate(problem.W, start_of(problem)) * math.sqrt(1 - self.momentum)
        return replace(self, learning_rate=rate)

    def suggested_rate(self, problem: Problem, /) -> str:
        """Name a learning rate that works for this problem."""
        rate = replace(self, learning_rate=None).resolved(problem).learning_rate or math.nan
        return f"A learning rate of {_two_digits_below(rate):g} works here."


def safe_learning_rate(W: Matrix, start: Factors) -> float:
    """A step size at which gradient descent from `start` lowers the loss.

    Near a minimiser the largest curvature of ½·f is √(c² + 4σ₁²), where c = ‖AAᵀ − BᵀB‖₂ is nearly
    conserved on the way; at the start it is at most ‖A‖² + ‖B‖² + ‖W − B·A‖ (spectral norms). With
    L the larger of the two, f itself has curvature 2·L and descends at rates below 1/L; three
    quarters of that leave room for σ̂₁ < σ₁ and for a drift of c.

    Cost:
        8 products `gram_times` of width 6.

    Reference:
        docs/mathematics/gradient-descent.md, "The step size".
    """
    sigma = largest_singular_value(W)
    gram = W.namespace.gram
    H_B, H_A = gram(start.B, start.B), gram(start.A.T, start.A.T)
    left, right = (math.sqrt(float(np.linalg.norm(H, 2))) for H in (H_B, H_A))
    imbalance = float(np.linalg.norm(H_A - H_B, 2))
    at_minimum = math.hypot(imbalance, 2 * sigma)
    at_start = left**2 + right**2 + sigma + left * right
    curvature = max(at_minimum, at_start)
    return 0.75 / curvature if curvature > 0 else 1.0


def _unit(W: Matrix) -> float:
    """The power of four nearest to ‖W‖: its root is exact, so that scaling changes no digit."""
    norm = math.sqrt(W.squared_norm())
    return 4.0 ** round(math.log(norm, 4)) if norm > 0 else 1.0


def _two_digits_below(number: float) -> float:
    """Round a number down to two digits.

    Example:
        >>> _two_digits_below(0.02791)
        0.027
    """
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    # rounded again, or 27·0.001 is written with sixteen digits
    return round(math.floor(number / step) * step, 12 - math.floor(math.log10(number)))
