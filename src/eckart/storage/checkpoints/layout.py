"""How a checkpoint is laid out in safetensors files, before any of its numbers are known."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from eckart.storage.checkpoints.dtypes import StoredDtype
from eckart.storage.checkpoints.header import LENGTH, METADATA

_RANKS: Final = {dtype: rank for rank, dtype in enumerate(StoredDtype)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorLayout:
    """The dtype and the shape of a tensor that is to be written."""

    dtype: StoredDtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.dtype.nbytes(self.shape)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayout:
    """One file of a checkpoint.

    Fields:
        name: Of the file.
        tensors: In the order of the file.
        header: All bytes before the first tensor.
    """

    name: str
    tensors: Mapping[str, TensorLayout]
    header: bytes


def lay_out(
    tensors: Mapping[str, TensorLayout], shard_bytes: int | None, metadata: Mapping[str, str]
) -> tuple[FileLayout, ...]:
    """Divide tensors among files that are not larger than they have to be.

    A file is closed before the tensor that would make it larger than `shard_bytes`; a tensor
    that is larger has a file of its own. Within a file tensors are in the order of the format's
    own writer: by dtype, those of more bits first, then by name.

    Args:
        tensors: All tensors, neighbours in the same file where possible.
        shard_bytes: The most that a file holds; None for one file.
        metadata: Texts for the header of each file.

    Example:
        >>> small = TensorLayout(dtype=StoredDtype.F32, shape=(2, 2))
        >>> [file.name for file in lay_out({"a": small, "b": small}, 16, {})]
        ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    """
    files = _divided(tensors, shard_bytes)
    names = [f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)]
    if len(files) == 1:
        names = ["model.safetensors"]
    return tuple(
        FileLayout(name=name, tensors=ordered, header=_header(ordered, metadata))
        for name, ordered in zip(names, map(_ordered, files), strict=True)
    )


def index_document(files: Iterable[FileLayout]) -> dict[str, Any]:
    """What `model.safetensors.index.json` says of these files."""
    held = [(name, tensor, file) for file in files for name, tensor in file.tensors.items()]
    return {
        "metadata": {"total_size": sum(tensor.nbytes for _, tensor, _ in held)},
        "weight_map": {name: file.name for name, _, file in sorted(held, key=lambda row: row[0])},
    }


def _divided(
    tensors: Mapping[str, TensorLayout], shard_bytes: int | None
) -> list[dict[str, TensorLayout]]:
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
    names = sorted(tensors, key=lambda name: (_RANKS[tensors[name].dtype], name))
    return {name: tensors[name] for name in names}


def _header(tensors: Mapping[str, TensorLayout], metadata: Mapping[str, str]) -> bytes:
    document: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    stop = 0
    for name, tensor in tensors.items():
        start, stop = stop, stop + tensor.nbytes
        document[name] = {
            "dtype": tensor.dtype.value,
            "shape": tensor.shape,
            "data_offsets": (start, stop),
        }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    # so that the first tensor is aligned for every dtype
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(LENGTH, "little") + text
