"""A file of a checkpoint, and one of safetensors: its header, of which every claim is checked."""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, TypeGuard, final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from eckart.errors import FormatError
from eckart.files.reading import (
    LARGEST_DOCUMENT_BYTES,
    changed,
    damaged,
    parse_object,
    reading,
    stamp,
)

Tensor: TypeAlias = npt.NDArray[Any]
"""An array of any dtype in which weights are stored, bfloat16 included."""


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
    **{
        dtype: np.dtype(f"<{dtype[0].lower()}{dtype.bits // 8}")
        for dtype in SafetensorsDtype
        if re.fullmatch(r"[UIFC](8|16|32|64)", dtype)
    },
    SafetensorsDtype.BF16: np.dtype(ml_dtypes.bfloat16),
    SafetensorsDtype.BOOL: np.dtype("?"),
}
_WEIGHTS: Final = frozenset(
    {SafetensorsDtype.F16, SafetensorsDtype.BF16, SafetensorsDtype.F32, SafetensorsDtype.F64}
)

PAGE: Final = 4096
"""Bytes of a page, the unit that is sampled."""
SAMPLES: Final = 4096
"""The most pages from which the fingerprint of a file is made."""


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


def unreadable(tensor: str, dtype: object, path: Path) -> FormatError:
    """The error for a tensor in a dtype that eckart lists but cannot read."""
    return FormatError(
        f"The tensor {tensor!r} of {path} is {dtype}, which eckart does not read.",
        hint="Give a checkpoint in float16, bfloat16, float32 or float64.",
        code="unsupported-dtype",
    )


LENGTH: Final = 8
"""Bytes of the number at the beginning of the file, the length of the header."""
METADATA: Final = "__metadata__"
"""The key of the header that names no tensor, but holds texts."""
DIMENSIONS: Final = 64
"""The most dimensions of an array of NumPy."""
POINTER: Final = b"version https://git-lfs"
"""The beginning of a pointer file of Git LFS, which stands in the place of the weights."""


def _text(file: BinaryIO, size: int, path: Path) -> bytes:
    """The bytes of the JSON object; `file` is left at the end of the header."""
    first = file.read(LENGTH)
    # the first bytes of a pointer are text, which would be read as the length of the header
    if POINTER.startswith(first) and first + file.read(len(POINTER) - LENGTH) == POINTER:
        raise FormatError(
            f"{path} is a pointer of Git LFS, not the weights.",
            hint=f"Run `git lfs pull` in {path.parent}.",
            code="lfs-pointer",
        )
    length = int.from_bytes(first, "little")
    if len(first) < LENGTH or length > size - LENGTH:
        raise damaged(path, f"its header claims {length} bytes, the file has {size}")
    if length > LARGEST_DOCUMENT_BYTES:
        allowed = f"the format allows {LARGEST_DOCUMENT_BYTES}"
        raise damaged(path, f"its header claims {length} bytes, {allowed}")
    return file.read(length)


