"""Numbers that are stored as others, by the conventions of NetCDF."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, DType, working_dtype
from eckart.errors import FormatError

GAPS: Final = ("_FillValue", "missing_value")
"""Attributes that say which number stands for none."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How the numbers of a dataset are made from what is stored: stored·factor + offset.

    Fields:
        factor: By which they are multiplied.
        offset: Is added.
        gaps: What stands for a missing value.
        stored: The dtype as which they are taken, with or without a sign.
        dtype: Of the numbers.
    """

    factor: float
    offset: float
    gaps: Any
    stored: np.dtype[Any]
    dtype: DType

    @staticmethod
    def of(node: Any, path: Path) -> "Packing":
        """What the attributes of a dataset say.

        Args:
            node: The dataset, of HDF5 or of Zarr.
            path: Of its file, for the message.

        Raises:
            FormatError: If there are several factors or offsets.
        """
        own = np.dtype(node.dtype)
        factor, offset = (
            _single(node, name, default, path)
            for name, default in (("scale_factor", 1.0), ("add_offset", 0.0))
        )
        stored = _signed(own, _word(node.attrs.get("_Unsigned", "")))
        marks = [one for name in GAPS for one in np.ravel(node.attrs.get(name, []))]
        return Packing(
            factor=factor,
            offset=offset,
            gaps=_as_stored(marks, own).view(stored),
            stored=stored,
            dtype=FLOAT64 if (factor, offset) != (1.0, 0.0) else working_dtype(stored),
        )

    def decoded(self, stored: Any) -> Any:
        """The numbers, NaN where nothing is stored."""
        taken = stored if stored.dtype == self.stored else stored.view(self.stored)
        plain = self.factor == 1.0 and self.offset == 0.0
        numbers = taken if plain else taken * self.factor + self.offset
        return np.where(np.isin(taken, self.gaps), np.nan, numbers) if len(self.gaps) else numbers


def _single(node: Any, name: str, default: float, path: Path) -> float:
    values = np.ravel(node.attrs.get(name, default))
    if len(values) != 1:
        raise FormatError(
            f"A dataset of {path} has {len(values)} numbers as its {name}.",
            hint="Save the numbers as they are, without scale_factor and add_offset.",
            code="several-scales",
        )
    return float(values[0])


def _signed(dtype: np.dtype[Any], unsigned: str) -> np.dtype[Any]:
    """The dtype with or without a sign, as files without types of their own for it say."""
    kinds = {"true": ("i", "u"), "false": ("u", "i")}
    stored, meant = kinds.get(unsigned, ("", ""))
    if dtype.kind != stored:
        return dtype
    return np.dtype(f"{meant}{dtype.itemsize}").newbyteorder(dtype.byteorder)


def _as_stored(marks: list[Any], dtype: np.dtype[Any]) -> Any:
    """Marks in the dtype of a dataset, in which they are compared; others are no such number."""
    found: list[Any] = []
    for mark in marks:
        with suppress(TypeError, ValueError, OverflowError), np.errstate(over="ignore"):
            number = mark if isinstance(mark, np.number) else float(_word(mark))
            kept = dtype.type(number)
            if dtype.kind == "f" or kept == number:
                found.append(kept)
    return np.array(found, dtype)


def _word(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().lower()
