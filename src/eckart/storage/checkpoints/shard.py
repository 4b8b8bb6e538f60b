"""One file of a checkpoint: which tensors it holds, and reading them one by one."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import numpy.typing as npt

from eckart.errors import FormatError
from eckart.storage.checkpoints.dtypes import StoredDtype


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """What a checkpoint says about one tensor before it is read.

    Fields:
        name: Its name, such as `model.layers.0.mlp.up_proj.weight`.
        dtype: As stored.
        shape: Of any number of dimensions; () is a single number.
        nbytes: As stored.
        file: Where it is.
    """

    name: str
    dtype: StoredDtype
    shape: tuple[int, ...]
    nbytes: int
    file: Path


class Shard(Protocol):
    """A file of weights."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Its tensors by name, in the order of the file."""
        ...

    def read(self, name: str, /) -> npt.NDArray[Any]:
        """A tensor in its stored dtype, in memory of its own."""
        ...

    def samples(self) -> Iterable[tuple[int, int]]:
        """Which bytes tell this file from another, as pairs of start and stop."""
        ...


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is replaced or edited: its inode, its size, its time of change."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def unreadable(tensor: str, dtype: object, path: Path) -> FormatError:
    """The error for a tensor in a dtype that eckart lists but cannot read."""
    return FormatError(
        f"The tensor {tensor!r} of {path} is {dtype}, which eckart does not read.",
        hint="Give a checkpoint in float16, bfloat16, float32 or float64.",
        code="unsupported-dtype",
    )


def changed(path: Path) -> FormatError:
    """The error for a file that is not the one whose tensors were listed."""
    return FormatError(
        f"{path} has changed since it was opened.",
        hint="Start again when it is written whole.",
        code="changed-file",
    )