def _entry(name: str, claim: object, path: Path) -> tuple[int, TensorInfo]:
    """The first byte, counted from the end of the header, and record of a tensor, which agree."""
    label = f"the tensor {name[:100]!r}"
    fields: Mapping[str, Any] = claim if isinstance(claim, dict) else {}
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    # no control characters in messages and reports
    if not name.isprintable():
        raise damaged(path, f"the name of {label} cannot be printed")
    if not isinstance(dtype, str) or dtype not in SafetensorsDtype.__members__:
        raise damaged(path, f"{label} has an unknown dtype")
    if not _are_sizes(shape) or len(shape) > DIMENSIONS:
        raise damaged(path, f"{label} has no shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise damaged(path, f"{label} has no data_offsets")
    start, stop = offsets
    # NumPy leaves out lengths of 0 when it checks that the size of an array does not overflow
    if math.prod(length for length in shape if length) >= 2**56:
        raise damaged(path, f"{label} claims {' × '.join(map(str, shape))} entries")
    # in bits, since entries may be smaller than a byte
    bits = math.prod(shape) * SafetensorsDtype(dtype).bits
    if bits != 8 * (stop - start):
        raise damaged(path, f"{label} takes {bits / 8:g} bytes, its data_offsets {stop - start}")
    own, nbytes = SafetensorsDtype(dtype), stop - start
    return start, TensorInfo(name=name, dtype=own, shape=tuple(shape), nbytes=nbytes, file=path)


def _are_sizes(claim: Any) -> TypeGuard[list[int]]:
    # isinstance(True, int) holds, so the type itself is compared
    return isinstance(claim, list) and all(type(one) is int and 0 <= one < 2**63 for one in claim)


def _check_tiling(entries: Sequence[tuple[int, TensorInfo]], available: int, path: Path) -> None:
    """Refuse tensors that overlap, leave a gap, or do not end where the file ends."""
    end = 0
    for start, tensor in entries:
        if start != end:
            kind = "overlaps the one before" if start < end else "leaves a gap before it"
            raise damaged(path, f"the tensor {tensor.name[:100]!r} {kind}")
        end += tensor.nbytes
    if end != available:
        raise damaged(path, f"its tensors take {end} bytes, {available} follow the header")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsFile:
    """A safetensors file whose header was checked.

    Fields:
        path: The file.
        tensors: Records of the tensors by name, in the order of the file.
        starts: Position of the first byte of each tensor in the file.
        header_bytes: Bytes of the header, including the number before it.
        opened: The stamp of the file when its header was read.

    Cost:
        Nothing is kept open or mapped: a tensor that was read takes memory only while it is used,
        and any number of threads may read.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]
    starts: Mapping[str, int]
    header_bytes: int
    opened: tuple[int, int, int]

    def read(self, name: str, /) -> Tensor:
        """Read a tensor in its stored dtype into a new array; other threads run meanwhile."""
        tensor = self.tensors[name]
        dtype = tensor.dtype.numpy
        if dtype is None:
            raise unreadable(name, tensor.dtype, self.path)
        # unbuffered: the bytes go straight into the new array
        with reading(self.path), self.path.open("rb", buffering=0) as file:
            if stamp(os.fstat(file.fileno())) != self.opened:
                raise changed(self.path)
            array = np.empty(math.prod(tensor.shape), dtype)
            # bfloat16 has no buffer to read into, so the bytes go to a view of integers
            remaining = array.view(np.uint8).data
            file.seek(self.starts[name])
            # one system call reads at most 2 GiB
            while remaining and (count := file.readinto(remaining)):
                remaining = remaining[count:]
        if remaining:
            raise damaged(self.path, "it ends before its last tensor")
        return array.reshape(tensor.shape)

    def samples(self) -> Iterable[tuple[int, int]]:
        """Ranges for the fingerprint: the header, and a page from the middle of each tensor."""
        yield 0, self.header_bytes
        tensors = tuple(self.tensors.values())
        # rounded up, so that at most 4096 tensors are sampled; without tensors a step of 1
        for tensor in tensors[:: -(-len(tensors) // SAMPLES) or 1]:
            middle = self.starts[tensor.name] + max(0, tensor.nbytes - PAGE) // 2
            yield middle, middle + min(tensor.nbytes, PAGE)


def open_safetensors(path: Path) -> SafetensorsFile:
    """Read the header of a safetensors file, and check that every claim fits the file.

    The tensors fill what follows the header without a gap or an overlap, as the format requires,
    so that no tensor is larger than the file.

    Raises:
        ArgumentError: If there is no such file.
        FormatError: If the file is damaged, truncated, or not a safetensors file.

    Cost:
        Reads only the header, which has at most 100 MB.

    Reference:
        The format: https://github.com/huggingface/safetensors, "Format".
    """
    # the stamp is taken first, so that a change while the header is read is noticed
    with reading(path):
        opened = stamp(path.stat())
    with reading(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        document = parse_object(_text(file, size, path), path)
        nbytes = file.tell()
    metadata: Any = document.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        raise damaged(path, f"{METADATA} is no object of texts")
    entries = [_entry(name, claim, path) for name, claim in document.items()]
    entries.sort(key=lambda entry: (entry[0], entry[1].nbytes, entry[1].name))
    _check_tiling(entries, size - nbytes, path)
    tensors = {tensor.name: tensor for _, tensor in entries}
    starts = {tensor.name: nbytes + start for start, tensor in entries}
    return SafetensorsFile(
        path=path, tensors=tensors, starts=starts, header_bytes=nbytes, opened=opened
    )
