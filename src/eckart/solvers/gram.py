"""The singular directions of a tall matrix from the small matrix WᵀW."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, final

import numpy as np
import scipy.linalg

from eckart.arrays import Array
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.matrices.standardised import gram
from eckart.solvers.protocol import Problem, Step
from eckart.subspaces import Evidence
from eckart.subspaces.directions import directed

ALL: Final = 600
"""Up to so many columns all eigenvalues are computed; of more, a few beyond the rank."""
MORE: Final = 2


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GramSVD:
    """Right singular vectors as eigenvectors of WᵀW, for many rows of few columns.

        WᵀW = A'ᵀ·Λ·A',    A = the leading rows of A',    B = W·Aᵀ

    One pass over W makes WᵀW, whatever the spectrum; B takes another. Squares halve the digits:
    singular values below √eps·σ₁ are lost, so it is no road to a small error of B·A, but it is all
    that principal components need.

    Cost:
        One pass and rows·columns² operations, columns³ more; memory 3·columns² in float64.

    Example:
        >>> from eckart.matrices import Dense
        >>> problem = Problem(W=Dense(np.diag([3.0, 2.0])), rank=1, start=None)
        >>> next(GramSVD().steps(problem)).directions()[1]
        array([9.])

    Reference:
        Golub, Van Loan (2013), Matrix Computations, section 8.6.3.
    """

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """One step."""
        W, M = problem.W, gram(problem.W)
        values, G = _leading(M, None if problem.rule else problem.rank)
        rank = problem.rank
        if problem.rule is not None:
            found = problem.rule.enough(W.shape, values, float(np.trace(M)))
            rank = found or len(values)
        kept = np.maximum(values[:rank], 0.0)
        missing = rank - len(kept)
        A = np.pad(G[:, :rank].T, ((0, missing), (0, 0)))
        rows = directed(W.namespace.put(A, W.dtype), W.namespace)
        yield Step(
            number=0,
            loss=max(0.0, W.squared_norm() - float(kept.sum())),
            factors=partial(_factors, W, rows),
            evidence=partial(_evidence, W, values, G),
            rank=rank,
            directions=lambda: (rows, np.pad(kept, (0, missing))),
        )

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        return {"name": "gram"}


def _leading(M: Array, rank: int | None) -> tuple[Array, Array]:
    """Eigenvalues, descending, and their vectors: all, or somewhat more than the rank."""
    columns = len(M)
    wanted = columns if rank is None or columns <= ALL else min(columns, MORE * rank)
    several = None if wanted == columns else (columns - wanted, columns - 1)
    solved: Any = scipy.linalg.eigh(M, subset_by_index=several, check_finite=False)
    return solved[0][::-1], solved[1][:, ::-1]


def _factors(W: Matrix, A: Array) -> Factors:
    return Factors(W.times(A.T), A)


def _evidence(W: Matrix, values: Array, G: Array) -> Evidence:
    """Eigenvectors of WᵀW leave no residual."""
    width, none = len(values), np.zeros((0, 0))
    return Evidence(
        V=W.namespace.put(np.ascontiguousarray(G), W.dtype),
        H=np.diag(values),
        rest=none,
        tail=np.zeros((0, width)),
        known=(values, np.eye(width)),
    )
