"""The singular directions of a tall matrix from its Gram matrix WᵀW."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, final

import numpy as np
import scipy.linalg

from eckart.arrays import Array
from eckart.matrices import Matrix
from eckart.matrices.gram import deflated_gram, gram
from eckart.solvers.base import DirectSolver, Problem, Step
from eckart.solvers.ritz import project
from eckart.subspaces import RitzData, directed, ritz_by_blocks
from eckart.subspaces.krylov import ROUNDED_SQUARES

ALL_COLUMNS: Final = 600
"""Number of columns up to which all eigenvalues are computed; beyond it, twice the rank."""
EIGENVALUES_PER_RANK: Final = 2
"""Number of eigenvalues, in multiples of the rank, that are computed of more columns."""
ACCURATE_EPS: Final = 300.0
"""Size in eps·σ₁² above which rounding is less than a third of a percent of an eigenvalue."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GramSVD(DirectSolver):
    """Right singular vectors as eigenvectors of WᵀW, for many rows of few columns.

        WᵀW = A'ᵀ·Λ·A',    A = the leading rows of A',    B = W·Aᵀ

    One pass over W computes WᵀW, whatever the spectrum; B takes another. Squares halve the digits:
    singular values below some √eps·σ₁ are lost in WᵀW. If the rank reaches so far down, the rows
    are projected off the directions found and WᵀW is computed again, in one more pass for every
    three decades (seven in float64) of singular values, and one pass for all of them at the end.

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

    name: ClassVar[str] = "gram"

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield one step."""
        W, M, rank = problem.W, gram(problem.W), problem.rank
        values, G = _leading(M, None if problem.rule else rank)
        values, G = _deflate(W, values, G, len(values) if problem.rule else rank)
        if problem.rule is not None:
            # all values are known, so the rule chooses as it does from a decomposition of W
            every = np.sqrt(np.maximum(values[: min(W.shape)], 0.0))
            rank = problem.rule.choose(W.shape, W.dtype, every)
        kept = np.maximum(values[:rank], 0.0)
        missing = rank - len(kept)
        A = np.pad(G[:, :rank].T, ((0, missing), (0, 0)))
        rows = directed(W.namespace.put(A, W.dtype), W.namespace)
        yield Step(
            number=0,
            loss=max(0.0, W.squared_norm() - float(kept.sum())),
            factors=partial(project, W, lambda: (rows, kept)),
            evidence=partial(_evidence, W, values, G),
            rank=rank,
            directions=lambda: (rows, np.pad(kept, (0, missing))),
        )


def _leading(M: Array, rank: int | None) -> tuple[Array, Array]:
    """Eigenvalues, descending, and their vectors: all, or twice as many as the rank."""
    columns = len(M)
    wanted = (
        columns
        if rank is None or columns <= ALL_COLUMNS
        else min(columns, EIGENVALUES_PER_RANK * rank)
    )
    several = None if wanted == columns else (columns - wanted, columns - 1)
    solved: Any = scipy.linalg.eigh(M, subset_by_index=several, check_finite=False)
    return solved[0][::-1], solved[1][:, ::-1]


def _deflate(W: Matrix, values: Array, G: Array, rank: int) -> tuple[Array, Array]:
    """Replace pairs that rounding of the largest hides by those of the projected rows."""
    eps, largest = float(np.finfo(W.dtype).eps), float(values[0])
    known = int(np.count_nonzero(values > ACCURATE_EPS * eps * largest))
    if not 0 < known < min(rank, len(values)):
        return values, G
    while known < min(rank, len(values)):
        A = G[:, :known].T
        # an exact complement: no direction is lost, however small its part in WᵀW
        left = np.linalg.qr(A.T, mode="complete")[0][:, known:]
        M = left.T @ deflated_gram(W, A) @ left
        below, E = (part[..., :rank] for part in _leading(M, rank))
        values, G = np.concatenate([values[:known], below]), np.hstack([A.T, left @ E])
        if below[0] <= ROUNDED_SQUARES * eps**2 * W.squared_norm():
            break  # only rounding is left
        # at least one, so that the loop ends
        known += max(1, int(np.count_nonzero(below > ACCURATE_EPS * eps * below[0])))
    # rounding left parts of the large directions that are longer than the small ones
    values, turned = ritz_by_blocks(W, W.namespace.put(G, W.dtype))
    return values, G @ turned


def _evidence(W: Matrix, values: Array, G: Array) -> RitzData:
    """Return Ritz data without a residual, because G holds eigenvectors of WᵀW."""
    width, none = len(values), np.zeros((0, 0))
    return RitzData(
        V=W.namespace.put(np.ascontiguousarray(G), W.dtype),
        H=np.diag(values),
        rest=none,
        tail=np.zeros((0, width)),
        known=(values, np.eye(width)),
    )
