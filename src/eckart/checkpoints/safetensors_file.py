"""A safetensors file: its header, of which every claim is checked, its layout, and its tensors."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeGuard, cast, final

import numpy as np
import numpy.typing as npt

from eckart.checkpoints.shard import (
    PAGE,
    SAMPLES,
    SafetensorsDtype,
    TensorInfo,
    changed,
    stamp,
    unreadable,
)
from eckart.errors import FormatError
from eckart.files.reading import LARGEST_DOCUMENT_BYTES, damaged, parse_object, reading

LENGTH: Final = 8
"""Bytes of the number at the beginning of the file, the length of the header."""

METADATA: Final = "__metadata__"
"""The key of the header that names no tensor, but holds texts."""
DIMENSIONS: Final = 64
"""The most dimensions of an array of NumPy."""

POINTER: Final = b"version https://git-lfs"
"""The beginning of a pointer file of Git LFS, which stands in the place of the weights."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header of a safetensors file.

    Fields:
        tensors: Records of the tensors by name, in the order of the file.
        starts: Position of the first byte of each tensor in the file.
        metadata: Texts by name, such as format: pt.
        nbytes: Bytes of the header, including the number before it.
    """

    tensors: Mapping[str, TensorInfo]
    starts: Mapping[str, int]
    metadata: Mapping[str, str]
    nbytes: int


class _Entry(NamedTuple):
    """The claim of the header about one tensor; bytes are counted from the end of the header."""

    start: int
    stop: int
    name: str
    dtype: SafetensorsDtype
    shape: tuple[int, ...]


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file, and check that every claim fits the file.

    The tensors fill what follows the header without a gap or an overlap, as the format requires,
    so that no tensor is larger than the file.

    Raises:
        ArgumentError: If there is no such file.
        FormatError: If the file is damaged, truncated, or not a safetensors file.
        StorageError: If the system refuses to read the file.

    Cost:
        Reads only the header, which has at most 100 MB.

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


def _metadata(claim: object, path: Path) -> dict[str, str]:
    """The metadata, of which all values are texts."""
    if not isinstance(claim, dict) or not all(isinstance(text, str) for text in claim.values()):
        raise damaged(path, f"{METADATA} is no object of texts")
    return cast("dict[str, str]", claim)


def _entry(name: str, claim: object, path: Path) -> _Entry:
    """One entry of the header, whose dtype, shape and number of bytes agree."""
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
    return _Entry(start, stop, name, SafetensorsDtype(dtype), tuple(shape))


def _are_sizes(claim: object) -> TypeGuard[list[int]]:
    # isinstance(True, int) holds, so the type itself is compared
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


_RANKS: Final = {dtype: rank for rank, dtype in enumerate(SafetensorsDtype)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorLayout:
    """The dtype and the shape of a tensor that will be written."""

    dtype: SafetensorsDtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Number of bytes in the file."""
        return self.dtype.nbytes(self.shape)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayout:
    """The layout of one file of a checkpoint.

    Fields:
        name: Name of the file.
        tensors: Layouts of the tensors by name, in the order of the file.
        header: All bytes before the first tensor.
    """

    name: str
    tensors: Mapping[str, TensorLayout]
    header: bytes


def lay_out(
    tensors: Mapping[str, TensorLayout], shard_bytes: int | None, metadata: Mapping[str, str]
) -> tuple[FileLayout, ...]:
    """Divide tensors among files of bounded size.

    A file is closed before the tensor that would make it larger than `shard_bytes`; a tensor
    that is larger gets a file of its own. Within a file tensors are in the order of the safetensors
    library: by dtype, those of more bits first, then by name.

    Args:
        tensors: Layouts of all tensors by name; neighbours stay together where possible.
        shard_bytes: The most bytes of the tensors of a file; None gives a single file.
        metadata: Texts for the header of each file.

    Example:
        >>> small = TensorLayout(dtype=SafetensorsDtype.F32, shape=(2, 2))
        >>> [file.name for file in lay_out({"a": small, "b": small}, 16, {})]
        ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    """
    files = _divided(tensors, shard_bytes)
    # the names that transformers gives to shards
    names = [f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)]
    if len(files) == 1:
        names = ["model.safetensors"]
    return tuple(
        FileLayout(name=name, tensors=ordered, header=_header(ordered, metadata))
        for name, ordered in zip(names, map(_ordered, files), strict=True)
    )


