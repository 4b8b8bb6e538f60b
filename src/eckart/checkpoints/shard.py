"""One file of a checkpoint: its tensors, their dtypes, and a cheap fingerprint of the file."""

import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Any, Final, Protocol, final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from eckart.errors import FormatError
from eckart.files.reading import reading


@unique
class SafetensorsDtype(StrEnum):
    """A dtype of the format, in the order in which the safetensors library writes tensors.

    Example:
        >>> SafetensorsDtype("BF16").bits, SafetensorsDtype.F4.nbytes((3, 4))
        (16, 6)
    """

    U64 = "U64"
    I64 = "I64"
    F64 = "F64"
    C64 = "C64"
    F32 = "F32"
    U32 = "U32"
    I32 = "I32"
    BF16 = "BF16"
    F16 = "F16"
    U16 = "U16"
    I16 = "I16"
    F8_E5M2FNUZ = "F8_E5M2FNUZ"
    F8_E4M3FNUZ = "F8_E4M3FNUZ"
    F8_E8M0 = "F8_E8M0"
    F8_E4M3 = "F8_E4M3"
    F8_E5M2 = "F8_E5M2"
    I8 = "I8"
    U8 = "U8"
    F6_E3M2 = "F6_E3M2"
    F6_E2M3 = "F6_E2M3"
    F4 = "F4"
    BOOL = "BOOL"

    @property
    def bits(self) -> int:
        """Number of bits of one entry."""
        if self is SafetensorsDtype.BOOL:  # the only name without its number of bits
            return 8
        # the number in the name is that of the bits: BF16, F8_E4M3
        return int(self.value.partition("_")[0].lstrip("BFCIU"))

    @property
    def numpy(self) -> np.dtype[Any] | None:
        """The dtype of NumPy; None for the floats of 8 bits and less that NumPy lacks."""
        return _NUMPY.get(self)

    @property
    def is_weight(self) -> bool:
        """Whether eckart factors weights of this dtype: float16, bfloat16, float32 or float64."""
        return self in _WEIGHTS

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Number of bytes of a tensor; entries smaller than a byte are packed."""
        # entries of 4 or 6 bits share bytes, so the bits are summed first
        return math.prod(shape) * self.bits // 8


def stored_dtype(dtype: np.dtype[Any]) -> SafetensorsDtype | None:
    """The dtype of the format for a NumPy dtype; None if the format has none.

    Example:
        >>> stored_dtype(np.dtype("float16")), stored_dtype(np.dtype("complex128"))
        (<SafetensorsDtype.F16: 'F16'>, None)
    """
    return next((stored for stored, known in _NUMPY.items() if known == dtype), None)


_NUMPY: Final[dict[SafetensorsDtype, np.dtype[Any]]] = {
    # little-endian, as the format prescribes, whatever the machine
    SafetensorsDtype.U64: np.dtype("<u8"),
    SafetensorsDtype.I64: np.dtype("<i8"),
    SafetensorsDtype.F64: np.dtype("<f8"),
    SafetensorsDtype.C64: np.dtype("<c8"),
    SafetensorsDtype.F32: np.dtype("<f4"),
    SafetensorsDtype.U32: np.dtype("<u4"),
    SafetensorsDtype.I32: np.dtype("<i4"),
    SafetensorsDtype.BF16: np.dtype(ml_dtypes.bfloat16),
    SafetensorsDtype.F16: np.dtype("<f2"),
    SafetensorsDtype.U16: np.dtype("<u2"),
    SafetensorsDtype.I16: np.dtype("<i2"),
    SafetensorsDtype.I8: np.dtype("i1"),
    SafetensorsDtype.U8: np.dtype("u1"),
    SafetensorsDtype.BOOL: np.dtype("?"),
}
_WEIGHTS: Final = frozenset(
    {SafetensorsDtype.F16, SafetensorsDtype.BF16, SafetensorsDtype.F32, SafetensorsDtype.F64}
)


PAGE: Final = 4096
"""Bytes of a page, the unit that is sampled."""

SAMPLES: Final = 4096
"""The most pages from which the fingerprint of a file is made."""


def fingerprint(path: Path, samples: Iterable[tuple[int, int]]) -> str:
    """The size of a file and the SHA-256 of chosen bytes, as `SIZE:DIGEST`.

    Args:
        path: The file.
        samples: Ranges of bytes, as pairs of start and stop.

    Raises:
        ArgumentError: If there is no such file.
        StorageError: If the system refuses to read the file.
    """
    digest = hashlib.sha256()
    with reading(path), path.open("rb", buffering=0) as file:
        for start, stop in samples:
            file.seek(start)
            digest.update(file.read(stop - start))
        return f"{path.stat().st_size}:{digest.hexdigest()}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """What a checkpoint tells about one tensor before it is read.

    Fields:
        name: Name of the tensor, such as `model.layers.0.mlp.up_proj.weight`.
        dtype: Stored dtype.
        shape: Length of each dimension; () is a single number.
        nbytes: Number of stored bytes.
        file: The file that holds the tensor.
    """

    name: str
    dtype: SafetensorsDtype
    shape: tuple[int, ...]
    nbytes: int
    file: Path


class Shard(Protocol):
    """A file of a checkpoint, whose tensors are read one at a time."""

    @property
    def path(self) -> Path:
        """Path of the file."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """The tensors by name, in the order of the file."""
        ...

    def read(self, name: str, /) -> npt.NDArray[Any]:
        """Read a tensor in its stored dtype into a new array."""
        ...

    def samples(self) -> Iterable[tuple[int, int]]:
        """Ranges of bytes for the fingerprint of the file, as pairs of start and stop."""
        ...


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is replaced or edited: its inode, size and time of modification."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def unreadable(tensor: str, dtype: object, path: Path) -> FormatError:
    """The error for a tensor in a dtype that eckart lists but cannot read."""
    return FormatError(
        f"The tensor {tensor!r} of {path} is {dtype}, which eckart does not read.",
        hint="Give a checkpoint in float16, bfloat16, float32 or float64.",
        code="unsupported-dtype",
    )


def changed(path: Path) -> FormatError:
    """The error for a file that was replaced or edited after its tensors were listed."""
    return FormatError(
        f"{path} has changed since it was opened.",
        hint="Start again when it is written whole.",
        code="changed-file",
    )
