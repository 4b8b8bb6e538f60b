"""Writing a safetensors file one tensor at a time: the header first, from names and shapes alone.

The format: eight bytes with the length of the header, the header as JSON, then the tensors one
after the other, little-endian. https://github.com/huggingface/safetensors#format
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import ml_dtypes
import numpy as np

from eckart.errors import FormatError
from eckart.storage.whole import whole_file

NAMES: Final = {
    np.dtype(np.int64): "I64",
    np.dtype(np.float64): "F64",
    np.dtype(np.float32): "F32",
    np.dtype(np.int32): "I32",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(np.float16): "F16",
    np.dtype(np.int16): "I16",
    np.dtype(np.int8): "I8",
    np.dtype(np.uint8): "U8",
    np.dtype(np.bool_): "BOOL",
}
"""Names of the dtypes in the order of the library: wide numbers first, so that each tensor begins
at a multiple of the width of its numbers."""

ALIGNMENT: Final = 8
METADATA: Final = {"format": "pt"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One tensor of a file that is yet to be written.

    Fields:
        name: Of the tensor.
        dtype: One of the dtypes of safetensors.
        shape: Of the tensor.
        make: Gives the tensor when its turn comes.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray[Any, Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor in the file."""
        return self.dtype.itemsize * math.prod(self.shape)


def write_tensors(
    path: Path, entries: Iterable[Entry], metadata: Mapping[str, str] = METADATA
) -> None:
    """Write the entries as a whole file, the same bytes as the library's own `save`.

    Raises:
        FormatError: If a dtype has no name in the format, or a tensor is not what its entry says.
        StorageError: If the system refuses to write.

    Cost:
        One tensor in memory at a time.
    """
    order = {dtype: place for place, dtype in enumerate(NAMES)}
    ordered = sorted(entries, key=lambda entry: (order.get(entry.dtype, len(order)), entry.name))
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(_header(ordered, metadata, path))
        for entry in ordered:
            tensor = entry.make()
            if tensor.dtype != entry.dtype or tensor.shape != entry.shape:
                raise FormatError(
                    f"The tensor '{entry.name}' changed while {path} was written.",
                    hint="Write it again.",
                    code="tensor-changed",
                )
            contiguous = np.ascontiguousarray(tensor, entry.dtype.newbyteorder("<"))
            file.write(contiguous.reshape(-1).view(np.uint8).data)


def _header(entries: list[Entry], metadata: Mapping[str, str], path: Path) -> bytes:
    document: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    for entry in entries:
        if entry.dtype not in NAMES:
            raise FormatError(
                f"{path} cannot hold '{entry.name}', which is {entry.dtype}.",
                hint="Convert it to float32.",
                code="unsupported-dtype",
            )
        document[entry.name] = {
            "dtype": NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [start, start + entry.nbytes],
        }
        start += entry.nbytes
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
