"""Describe a file of factors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from eckart.storage import FactorFile, read_factor_file


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a file of factors holds.

    Fields:
        source: The file.
        file: Its factors, and the document they were written with.
    """

    source: str
    file: FactorFile

    def to_dict(self) -> dict[str, Any]:
        """Parts as plain numbers and text; `made_by` is the run that wrote them, or None."""
        parts = [
            {
                "name": name,
                "shape": list(factors.shape),
                "rank": factors.rank,
                "dtype": str(factors.dtype),
                "bytes": factors.nbytes,
                "singular_values": [float(value) for value in factors.singular_values()],
            }
            for name, factors in self.file.parts.items()
        ]
        return {"source": self.source, "parts": parts, "made_by": self.file.document or None}


def describe(path: Path) -> Description:
    """Read a file of factors.

    Args:
        path: `.npz`, `.safetensors`, or a folder of `.csv`.

    Raises:
        EckartError: As `read_factor_file`.
    """
    return Description(source=str(path), file=read_factor_file(path))
