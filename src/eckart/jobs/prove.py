"""Certify factors from anywhere against the matrix they should approximate."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from eckart.certificates import Certificate, certify, together
from eckart.errors import MatrixError
from eckart.matrices.derived import check_entries
from eckart.storage import Selection, read_factor_file, read_parts


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The result of `prove`.

    Fields:
        source: The matrix file.
        factors: The file of factors.
        certificates: One for each part of the matrix.
        norms: ‖W‖_F of each part.
        notes: How the matrix was read.
        seconds: Of the proof, without reading.
    """

    source: str
    factors: str
    certificates: dict[str, Certificate]
    norms: dict[str, float]
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The certificates as plain numbers and text, and their sum over the parts."""
        whole = together(list(self.certificates.values()), list(self.norms.values()))
        return {
            "source": self.source,
            "factors": self.factors,
            **whole.to_dict(),
            "seconds": self.seconds,
            "parts": [{"name": name, **one.to_dict()} for name, one in self.certificates.items()],
        }


def prove(matrix: Path, factors: Path, selection: Selection) -> Proof:
    """Measure the error of written factors and bound the best error of their rank.

    Args:
        matrix: File of W.
        factors: File of B and A, from any program; its parts are those of W.
        selection: Which part of the file of W, and how to read it.

    Raises:
        EckartError: If a file cannot be read, or its parts or shapes do not fit.
    """
    pairs = read_factor_file(factors).parts
    contents = read_parts(matrix, selection)
    names = [part.name for part in contents.parts]
    if set(names) != set(pairs):
        raise MatrixError(
            f"{factors} has the parts {', '.join(pairs) or '(none)'}, {matrix} has "
            f"{', '.join(names) or '(none)'}.",
            hint="Give the factors of this matrix.",
            code="parts-differ",
        )
    for part in contents.parts:
        check_entries(part.matrix)
    began = time.perf_counter()
    certificates = {part.name: certify(part.matrix, pairs[part.name]) for part in contents.parts}
    return Proof(
        source=str(matrix),
        factors=str(factors),
        certificates=certificates,
        norms={part.name: math.sqrt(part.matrix.squared_norm()) for part in contents.parts},
        notes=contents.notes,
        seconds=time.perf_counter() - began,
    )
