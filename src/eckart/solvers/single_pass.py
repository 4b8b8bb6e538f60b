"""Factors from sketches of W that are computed in one pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

from eckart.matrices import Matrix, Sparse
from eckart.solvers.base import DirectSolver, Problem, Step, check_count
from eckart.subspaces import Sketch


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SinglePass(DirectSolver):
    """Factors from three sketches of W, for data that can be read only once.

    W is read once, from its first row to its last. The error is a small multiple of the best
    possible one, and is near it if singular values decay fast or the sketch is wide. If W can be
    read again, `BlockKrylov` is closer in less time. `factorize` reads W once more to check it,
    once to measure the error, and as often as the certificate needs; for rows that cannot be read
    again at all, use `Sketch`.

    Fields:
        width: Number of directions of the sketches, by default 5·rank + 8; a wider sketch is more
            accurate.

    Raises:
        ArgumentError: If the width is below 1.

    Cost:
        One pass; 10·rows·columns·width operations and memory width·(rows + 5·columns) + 9·width²
        numbers. A sparse W stays sparse: 10·width operations for each stored entry.

    Example:
        >>> import numpy as np
        >>> from eckart.matrices import Dense
        >>> W = Dense(np.outer([1.0, 2.0, 2.0], [3.0, 4.0]))
        >>> step = next(SinglePass().steps(Problem(W=W, rank=1, start=None)))
        >>> bool(np.allclose(step.factors().dense(), W.array)), W.passes
        (True, 1)

    Reference:
        Tropp, Yurtsever, Udell, Cevher (2019), SIAM Journal on Scientific Computing 41(4).
    """

    name: ClassVar[str] = "single-pass"

    width: int | None = None

    def __post_init__(self) -> None:
        if self.width is not None:
            check_count("width", self.width)

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield one step; its loss is not known, because that would take another pass."""
        W, rank = problem.W, problem.rank
        sketch = Sketch(W.shape[1], rank, width=self.width, dtype=W.dtype, seed=problem.randomness)
        for rows in _rows(W):
            sketch.add(rows)
        yield Step(number=0, loss=None, factors=sketch.factors)


def _rows(W: Matrix) -> Iterator[Any]:
    """Iterate over blocks of rows; those of a sparse W stay sparse."""
    return W.stored_blocks() if isinstance(W, Sparse) else W.row_blocks()
