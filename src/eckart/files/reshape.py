"""Other forms of stored factors: their product as a matrix, or factors of a smaller rank."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.files.registry import (
    check_factor_output,
    check_matrix_output,
    choose_part,
    read_factor_file,
    write_factors,
    write_matrices,
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reshaping:
    """The result of `expand` and `truncate`.

    Fields:
        output: Path of the file that was written.
        shape: Rows and columns of the first part.
        rank: Rank of the first part after the change.
        relative_change: ‖B·A − B'·A'‖ / ‖B·A‖ over all parts, the loss from a smaller rank.
    """

    output: str
    shape: tuple[int, int]
    rank: int
    relative_change: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return {
            "output": self.output,
            "shape": list(self.shape),
            "rank": self.rank,
            "relative_change": self.relative_change,
        }

    def sentence(self) -> str:
        """The result in one sentence for the user."""
        rows, columns = self.shape
        return f"{rows} × {columns}, rank {self.rank}, relative change {self.relative_change:.4g}"


def expand(
    factors: Path, output: Path, *, part: str | None = None, force: bool = False
) -> Reshaping:
    """Write B·A as a matrix, block by block.

    Args:
        factors: File of B and A.
        output: File in any matrix format; a picture holds all channels of a picture.
        part: Name of the part, if there are several; None takes all.
        force: Whether an existing output is overwritten.

    Raises:
        EckartError: If a file cannot be read or written, the format cannot hold the parts, or B·A
            leaves the range of its dtype.
    """
    # refused before the work is done
    check_matrix_output(output, force=force, inputs=[factors])
    parts = dict(read_factor_file(factors).parts)
    if part is not None:
        parts = {part: choose_part(parts, part, factors)}
    for pair in parts.values():
        if not _is_in_range(pair):
            raise MatrixError(
                f"The entries of B·A leave the range of {pair.dtype}.",
                hint="Save the factors in float64.",
                code="out-of-range",
            )
    write_matrices(output, parts, force=force)
    first = next(iter(parts.values()))
    return Reshaping(output=str(output), shape=first.shape, rank=first.rank, relative_change=0.0)


def _is_in_range(pair: Factors) -> bool:
    """Whether every entry of B·A is finite; the entries are formed only if norms do not decide."""
    squares = pair.namespace.squares
    # |(B·A)ᵢⱼ| ≤ ‖B‖_F·‖A‖_F, by the inequality of Cauchy and Schwarz
    if math.sqrt(squares(pair.B)) * math.sqrt(squares(pair.A)) <= float(np.finfo(pair.dtype).max):
        return True
    return all(pair.namespace.is_finite(block) for block in pair.row_blocks())


def truncate(factors: Path, output: Path, rank: int, *, force: bool = False) -> Reshaping:
    """Write the best factors of a smaller rank.

    Args:
        factors: File of B and A.
        output: File that ends in `.npz` or `.safetensors`, or a folder.
        rank: Number of components to keep, in every part.
        force: Whether an existing output is overwritten.

    Raises:
        EckartError: If a file cannot be read or written, or the rank is above that of the factors.

    Cost:
        A QR factorisation of each factor; W is not needed.
    """
    check_factor_output(output, force=force, inputs=[factors])
    parts = read_factor_file(factors).parts
    smaller = {name: pair.truncate(rank) for name, pair in parts.items()}
    values = [pair.singular_values() for pair in parts.values()]
    # Eckart and Young: the truncation loses exactly the singular values that it drops
    lost = math.hypot(*(float(value) for one in values for value in one[rank:]))
    whole = math.hypot(*(float(value) for one in values for value in one))
    write_factors(output, smaller, force=force)
    first = next(iter(smaller.values()))
    return Reshaping(
        output=str(output),
        shape=first.shape,
        rank=first.rank,
        relative_change=lost / whole if whole > 0 else 0.0,
    )
