"""The exact truncated singular value decomposition."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from eckart.arrays import FLOAT64
from eckart.factors import Factors
from eckart.matrices.derived import dense
from eckart.solvers.base import DirectSolver, Problem, Step


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ExactSVD(DirectSolver):
    """The best factors of a given rank, W ≈ (U_r·S_r)·Vt_r, by LAPACK.

    No pair of that rank has a smaller error in the Frobenius or the spectral norm. The rows of A
    are orthonormal, BᵀB is diagonal and descending, and the entry of largest size in each row of A
    is positive, so that signs do not depend on the machine.

    Cost:
        One pass over W and one dense copy; about 4·rows·columns·min + 8·min³ operations, with
        min = min(rows, columns); memory 3 × rows × columns.

    Example:
        >>> from eckart.matrices import Dense
        >>> problem = Problem(W=Dense(np.diag([3.0, 2.0])), rank=1, start=None)
        >>> next(ExactSVD().steps(problem)).factors().dense()
        array([[3., 0.],
               [0., 0.]])

    Reference:
        Eckart, Young (1936), Psychometrika 1(3); LAPACK `gesdd`.
    """

    name: ClassVar[str] = "svd"

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield one step, with all singular values of W."""
        namespace = problem.W.namespace
        # with entries near 1 no square inside LAPACK leaves the range
        W, exponent = namespace.scaled(dense(problem.W))
        U, S, Vt = namespace.svd(W)
        rank = problem.rank
        # LAPACK leaves the signs of singular vectors to the machine
        largest = np.asarray(namespace.get(Vt[:rank]))
        signs = np.sign(largest[np.arange(rank), np.abs(largest).argmax(axis=1)])
        scale = namespace.put(np.ldexp(S[:rank] * signs, exponent), problem.W.dtype)
        B = U[:, :rank] * scale
        A = Vt[:rank] * namespace.put(signs[:, None], problem.W.dtype)
        yield Step(
            number=0,
            loss=None,
            factors=lambda: Factors(B, A),
            singular_values=np.ldexp(S, exponent),
            directions=lambda: (A, np.square(np.ldexp(S[:rank].astype(FLOAT64), exponent))),
        )
