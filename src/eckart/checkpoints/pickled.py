"""`pytorch_model.bin`, read by the weights-only reader of PyTorch: no pickled code is executed.

This is the only module that imports PyTorch to read checkpoints.
"""

import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Final, final

import numpy as np

from eckart.checkpoints.safetensors_file import (
    PAGE,
    SAMPLES,
    SafetensorsDtype,
    Tensor,
    TensorInfo,
    unreadable,
)
from eckart.errors import FormatError, MissingExtra
from eckart.files.reading import changed, damaged, reading, stamp

NAMES: Final = {
    # those that NumPy has bear the same names in PyTorch
    **{f"torch.{dtype.numpy.name}": dtype for dtype in SafetensorsDtype if dtype.numpy is not None},
    "torch.float8_e4m3fn": SafetensorsDtype.F8_E4M3,
    "torch.float8_e4m3fnuz": SafetensorsDtype.F8_E4M3FNUZ,
    "torch.float8_e5m2": SafetensorsDtype.F8_E5M2,
    "torch.float8_e5m2fnuz": SafetensorsDtype.F8_E5M2FNUZ,
    "torch.float8_e8m0fnu": SafetensorsDtype.F8_E8M0,
}
"""Dtypes of PyTorch and their counterparts in safetensors."""
MAPPED_BYTES: Final = 2**26
"""Bytes that are read from a file before it is mapped anew, to release the memory of its pages."""


@final
class PickledFile:
    """A file that `torch.save` wrote from a dictionary of tensors.

    Args:
        path: The file.

    Fields:
        tensors: Tensors by name, in the order of the dictionary. Tied weights have one entry for
            each name.

    Raises:
        ArgumentError: If there is no such file.
        FormatError: If the file is damaged, or holds anything but tensors by name.
        MissingExtra: If PyTorch is not installed.

    Cost:
        The file is mapped, and mapped anew whenever 64 MiB of it have been read, because the pages
        that were read count as memory until then. Mapping takes some 20 milliseconds for 300
        tensors. A file from before PyTorch 1.6 cannot be mapped and is held in memory whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            self._stamp = stamp(path.stat())
        # PyTorch warns those who write such files, not those who read them
        with warnings.catch_warnings(action="ignore"):
            self._held = _tensors(path)
        self.tensors: Mapping[str, TensorInfo] = {
            name: _info(name, tensor, path) for name, tensor in self._held.items()
        }
        # since PyTorch 1.6 it is a zip archive, which can be mapped
        self._is_mapped = zipfile.is_zipfile(path)
        self._touched = 0
        self._lock = Lock()

    def read(self, name: str, /) -> Tensor:
        """Read a tensor in its stored dtype into a new array in C order."""
        known = self.tensors[name]
        if known.dtype.numpy is None:
            raise unreadable(name, known.dtype, self.path)
        with reading(self.path):
            # the file may have been replaced since its tensors were listed
            if stamp(self.path.stat()) != self._stamp:
                raise changed(self.path)
            tensor = self._tensor(known).detach().contiguous()
            if known.dtype is SafetensorsDtype.BF16:
                # PyTorch has no conversion of bfloat16 to NumPy, so the bits are taken as integers
                torch = import_module("torch")
                return tensor.view(torch.int16).numpy().view(known.dtype.numpy).copy()
            # a copy, since the next map takes the memory of this one away
            return np.array(tensor.numpy(), known.dtype.numpy)

    def samples(self) -> Iterable[tuple[int, int]]:
        """Ranges for the fingerprint: pages at equal distances, and the last, without a header."""
        size = self.path.stat().st_size
        step = max(PAGE, size // SAMPLES)
        # the last page may overlap the one before it
        for start in (*range(0, size, step), max(0, size - PAGE)):
            yield start, min(start + PAGE, size)

    def _tensor(self, known: TensorInfo) -> Any:
        """A tensor of PyTorch; the file is mapped anew first if enough of it has been read."""
        # one lock for the count and the new map: any number of threads may read
        with self._lock:
            if self._is_mapped and self._touched > MAPPED_BYTES:
                self._held = _tensors(self.path)
                self._touched = 0
            self._touched += known.nbytes
            return self._held[known.name]


def _tensors(path: Path) -> dict[str, Any]:
    """The dictionary of tensors, mapped if the format allows it."""
    try:
        torch = import_module("torch")
    except ImportError as error:
        raise MissingExtra(
            f"Reading {path} needs PyTorch, which is not installed.",
            hint="Run: pip install 'eckart[adapters]', or give safetensors.",
            code="missing-extra",
        ) from error
    loaded = _loaded(torch, path)
    # checkpoints of training frameworks hold the weights under "state_dict" beside other state
    state: Any = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise FormatError(
            f"{path} holds something other than tensors by name.",
            hint="Save the weights alone: torch.save(model.state_dict(), path).",
            code="not-weights",
        )
    return state


def _loaded(torch: Any, path: Path) -> Any:
    """What the weights-only reader of PyTorch makes of the file."""
    mapped = zipfile.is_zipfile(path)
    try:
        # in a mapped file the bytes of a compressed entry would be taken for numbers
        if mapped:
            with zipfile.ZipFile(path) as archive:
                kinds = {entry.compress_type for entry in archive.infolist()}
            if kinds - {zipfile.ZIP_STORED}:
                raise ValueError("it is compressed, which PyTorch does not do")
        # files before PyTorch 1.6 are no archives and cannot be mapped
        return torch.load(path, weights_only=True, mmap=mapped, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise FormatError(
            f"{path} is damaged, or holds Python objects that eckart never unpickles.",
            hint="Save the weights alone as safetensors: model.save_pretrained(folder).",
            code="pickled",
        ) from error
    # invalid bytes make the parser of PyTorch fail with errors of any kind
    except Exception as error:
        raise damaged(path, error) from error


def _info(name: str, tensor: Any, path: Path) -> TensorInfo:
    """The record of a tensor; a tensor that is no plain array in this file is refused."""
    dtype = NAMES.get(str(tensor.dtype))
    layout = str(tensor.layout)
    # quantised, sparse and meta tensors have numbers elsewhere, or none
    if dtype is None or tensor.is_quantized or layout != "torch.strided" or tensor.is_meta:
        raise unreadable(name, f"{tensor.dtype} ({layout})", path)
    shape = tuple(int(length) for length in tensor.shape)
    nbytes = dtype.nbytes(shape)
    # a stride of 0 repeats one entry, so that a small file may claim a tensor of any size
    if nbytes > path.stat().st_size:
        raise damaged(path, f"the tensor {name[:100]!r} claims {nbytes} bytes")
    return TensorInfo(name=name, dtype=dtype, shape=shape, nbytes=nbytes, file=path)
