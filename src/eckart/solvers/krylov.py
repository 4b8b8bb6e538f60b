"""Randomised block Krylov iteration: fast, near-optimal factors of a large matrix."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, final

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.matrices import Matrix, is_streamed
from eckart.objectives import residual_norm
from eckart.ranks import byte_count, check_open_unit
from eckart.solvers.base import Problem, Step, SubspaceSolver, check_count
from eckart.solvers.ritz import is_missing, ritz_step
from eckart.subspaces import KrylovSpace, PowerProbes, gaussian_columns, hidden
from eckart.subspaces.krylov import WIDTH_MULTIPLE, whole_width

RESTART_WIDTHS: Final = 5
"""Width of the space, in multiples of rank + oversampling, at which it is restarted."""
RESTART_BLOCKS: Final = 4
"""Width of the space in blocks below which it is not restarted: a restart also restarts the
probes, which need two blocks to be accurate."""
SPARE_PART: Final = 5
"""The space is never restarted while it takes less than this part (a fifth) of the bytes of W."""
PROBE_COLUMNS: Final = 16
"""Number of columns that are multiplied along with each block, to bound the norm outside it."""
NARROW_COLUMNS: Final = 12
"""Columns of a later block, or a quarter of the rank, if W is sparse and a residual is asked for:
more blocks of fewer columns make a polynomial of a higher degree."""
STREAMED_COLUMNS: Final = 256
"""Columns of a block if W is read from files: reading takes as long as some hundred columns."""
SPARSE_RATIO: Final = 4
"""Ratio of the bytes of a dense W to those stored, above which W counts as sparse."""
WIDE_COLUMNS: Final = 48
"""Least number of columns of a block (or 2·rank + oversampling if that is less): a product takes
little longer than with a few, and two wide blocks come as close as three of half the width."""
LITTLE_GAIN: Final = 1e-3
"""Gain, as a share of the loss, below which a missing direction is not in the Krylov space."""
LATE_STEP: Final = 2
"""Number of the step from which on the space should hold every direction above those kept."""
COLUMNS_PER_FRESH: Final = 4
"""Number of columns of a block for each random direction that joins if something is missing."""
SEARCH_GROWTH: Final = 1.15
"""Growth of the space after which Ritz values are computed again while the rank is not known."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockKrylov(SubspaceSolver):
    """Rayleigh–Ritz approximation from a randomised block Krylov space of WᵀW.

    With V an orthonormal basis of span{WᵀΩ, WᵀW·WᵀΩ, …}, H = (WV)ᵀ(WV) and G, Λ its leading
    eigenvectors and eigenvalues:

        B = W·V·G,    A = Λ⁻¹·BᵀW = (V·G)ᵀ + Λ⁻¹·(rest·tail·G)ᵀ

    the best factors with these columns of B. Each step adds one block. The error never rises from
    step to step and never falls below the optimum. For the same products it is smaller than that of
    subspace iteration, by orders of magnitude where singular values decay slowly. Probes that are
    multiplied along with every block estimate the norm outside the space, and so the excess of the
    error over the best possible one; while they show a larger direction outside that the blocks do
    not find, random directions join the next block.

    Fields:
        oversampling: Least number of columns of the space beyond the rank.
        blocks: Largest number of blocks to add once the rank is known.
        memory: Largest number of bytes of the space, a number or "500MB"; the space is restarted
            before it grows beyond. None allows 5·(rank + oversampling) columns, or a fifth of the
            bytes of W.
        stop_early: Whether to stop before that, once the error is estimated to be within 0.1 % of
            the best, or further passes would gain that little and nothing larger is known outside.
        residual: Stop instead once every leading direction v has ‖WᵀWv − σ²v‖ ≤ residual·σ², to
            rounding; for users who need the directions themselves.
        tall: Whether W·V is kept. If not, a block is one fused pass WᵀW·X and memory holds V alone;
            singular values below √eps·σ₁ are then lost, and B takes one more pass.

    Raises:
        ArgumentError: If a field is out of its range.

    Cost:
        Two passes over W for each block, usually two to five blocks, and one more; half a pass more
        where, in float64, nothing but rounding is left of the loss. The first block
        has rank + oversampling columns, or min(48, 2·rank + oversampling) if that is more; later
        blocks have as many as hold 97 % of the expected gain, up to 3·rank/4 + oversampling or 48;
        for a streamed W up to 256. Together with 16 probes, widths are multiples of 16. The space
        takes at most the larger of 5·(rows + columns)·(rank + oversampling) numbers, four blocks
        and a fifth of W, and one more block while it grows.

    Example:
        >>> import numpy as np
        >>> from eckart.matrices import Dense
        >>> W = Dense(np.diag([5.0, 3.0, 1.0]))
        >>> step = next(BlockKrylov().steps(Problem(W=W, rank=1, start=None)))
        >>> round(step.loss, 6)  # 3² + 1²
        10.0

    Reference:
        Musco, Musco (2015), algorithm 2; Tropp, Webber (2023), arXiv 2306.12418; on blocks smaller
        than the rank: Chen et al. (2025), arXiv 2508.06486.
    """

    name: ClassVar[str] = "krylov"

    oversampling: int = 8
    blocks: int = 60
    memory: int | str | None = None
    stop_early: bool = True
    residual: float | None = None
    tall: bool = True

    def __post_init__(self) -> None:
        check_count("oversampling", self.oversampling)
        check_count("blocks", self.blocks)
        if self.residual is not None:
            check_open_unit("residual", self.residual)
        if self.memory is not None:
            byte_count(self.memory)

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield one step for each block once the space is wide enough, until it holds all of W."""
        W, search = problem.W, _RankSearch(problem)
        most = self._most_width(W, problem.rank)
        block = self._block(W, problem.rank, most)
        space = KrylovSpace(
            W,
            block,
            problem.randomness,
            room=most,
            tall=self.tall,
            first=problem.first,
            probes=problem.probes or PowerProbes(gaussian_columns(W, PROBE_COLUMNS)),
        )
        number, fresh, later = 0, 0, None
        while True:
            space.grow(later, fresh, problem.rank)
            fresh, rank = 0, search.rank(space)
            if rank is not None and (space.width >= rank + self.oversampling or space.is_whole):
                step = ritz_step(number, W, space, rank, tall=self.tall, residual=self.residual)
                yield step
                number, later = number + 1, self._later(W, rank, block)
                if is_missing(step) and self._is_stuck(step, space, rank):
                    fresh = later // COLUMNS_PER_FRESH
            if space.is_whole:
                return
            if rank is not None:  # found by a search, it may be far below the first guess
                most = self._most_width(W, rank)
                most = most if self.memory is not None else max(most, rank + 2 * block)
            if space.width + block + fresh > most and (rank is not None or self.memory is not None):
                space.restart(self._kept(W, rank or space.width, block + fresh, most))

    @staticmethod
    def _is_stuck(step: Step, space: KrylovSpace, rank: int) -> bool:
        """Whether the blocks will not find what is missing: the gain is small, or it is late."""
        least, values = space.outside()[0] or 0.0, space.ritz(rank)[0]
        late = step.number >= LATE_STEP and least > values[min(rank, len(values)) - 1]
        return late or (step.gain or 0.0) <= LITTLE_GAIN * (step.loss or 0.0)

    def _most_width(self, W: Matrix, rank: int) -> int:
        """Number of columns at which the space is restarted."""
        column = self._column(W)
        if self.memory is not None:
            return byte_count(self.memory) // column
        several = RESTART_WIDTHS * (rank + self.oversampling)
        return max(several, RESTART_BLOCKS * self.width(W, rank), W.nbytes // SPARE_PART // column)

    def _column(self, W: Matrix) -> int:
        """Bytes of a column of the space, in V and in Y."""
        return (sum(W.shape) if self.tall else W.shape[1]) * W.dtype.itemsize

    def _block(self, W: Matrix, rank: int, most: int) -> int:
        """Number of columns of the first block: few enough that three blocks fit."""
        least, wide = rank + self.oversampling, self.width(W, rank) + PROBE_COLUMNS
        together = max(whole_width(least + PROBE_COLUMNS), wide - wide % WIDTH_MULTIPLE)
        return max(1, min(together - PROBE_COLUMNS, max(least, most // 3), *W.shape))

    def width(self, W: Matrix, rank: int) -> int:
        """Number of columns of a block if neither the size of W nor the memory limits it."""
        most = STREAMED_COLUMNS if is_streamed(W) else WIDE_COLUMNS
        return max(rank + self.oversampling, min(most, 2 * rank + self.oversampling))

    def _later(self, W: Matrix, rank: int, block: int) -> int:
        """Number of columns of a block once the space is wide enough for the rank."""
        if is_streamed(W):
            return block
        thin = math.prod(W.shape) * W.dtype.itemsize > SPARSE_RATIO * W.nbytes
        if thin and self.residual is not None:
            return min(block, max(NARROW_COLUMNS, rank // 4))
        return min(block, max(WIDE_COLUMNS, 3 * rank // 4 + self.oversampling))

    def _kept(self, W: Matrix, rank: int, block: int, most: int) -> int:
        """Number of columns to keep at a restart, so that the next block fits."""
        kept = min(rank + block, most - block)
        if kept < min(rank + self.oversampling, *W.shape):
            needed = (rank + self.oversampling + block) * self._column(W)
            raise MatrixError(
                f"A rank of {rank} and more takes a space of at least {needed / 1e6:.1f} MB.",
                hint="Allow more memory, or choose a smaller rank.",
                code="memory-too-small",
            )
        return kept


@final
class _RankSearch:
    """The rank of a problem: given, or chosen by a rule while the space grows."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._looked_at = 0

    def rank(self, space: KrylovSpace) -> int | None:
        """Return the rank, or None while the rule needs a wider space."""
        problem, W = self._problem, self._problem.W
        if problem.rule is None:
            return problem.rank
        if space.width < SEARCH_GROWTH * self._looked_at and not space.is_whole:
            return None
        # all of them must be accurate, because the rule may stop at any
        values = space.ritz(space.width)[0]
        rank = problem.rule.enough(W.shape, W.dtype, values, self._rest(space, values))
        # once found, the rank is looked at again with every block
        self._looked_at = space.width if rank is None else 0
        # the space holds all of W, so no further value can be found
        return len(values) if rank is None and space.is_whole else rank

    def _rest(self, space: KrylovSpace, values: Array) -> float:
        """‖W(I − VVᵀ)‖²_F.

        As a difference of squares it has a rounding error in proportion to ‖W‖²; if that may be all
        of it, one pass in float64 measures it.
        """
        W = self._problem.W
        outside = W.squared_norm() - float(values.sum())
        if outside > hidden(W) or not space.Y.size:
            return max(0.0, outside)
        return residual_norm(W, Factors(space.Y, space.V.T)) ** 2
