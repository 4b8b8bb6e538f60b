"""A safetensors file as a shard: each tensor is read by itself, when it is asked for."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from eckart.storage.checkpoints.fingerprints import PAGE, SAMPLES
from eckart.storage.checkpoints.header import Header, read_header
from eckart.storage.checkpoints.shard import TensorInfo, changed, stamp, unreadable
from eckart.storage.whole import damaged, reading


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsFile:
    """A safetensors file whose header is checked.

    Fields:
        path: The file.
        header: What it holds.
        opened: The stamp that it had when its header was read.

    Cost:
        Nothing is kept open or mapped: what is read counts as memory only while it is used, and
        any number of threads may read.
    """

    path: Path
    header: Header
    opened: tuple[int, int, int]

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """By name, in the order of the file."""
        return self.header.tensors

    def read(self, name: str, /) -> npt.NDArray[Any]:
        """A tensor in its stored dtype, in memory of its own.

        Raises:
            FormatError: If NumPy lacks the dtype, or the file has changed since it was opened.
            MatrixError: If it does not fit into memory.
            StorageError: If the system refuses to read it.

        Cost:
            One read of its bytes into a new array; other threads run meanwhile.
        """
        tensor = self.tensors[name]
        dtype = tensor.dtype.numpy
        if dtype is None:
            raise unreadable(name, tensor.dtype, self.path)
        with reading(self.path), self.path.open("rb", buffering=0) as file:
            if stamp(os.fstat(file.fileno())) != self.opened:
                raise changed(self.path)
            array = np.empty(math.prod(tensor.shape), dtype)
            remaining = array.view(np.uint8).data
            file.seek(self.header.starts[name])
            # one call of the system reads at most 2 GiB
            while remaining and (count := file.readinto(remaining)):
                remaining = remaining[count:]
        if remaining:
            raise damaged(self.path, "it ends before its last tensor")
        return array.reshape(tensor.shape)

    def samples(self) -> Iterable[tuple[int, int]]:
        """The header, and a page from the middle of each tensor."""
        yield 0, self.header.nbytes
        tensors = tuple(self.tensors.values())
        for tensor in tensors[:: -(-len(tensors) // SAMPLES) or 1]:
            middle = self.header.starts[tensor.name] + max(0, tensor.nbytes - PAGE) // 2
            yield middle, middle + min(tensor.nbytes, PAGE)


def open_safetensors(path: Path) -> SafetensorsFile:
    """Read and check the header of a safetensors file.

    Raises:
        ArgumentError: If there is no such file.
        FormatError: If it is damaged.
        StorageError: If the system refuses to read it.
    """
    with reading(path):
        opened = stamp(path.stat())
    return SafetensorsFile(path=path, header=read_header(path), opened=opened)