def index_document(files: Iterable[FileLayout]) -> dict[str, Any]:
    """The contents of `model.safetensors.index.json` for these files."""
    held = [(name, tensor, file) for file in files for name, tensor in file.tensors.items()]
    return {
        "metadata": {"total_size": sum(tensor.nbytes for _, tensor, _ in held)},
        "weight_map": {name: file.name for name, _, file in sorted(held, key=lambda row: row[0])},
    }


def _divided(
    tensors: Mapping[str, TensorLayout], shard_bytes: int | None
) -> list[dict[str, TensorLayout]]:
    """The tensors of each file, in the given order."""
    files: list[dict[str, TensorLayout]] = [{}]
    held = 0
    for name, tensor in tensors.items():
        if files[-1] and shard_bytes is not None and held + tensor.nbytes > shard_bytes:
            files.append({})
            held = 0
        files[-1][name] = tensor
        held += tensor.nbytes
    return files


def _ordered(tensors: Mapping[str, TensorLayout]) -> dict[str, TensorLayout]:
    """The tensors of a file in the order of the safetensors library."""
    names = sorted(tensors, key=lambda name: (_RANKS[tensors[name].dtype], name))
    return {name: tensors[name] for name in names}


def _header(tensors: Mapping[str, TensorLayout], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a header: its length, and the JSON object padded with blanks."""
    document: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    stop = 0
    for name, tensor in tensors.items():
        start, stop = stop, stop + tensor.nbytes
        document[name] = {
            "dtype": tensor.dtype.value,
            "shape": tensor.shape,
            "data_offsets": (start, stop),
        }
    # compact and in UTF-8, byte for byte as the library writes it
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    # a multiple of 8 bytes, so that the first tensor is aligned for every dtype
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(LENGTH, "little") + text


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsFile:
    """A safetensors file whose header was checked.

    Fields:
        path: The file.
        header: The header of the file.
        opened: The stamp of the file when its header was read.

    Cost:
        Nothing is kept open or mapped: a tensor that was read takes memory only while it is used,
        and any number of threads may read.
    """

    path: Path
    header: Header
    opened: tuple[int, int, int]

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Records of the tensors by name, in the order of the file."""
        return self.header.tensors

    def read(self, name: str, /) -> npt.NDArray[Any]:
        """Read a tensor in its stored dtype into a new array.

        Raises:
            FormatError: If NumPy lacks the dtype, or the file has changed since it was opened.
            MatrixError: If the tensor does not fit into memory.
            StorageError: If the system refuses to read the file.

        Cost:
            One read of the bytes of the tensor; other threads run meanwhile.
        """
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
            file.seek(self.header.starts[name])
            # one system call reads at most 2 GiB
            while remaining and (count := file.readinto(remaining)):
                remaining = remaining[count:]
        if remaining:
            raise damaged(self.path, "it ends before its last tensor")
        return array.reshape(tensor.shape)

    def samples(self) -> Iterable[tuple[int, int]]:
        """The header, and a page from the middle of each tensor."""
        yield 0, self.header.nbytes
        tensors = tuple(self.tensors.values())
        # rounded up, so that at most 4096 tensors are sampled; without tensors a step of 1
        for tensor in tensors[:: -(-len(tensors) // SAMPLES) or 1]:
            middle = self.header.starts[tensor.name] + max(0, tensor.nbytes - PAGE) // 2
            yield middle, middle + min(tensor.nbytes, PAGE)


def open_safetensors(path: Path) -> SafetensorsFile:
    """Read and check the header of a safetensors file.

    Raises:
        ArgumentError: If there is no such file.
        FormatError: If the file is damaged.
        StorageError: If the system refuses to read the file.
    """
    # the stamp is taken first, so that a change while the header is read is noticed
    with reading(path):
        opened = stamp(path.stat())
    return SafetensorsFile(path=path, header=read_header(path), opened=opened)
