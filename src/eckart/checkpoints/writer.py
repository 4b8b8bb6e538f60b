"""Writing a checkpoint to safetensors files, one tensor at a time."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, final

import numpy as np

from eckart.checkpoints.folder import SAFE
from eckart.checkpoints.safetensors_file import LENGTH, METADATA, SafetensorsDtype, Tensor

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

    Example:
        >>> small = TensorLayout(dtype=SafetensorsDtype.F32, shape=(2, 2))
        >>> [file.name for file in lay_out({"a": small, "b": small}, 16, {})]
        ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    """
    files: list[dict[str, TensorLayout]] = [{}]
    held = 0
    for name, tensor in tensors.items():
        if files[-1] and shard_bytes is not None and held + tensor.nbytes > shard_bytes:
            files.append({})
            held = 0
        files[-1][name] = tensor
        held += tensor.nbytes
    # the names that transformers gives to shards
    names = [f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)]
    if len(files) == 1:
        names = ["model.safetensors"]
    layouts: list[FileLayout] = []
    for name, own in zip(names, files, strict=True):
        # the order of the safetensors library
        order = sorted(own, key=lambda tensor: (_RANKS[own[tensor].dtype], tensor))
        ordered = {tensor: own[tensor] for tensor in order}
        header = _header(ordered, metadata)
        layouts.append(FileLayout(name=name, tensors=ordered, header=header))
    return tuple(layouts)


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


SHARD_BYTES: Final = 5 * 10**9
"""The most bytes of a file, if the caller does not say."""
PYTORCH: Final = {"format": "pt"}
"""The metadata that the loader of transformers looks for."""
BLOCK_BYTES: Final = 2**24
"""Bytes of an array that is not contiguous which are copied at once."""
INDEX: Final = "model.safetensors.index.json"


@final
class CheckpointWriter:
    """A writer that takes tensors in a known order, writes them to safetensors, and holds none.

    The files are complete only when the `with` block is left without an error, so the writer
    belongs within `whole_file`:

        with whole_file(out) as temporary, CheckpointWriter(temporary, tensors) as writer:
            for name in writer.order:
                writer.write(name, ...)

    Args:
        target: A file that ends in `.safetensors`; or a folder, made if it does not exist, for
            `model.safetensors`, or for numbered files and `model.safetensors.index.json`.
        tensors: Dtypes and shapes of all tensors that will be written, by name.
        shard_bytes: The most bytes of a file of a folder, unless a single tensor is larger.
        metadata: Texts for the header of each file, by name.

    Fields:
        order: Names of the tensors in the order in which they have to be written.

    Cost:
        Memory for a block of 16 MiB if an array is not contiguous, and none otherwise. The bytes
        of a file are those that the safetensors library writes.
    """

    def __init__(
        self,
        target: Path,
        tensors: Mapping[str, TensorLayout],
        *,
        shard_bytes: int = SHARD_BYTES,
        metadata: Mapping[str, str] = PYTORCH,
    ) -> None:
        self._target = target
        self._is_file = target.suffix == SAFE
        self._files = lay_out(tensors, None if self._is_file else shard_bytes, metadata)
        self._file_of = {name: file for file in self._files for name in file.tensors}
        self.order = tuple(self._file_of)
        self._written = 0

    def __enter__(self) -> Self:
        if not self._is_file:
            self._target.mkdir(exist_ok=True)
        self._begin(self._files[0])
        return self

    def write(self, name: str, array: Tensor) -> None:
        """Write the next tensor."""
        file = self._file_of[name]
        announced = file.tensors[name]
        if self.order[self._written] != name:
            raise ValueError(f"{name} is written out of order")
        if array.shape != announced.shape or array.dtype != announced.dtype.numpy:
            raise ValueError(f"{name} is announced as {announced}, not as {array.dtype}")
        if file is not self._current:
            self._stream.close()
            self._begin(file)
        for block in _blocks(array):
            self._stream.write(block)
        self._written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        if error is None and self._written < len(self.order):
            raise ValueError(f"{self.order[self._written]} was announced and not written")
        # several files need an index, which is written when all of them are complete
        if error is None and len(self._files) > 1:
            size = sum(file.tensors[name].nbytes for name, file in self._file_of.items())
            places = {name: file.name for name, file in sorted(self._file_of.items())}
            document = {"metadata": {"total_size": size}, "weight_map": places}
            text = json.dumps(document, indent=2, ensure_ascii=False)
            (self._target / INDEX).write_text(f"{text}\n", encoding="utf-8")

    def _begin(self, file: FileLayout) -> None:
        """Open the next file and write its header."""
        path = self._target if self._is_file else self._target / file.name
        self._current = file
        self._stream = path.open("wb")
        self._stream.write(file.header)


def _blocks(array: Tensor) -> Iterator[memoryview]:
    """Yield the bytes of an array in C order, without copying more than a block."""
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
        return
    # blocks of whole rows of the first axis, each copied into C order
    rows = max(1, BLOCK_BYTES * array.shape[0] // array.nbytes)
    for start in range(0, array.shape[0], rows):
        block = np.ascontiguousarray(array[start : start + rows])
        yield block.reshape(-1).view(np.uint8).data
