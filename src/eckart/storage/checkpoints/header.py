"""The header of a safetensors file: no size and no offset in it is believed unchecked."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeGuard, cast, final

from eckart.errors import FormatError
from eckart.storage.checkpoints.dtypes import StoredDtype
from eckart.storage.checkpoints.shard import TensorInfo
from eckart.storage.checkpoints.strict_json import LARGEST, parse_object
from eckart.storage.whole import damaged, reading

LENGTH: Final = 8
"""Bytes of the number that opens the file: how long the header is."""

METADATA: Final = "__metadata__"
DIMENSIONS: Final = 64
"""The most that an array of NumPy can have."""

POINTER: Final = b"version https://git-lfs"
"""How a file begins that Git LFS has not replaced by the weights."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a safetensors file holds.

    Fields:
        tensors: By name, in the order of the file.
        starts: Where in the file each tensor begins.
        metadata: Texts by name, such as format: pt.
        nbytes: Of the header, with the number before it.
    """

    tensors: Mapping[str, TensorInfo]
    starts: Mapping[str, int]
    metadata: Mapping[str, str]
    nbytes: int


class _Entry(NamedTuple):
    """What the header says about one tensor; bytes are counted from the end of the header."""

    start: int
    stop: int
    name: str
    dtype: StoredDtype
    shape: tuple[int, ...]


def read_header(path: Path) -> Header:
    """The header of a safetensors file, of which every claim fits the file.

    The tensors fill what follows the header without a gap or an overlap, as the format asks; so
    no tensor is larger than the file.

    Raises:
        ArgumentError: If there is no such file.
        FormatError: If it is damaged, truncated, or not a safetensors file.
        StorageError: If the system refuses to read it.

    Cost:
        Reads the header only, of at most 100 MB.

    Reference:
        The format: https://github.com/huggingface/safetensors, "Format".
    """
    with reading(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        document = parse_object(_text(file, size, path), path)
        nbytes = file.tell()
    metadata = _metadata(document.pop(METADATA, None) or {}, path)
    entries = sorted(_entry(name, claim, path) for name, claim in document.items())
    _check_tiling(entries, size - nbytes, path)
    tensors = {
        entry.name: TensorInfo(
            name=entry.name,
            dtype=entry.dtype,
            shape=entry.shape,
            nbytes=entry.stop - entry.start,
            file=path,
        )
        for entry in entries
    }
    starts = {entry.name: nbytes + entry.start for entry in entries}
    return Header(tensors=tensors, starts=starts, metadata=metadata, nbytes=nbytes)


def _text(file: BinaryIO, size: int, path: Path) -> bytes:
    """The bytes of the JSON object; `file` is left at the end of the header."""
    first = file.read(LENGTH)
    if POINTER.startswith(first) and first + file.read(len(POINTER) - LENGTH) == POINTER:
        raise FormatError(
            f"{path} is a pointer of Git LFS, not the weights.",
            hint=f"Run `git lfs pull` in {path.parent}.",
            code="lfs-pointer",
        )
    length = int.from_bytes(first, "little")
    if len(first) < LENGTH or length > size - LENGTH:
        raise damaged(path, f"its header claims {length} bytes, the file has {size}")
    if length > LARGEST:
        raise damaged(path, f"its header claims {length} bytes, the format allows {LARGEST}")
    return file.read(length)


def _metadata(claim: object, path: Path) -> dict[str, str]:
    if not isinstance(claim, dict) or not all(isinstance(text, str) for text in claim.values()):
        raise damaged(path, f"{METADATA} is no object of texts")
    return cast("dict[str, str]", claim)


def _entry(name: str, claim: object, path: Path) -> _Entry:
    """One entry of the header, of which dtype, shape and bytes agree."""
    label = f"the tensor {name[:100]!r}"
    fields: Mapping[str, Any] = claim if isinstance(claim, dict) else {}
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not name.isprintable():
        raise damaged(path, f"the name of {label} cannot be printed")
    if not isinstance(dtype, str) or dtype not in StoredDtype.__members__:
        raise damaged(path, f"{label} has an unknown dtype")
    if not _are_sizes(shape) or len(shape) > DIMENSIONS:
        raise damaged(path, f"{label} has no shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise damaged(path, f"{label} has no data_offsets")
    start, stop = offsets
    # without the zeros too, as NumPy counts them
    if math.prod(length for length in shape if length) >= 2**56:
        raise damaged(path, f"{label} claims {' × '.join(map(str, shape))} entries")
    bits = math.prod(shape) * StoredDtype(dtype).bits
    if bits != 8 * (stop - start):
        raise damaged(path, f"{label} takes {bits / 8:g} bytes, its data_offsets {stop - start}")
    return _Entry(start, stop, name, StoredDtype(dtype), tuple(shape))


def _are_sizes(claim: object) -> TypeGuard[list[int]]:
    # True is an int to isinstance
    return isinstance(claim, list) and all(
        type(size) is int and 0 <= size < 2**63 for size in cast("list[object]", claim)
    )


def _check_tiling(entries: list[_Entry], available: int, path: Path) -> None:
    """Refuse tensors that overlap, leave a gap, or do not end where the file ends."""
    end = 0
    for entry in entries:
        if entry.start != end:
            kind = "overlaps the one before" if entry.start < end else "leaves a gap before it"
            raise damaged(path, f"the tensor {entry.name[:100]!r} {kind}")
        end = entry.stop
    if end != available:
        raise damaged(path, f"its tensors take {end} bytes, {available} follow the header")
