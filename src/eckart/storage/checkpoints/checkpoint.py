"""The weights of a model on disk: what there is, and each tensor when it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import numpy.typing as npt

from eckart.arguments import as_path
from eckart.errors import FormatError
from eckart.storage.checkpoints.fingerprints import fingerprint
from eckart.storage.checkpoints.folder import CONFIG, SAFE, find_weights
from eckart.storage.checkpoints.pickled import PickledFile
from eckart.storage.checkpoints.safetensors_file import open_safetensors
from eckart.storage.checkpoints.shard import Shard, TensorInfo
from eckart.storage.whole import read_steadily, reading


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The weights of a model, in one file or several.

    Fields:
        path: The folder or file that was opened.
        tensors: What there is by name, file after file, in the order of each file.
        config: What `config.json` says; {} where there is none.
        shards: The files.

    Cost:
        Holds names and shapes only. Reading takes the memory of what is read.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]
    config: Mapping[str, Any]
    shards: Mapping[Path, Shard]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored; tied weights count once for each name."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def largest(self) -> TensorInfo:
        """The tensor with the most bytes; the first of equals."""
        return max(self.tensors.values(), key=lambda tensor: tensor.nbytes)

    def read(self, name: str) -> npt.NDArray[Any]:
        """A tensor in its stored dtype (bfloat16 is that of ml_dtypes), in memory of its own.

        Any number of threads may read at once.

        Raises:
            FormatError: If there is no such tensor, its dtype is one that NumPy lacks, such as the
                float8 formats, or the file has changed since the checkpoint was opened.
            MatrixError: If it does not fit into memory.
            StorageError: If the system refuses to read it.

        Cost:
            One read of its bytes.
        """
        if name not in self.tensors:
            raise FormatError(
                f"{self.path} has no tensor {name!r}.",
                hint="Check that it is the checkpoint that was meant.",
                code="no-such-tensor",
            )
        return self.shards[self.tensors[name].file].read(name)

    def fingerprint(self) -> dict[str, str]:
        """What tells this checkpoint from another, by file name, to be kept and compared.

        Each file counts with its size, its header and a page of 4 KiB from the middle of each
        tensor (of every k-th, beyond 4096 in a file); `config.json` counts whole. A file of
        PyTorch has no header and counts with up to 4096 pages at equal distances.

        It sees every change of a name, a shape, a dtype or a size, and every training step that
        moved the middle of a tensor. It misses an edit that leaves those pages as they are, such as
        single rows of an embedding. It does not see where the folder is or when it was changed.

        Raises:
            StorageError: If the system refuses to read it.

        Cost:
            4 KiB for each tensor.
        """
        prints = {
            path.name: fingerprint(path, shard.samples()) for path, shard in self.shards.items()
        }
        if self.config:
            config = (self.path if self.path.is_dir() else self.path.parent) / CONFIG
            prints[CONFIG] = fingerprint(config, ((0, config.stat().st_size),))
        return prints


def open_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Open a checkpoint: a folder with its weights in one file or several, or one such file.

    Names, shapes and sizes are read and checked against the files; no tensor is. Which files of a
    folder are taken is the choice of transformers: see `folder.find_weights`.

    Args:
        path: The folder; or a file that ends in `.safetensors`, `.bin`, `.pt` or `.pth`.

    Raises:
        ArgumentError: If there is no such path, or its suffix is unknown.
        FormatError: If a file is damaged or missing, an index names a file elsewhere, two
            files hold the same tensor, or there are no weights.
        MissingExtra: If it was written by PyTorch and PyTorch is not installed.
        StorageError: If the system refuses to read it.

    Cost:
        Reads the headers only.
    """
    source = as_path(path)
    return read_steadily(source, lambda: _opened(source))


def _opened(source: Path) -> Checkpoint:
    with reading(source):
        weights = find_weights(source)
        shards = [
            open_safetensors(file) if file.suffix == SAFE else PickledFile(file)
            for file in weights.files
        ]
    tensors = _union(shards, source, weights.index.files if weights.index else {})
    if weights.index is not None:
        weights.index.check({name: tensor.file for name, tensor in tensors.items()})
    return Checkpoint(
        path=source,
        tensors=MappingProxyType(tensors),
        config=MappingProxyType(dict(weights.config)),
        shards=MappingProxyType({shard.path: shard for shard in shards}),
    )


def _union(
    shards: Sequence[Shard], source: Path, files: Mapping[str, str]
) -> dict[str, TensorInfo]:
    """All tensors; of one that several files hold, what the index names."""
    tensors: dict[str, TensorInfo] = {}
    for shard in shards:
        for name, tensor in shard.tensors.items():
            if name in tensors and name in files:
                if files[name] == shard.path.name:
                    tensors[name] = tensor
                continue
            if name in tensors:
                raise FormatError(
                    f"The tensor {name!r} is both in {tensors[name].file} and "
                    f"in {shard.path.name}.",
                    hint="Keep the files of one checkpoint in a folder, and no others.",
                    code="duplicate-tensor",
                )
            tensors[name] = tensor
    if not tensors:
        raise FormatError(
            f"{source} holds no tensors.",
            hint="Check that it was copied or downloaded whole.",
            code="no-weights",
        )
    return tensors
