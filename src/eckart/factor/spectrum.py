"""Suggesting a rank from the singular values of a matrix."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import Array
from eckart.certificates import spectrum
from eckart.errors import MatrixError
from eckart.files import Part
from eckart.matrices.derived import check_entries
from eckart.ranks import NoiseThreshold, WithinTolerance, tail_errors

TOLERANCES: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
"""Relative errors for which a rank is shown."""
SUGGESTED: Final = 0.1
"""Relative error of the suggested rank, one of `TOLERANCES`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A rank with the error and the size of its factors.

    Fields:
        why: Rule that leads to the rank, as an option of the command line.
        rank: Largest rank of the parts.
        relative_error: Best possible relative error at that rank, over all parts.
        factor_bytes: Bytes of the factors of all parts.
    """

    why: str
    rank: int
    relative_error: float
    factor_bytes: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """The singular values of each part, and the ranks that they suggest.

    Fields:
        source: Name of the input.
        singular_values: All singular values of each part, descending.
        choices: Ranks to choose from, ascending.
        suggested: Smallest rank with an error of at most 10 % of ‖W‖.
        shapes: Rows and columns of each part.
    """

    source: str
    shapes: dict[str, tuple[int, int]]
    singular_values: dict[str, Array]
    choices: tuple[Choice, ...]
    suggested: Choice

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return {
            "source": self.source,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "singular_values": {
                name: [float(value) for value in values]
                for name, values in self.singular_values.items()
            },
            "choices": [_plain(choice) for choice in self.choices],
            "suggested": _plain(self.suggested),
        }


def suggest_rank(parts: tuple[Part, ...], source: Path) -> Spectrum:
    """Compute the singular values of a source and the error that each rank would give.

    Args:
        parts: Matrices of the source.
        source: Path of the source.

    Raises:
        MatrixError: If a matrix is too large to compute all its singular values, or cannot be
            factored.

    Cost:
        All singular values of each part, by LAPACK.
    """
    values: dict[str, Array] = {}
    for part in parts:
        check_entries(part.matrix)
        known = spectrum(part.matrix)
        if known is None:
            rows, columns = part.matrix.shape
            raise MatrixError(
                f"This {rows} × {columns} matrix is too large to compute all its singular values.",
                hint="Choose a rank with `rank`, or bytes with `budget`.",
                code="too-large",
            )
        values[part.name] = known
    choices = [_choice(parts, values, f"--tolerance {bound:g}", bound) for bound in TOLERANCES]
    noise = _choice(parts, values, "--rank auto", None)
    suggested = next(choice for choice in choices if choice.why.endswith(f" {SUGGESTED:g}"))
    return Spectrum(
        source=str(source),
        shapes={part.name: part.matrix.shape for part in parts},
        singular_values=values,
        choices=_distinct([noise, *choices]),
        suggested=suggested,
    )


def _choice(
    parts: tuple[Part, ...], values: dict[str, Array], why: str, tolerance: float | None
) -> Choice:
    rule = NoiseThreshold() if tolerance is None else WithinTolerance(tolerance)
    rank = max(
        rule.choose(part.matrix.shape, part.matrix.dtype, values[part.name]) for part in parts
    )
    tails = [tail_errors(values[part.name]) for part in parts]
    # a small part may have fewer singular values than the largest rank
    lost = sum(float(tail[min(rank, len(tail) - 1)]) ** 2 for tail in tails)
    whole = sum(float(tail[0]) ** 2 for tail in tails)
    return Choice(
        why=why,
        rank=rank,
        relative_error=_relative(lost, whole),
        # B and A together have rank·(rows + columns) entries
        factor_bytes=sum(rank * sum(p.matrix.shape) * p.matrix.dtype.itemsize for p in parts),
    )


def _relative(lost: float, whole: float) -> float:
    """√(lost / whole), or 0 if that is within the rounding of float64."""
    share = float(np.sqrt(lost / whole)) if whole > 0 else 0.0
    return share if share > float(np.finfo(np.float64).eps) else 0.0


def _distinct(choices: list[Choice]) -> tuple[Choice, ...]:
    """One choice for each rank, the one with the smallest tolerance, in ascending order."""
    # a later choice replaces an earlier one of the same rank, and tolerances descend
    by_rank = {choice.rank: choice for choice in choices}
    return tuple(by_rank[rank] for rank in sorted(by_rank))


def _plain(choice: Choice) -> dict[str, Any]:
    return {
        "why": choice.why,
        "rank": choice.rank,
        "relative_error": choice.relative_error,
        "factor_bytes": choice.factor_bytes,
    }
