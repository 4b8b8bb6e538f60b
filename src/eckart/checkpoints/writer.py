"""Writing a checkpoint to safetensors files, one tensor at a time."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, final

import numpy as np
import numpy.typing as npt

from eckart.checkpoints.folder import SAFE
from eckart.checkpoints.safetensors_file import FileLayout, TensorLayout, index_document, lay_out

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

    def write(self, name: str, array: npt.NDArray[Any]) -> None:
        """Write the next tensor.

        Args:
            name: The next name of `order`.
            array: The tensor, with exactly the dtype and the shape that were announced.

        Raises:
            ValueError: If this is not the tensor that was announced.
        """
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
            text = json.dumps(index_document(self._files), indent=2, ensure_ascii=False)
            (self._target / INDEX).write_text(f"{text}\n", encoding="utf-8")

    def _begin(self, file: FileLayout) -> None:
        """Open the next file and write its header."""
        path = self._target if self._is_file else self._target / file.name
        self._current = file
        self._stream = path.open("wb")
        self._stream.write(file.header)


def _blocks(array: npt.NDArray[Any]) -> Iterator[memoryview]:
    """Yield the bytes of an array in C order, without copying more than a block."""
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
        return
    # blocks of whole rows of the first axis, each copied into C order
    rows = max(1, BLOCK_BYTES * array.shape[0] // array.nbytes)
    for start in range(0, array.shape[0], rows):
        block = np.ascontiguousarray(array[start : start + rows])
        yield block.reshape(-1).view(np.uint8).data
