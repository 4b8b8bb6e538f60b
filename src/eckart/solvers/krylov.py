"""Randomised block Krylov iteration: the fast road to nearly the best factors of a large matrix."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, final

import numpy as np

from eckart.arrays import Array
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.solvers.protocol import Problem, Step
from eckart.subspaces import Evidence, KrylovSpace

MOST_WIDTH: Final = 6
"""The space is restarted above this many times rank + oversampling columns."""

SHARP: Final = 1000
"""Ritz values above this many eps·λ₁ are exact enough to divide by."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockKrylov:
    """Rayleigh–Ritz approximation from a randomised block Krylov space of WᵀW.

    With V an orthonormal basis of span{WᵀΩ, WᵀW·WᵀΩ, …}, H = (WV)ᵀ(WV) and G, Λ its leading
    eigenvectors and eigenvalues:

        B = W·V·G,    A = Λ⁻¹·BᵀW = (V·G)ᵀ + Λ⁻¹·(rest·tail·G)ᵀ

    the best factors with these columns of B. Each step adds one block. The error never rises from
    step to step and never falls below the optimum. For the same products it is smaller than that of
    subspace iteration, by orders of magnitude where singular values decay slowly. The last product
    of a step lowers the loss by Σ ‖rest·tail·g_i‖²/λ_i, which bounds what the next can gain where
    gains shrink, and is what the run is stopped by.

    Fields:
        oversampling: Columns of the space beyond the rank, at least.
        blocks: The most blocks to add.
        stop_early: Stop before that, once another pass would lower the error by less than 0.1 %.

    Raises:
        ArgumentError: If a field is out of its range.

    Cost:
        Two passes over W for each block, of width rank/2 + oversampling, usually three to five
        blocks, and one more; memory at most 6·(rows + columns)·(rank + oversampling) beside W.

    Example:
        >>> from eckart.matrices import Dense
        >>> W = Dense(np.diag([5.0, 3.0, 1.0]))
        >>> step = next(BlockKrylov().steps(Problem(W=W, rank=1, start=None)))
        >>> round(step.loss, 6)  # 3² + 1²
        10.0

    Reference:
        Musco, Musco (2015), algorithm 2; Tropp, Webber (2023), arXiv 2306.12418; on blocks smaller
        than the rank: Chen et al. (2025), arXiv 2508.06486.
    """

    oversampling: int = 8
    blocks: int = 60
    stop_early: bool = True

    def __post_init__(self) -> None:
        for name, least in (("oversampling", 1), ("blocks", 1)):
            if getattr(self, name) < least:
                raise ArgumentError(
                    f"The number of {name} is {getattr(self, name)}.",
                    hint=f"Give at least {least}.",
                    code=f"bad-{name}",
                )

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """One step for each block once the space is wide enough; ends where it holds all of W."""
        W, rank = problem.W, problem.rank
        enough = min(rank + self.oversampling, *W.shape)
        block = rank // 2 + self.oversampling
        space = KrylovSpace(W, block, problem.randomness)
        number = 0
        while True:
            space.grow()
            if space.width >= enough or space.is_whole:
                yield _step(number, W, space, rank)
                number += 1
            if space.is_whole:
                return
            if space.width + block > MOST_WIDTH * (rank + self.oversampling) + block:
                space.restart(rank + block)

    def settings(self) -> dict[str, Any]:
        """Name and settings, for the recipe."""
        return {"name": "krylov", **asdict(self)}


def _step(number: int, W: Matrix, space: KrylovSpace, rank: int) -> Step:
    values, G = space.ritz()
    values, G = values[:rank], G[:, :rank]
    sharp = values > SHARP * float(np.finfo(W.dtype).eps) * values[0]
    residual = space.residual_gram()
    squares = np.einsum("ij,ij->j", G, residual @ G)
    gain = float((squares[sharp] / values[sharp]).sum())
    correction = np.where(sharp, (space.tail @ G) / np.where(sharp, values, 1.0), 0.0)
    return Step(
        number=number,
        loss=max(0.0, W.squared_norm() - float(values.sum()) - gain),
        gain=gain,
        evidence=partial(Evidence, V=space.V, H=space.H, residual=residual),
        factors=partial(_factors, space.V, space.Y, space.rest, G, correction, rank),
    )


def _factors(V: Array, Y: Array, rest: Array, G: Array, correction: Array, rank: int) -> Factors:
    """B = Y·G and A = (V·G + rest·correction)ᵀ, with zeros where W has no more directions."""
    leading = G.astype(V.dtype)
    missing = rank - leading.shape[1]
    right = V @ leading + rest @ correction.astype(V.dtype)
    return Factors(
        np.pad(Y @ leading, ((0, 0), (0, missing))), np.pad(right.T, ((0, missing), (0, 0)))
    )
