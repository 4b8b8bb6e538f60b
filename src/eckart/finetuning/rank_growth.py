"""Ranks that grow while a run learns, so that a budget is spent on layers that use it.

Ranks only grow: a new row of A is drawn and the column of B beside it is 0, so that the outputs are
the same before and after. To take a direction away would change them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch

from eckart.arrays import Array
from eckart.errors import ArgumentError
from eckart.finetuning.pairs import Pair
from eckart.finetuning.starts import own_seed
from eckart.ranks.allocation import allocate

FIRST: Final = 0.5
"""Share of the budget that all layers get alike at the start."""
MARKS: Final = (0.125, 0.25, 0.375)
"""Shares of the steps after which the rest is given out, a third each time."""
FALL: Final = 0.5
"""Fall of σ² from one component to the next that is assumed where only one is known."""
NUMBER: Final = 4
"""Bytes of a number of the factors."""


def uniform_rank(shapes: Mapping[str, tuple[int, int]], nbytes: float) -> int:
    """The largest rank of all layers alike whose factors fit into some bytes.

    Args:
        shapes: Outputs and inputs of each layer.
        nbytes: Bytes of all factors.
    """
    rank, sizes = 0, [(min(shape), NUMBER * sum(shape)) for shape in shapes.values()]
    while sum(min(rank + 1, most) * size for most, size in sizes) <= nbytes:
        rank += 1
        if rank >= max(most for most, _ in sizes):
            break
    return rank


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RankGrowth:
    """How a budget is spent.

    Fields:
        budget: Bytes of the factors of all layers.
        steps: Number of steps of the run.
        seed: Seed of the rows of A.
    """

    budget: int
    steps: int
    seed: int

    @property
    def marks(self) -> tuple[int, ...]:
        """The steps after which ranks grow."""
        return tuple(sorted({max(1, math.ceil(share * self.steps)) for share in MARKS}))

    def first(self, shapes: Mapping[str, tuple[int, int]]) -> int:
        """The rank of all layers at the start.

        Raises:
            ArgumentError: If the budget is too small for rank 1 of every layer.
        """
        least = NUMBER * sum(sum(shape) for shape in shapes.values())
        if self.budget < least:
            raise ArgumentError(
                f"The budget of {self.budget} bytes is too small for rank 1 of every layer.",
                hint=f"Give at least {least} bytes, or fewer layers.",
                code="budget-too-small",
            )
        return max(1, uniform_rank(shapes, FIRST * self.budget))

    def grow(self, known: Sequence[Pair], optimizer: Any, step: int) -> dict[str, Any]:
        """Let ranks grow after a step, and return what was done as plain numbers.

        The components of ΔW of a layer, σ₁ ≥ … ≥ σᵣ, are continued as a geometric row, and what is
        given out goes to the largest σ² for each byte. The optimiser forgets what it remembers of a
        layer whose rank has grown.
        """
        spectra = [continued(singular_values(pair), _most(pair)) for pair in known]
        place = self.marks.index(step) + 1
        held = sum(NUMBER * pair.rank * _side(pair) for pair in known)
        left = (self.budget - held) / (len(self.marks) + 1 - place)
        ranks = allocate(
            spectra,
            [NUMBER * _side(pair) for pair in known],
            int(held + left),
            least=[pair.rank for pair in known],
            most=[_most(pair) for pair in known],
        )
        grown: dict[str, int] = {}
        for pair, rank in zip(known, ranks, strict=True):
            if rank > pair.rank:
                grown[pair.name] = rank
                widen(pair, rank, own_seed(f"{pair.name}:{step}", self.seed))
                for one in (pair.B, pair.A):
                    optimizer.state.pop(one, None)
        return {"step": step, "grown": grown}


def _most(pair: Pair) -> int:
    return min(pair.B.shape[0], pair.A.shape[1])


def _side(pair: Pair) -> int:
    return int(pair.B.shape[0] + pair.A.shape[1])


def singular_values(pair: Pair) -> Array:
    """σ₁ ≥ σ₂ ≥ … of ΔW = s·B·A."""
    with torch.no_grad():
        # the triangles of thin factors have the singular values of the product
        left, right = (torch.linalg.qr(one.double())[1] for one in (pair.B, pair.A.mT))
        return torch.linalg.svdvals(pair.scale * left @ right.mT).numpy()


def continued(sigma: Array, count: int) -> Array:
    """Singular values and what would follow them if they fell on as they do.

    Example:
        >>> continued(np.array([4.0, 2.0]), 4).tolist()
        [4.0, 2.0, 1.0, 0.5]
    """
    last = float(sigma[-1])
    if len(sigma) > 1 and last > 0:
        fall = (last / float(sigma[0])) ** (1 / (len(sigma) - 1))
    else:
        fall = math.sqrt(FALL)
    return np.concatenate([sigma, last * fall ** np.arange(1, count - len(sigma) + 1)])[:count]


def widen(pair: Pair, rank: int, seed: int) -> None:
    """Give a pair more rows of A, which are drawn, and columns of B, which are 0."""
    more, inputs = rank - pair.rank, pair.A.shape[1]
    rows = np.random.default_rng(seed).uniform(-1, 1, (more, inputs)) / math.sqrt(inputs)
    drawn = torch.from_numpy(rows).to(pair.A.dtype)
    # the parameters themselves stay, since the optimiser and the model know them
    pair.A.grad = pair.B.grad = None
    pair.A.data = torch.cat([pair.A.detach(), drawn])
    pair.B.data = torch.cat([pair.B.detach(), pair.B.detach().new_zeros(len(pair.B), more)], 1)
