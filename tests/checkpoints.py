"""Checkpoints for the tests, and what must hold of every refusal."""

import json
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from eckart.checkpoints import (
    CheckpointWriter,
    SafetensorsDtype,
    TensorLayout,
    open_checkpoint,
    stored_dtype,
)
from eckart.errors import FormatError
from eckart.files import whole_file

ONE = {"b": np.float32([[1, 2], [3, 4]]), "a": np.float16([5, 6])}
TWO = {"c": np.float32([7])}
INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SMALL = 2**20
"""Bytes that any parser may take; no claim in these files is that modest."""


class Bomb:
    """Leaves a trace if anything unpickles it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


def tensor(dtype: SafetensorsDtype, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Every pattern of bits is as likely as any other: NaN, infinities and −0 are among them."""
    assert dtype.numpy is not None
    size = int(np.prod(shape)) * dtype.numpy.itemsize
    content = np.random.default_rng(seed).bytes(size)
    if dtype is SafetensorsDtype.BOOL:
        content = bytes(byte & 1 for byte in content)
    return np.frombuffer(content, dtype.numpy).reshape(shape)


def same(x: np.ndarray, y: np.ndarray) -> bool:
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def layout(tensors: dict[str, np.ndarray]) -> dict[str, TensorLayout]:
    return {
        name: TensorLayout(dtype=SafetensorsDtype(stored_dtype(array.dtype)), shape=array.shape)
        for name, array in tensors.items()
    }


def write(target: Path, tensors: dict[str, np.ndarray], **settings: object) -> None:
    with (
        whole_file(target) as temporary,
        CheckpointWriter(temporary, layout(tensors), **settings) as writer,
    ):
        for name in writer.order:
            writer.write(name, tensors[name])


def sharded(folder: Path, weight_map: object = None, *parts: dict[str, np.ndarray]) -> Path:
    """A folder of two files and their index, as transformers writes it."""
    folder.mkdir(exist_ok=True)
    for name, part in zip((FIRST, SECOND), parts or (ONE, TWO), strict=False):
        save_file(part, folder / name)
    written = {"weight_map": weight_map or {"a": FIRST, "b": FIRST, "c": SECOND}}
    (folder / INDEX).write_text(json.dumps(written))
    return folder


@contextmanager
def taking_little() -> Generator[None]:
    """Fails if more memory is taken than any parser needs."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < SMALL
    finally:
        tracemalloc.stop()


def refused(path: Path, code: str = "damaged-file") -> FormatError:
    """The error of a file, which takes next to no memory and names the file or its folder."""
    with taking_little(), pytest.raises(FormatError) as error:
        open_checkpoint(path)
    assert error.value.code == code
    assert str(path) in error.value.message
    assert error.value.hint
    assert "\n" not in str(error.value)
    return error.value
