"""safetensors: weights in float16, bfloat16, float32 and float64, and eckart's factors."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from eckart.errors import FormatError
from eckart.factors import Factors
from eckart.files.contents import (
    Contents,
    FactorFile,
    Part,
    Selection,
    choose_array,
    from_arrays,
    to_arrays,
)
from eckart.files.documents import parse_object
from eckart.files.whole import damaged, reading
from eckart.matrices import Dense, Matrix
from eckart.matrices.derived import dense

SELECTABLE = frozenset({"tensor"})
DOCUMENT: Final = "eckart"
"""The key of the metadata under which the document of the factors is written."""
READABLE: Final = frozenset(
    {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
)
"""The dtypes that become a matrix of float32 or float64, by their names in the format."""


def read(path: Path, selection: Selection) -> Contents:
    """Read the named matrix, or the only one."""
    with opened(path) as file:
        # the header alone is read: a file may hold many tensors, of which one is wanted
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 the handle is no dict
        chosen = choose_array(shapes, selection.tensor, path)
        return Contents(parts=(Part(name="", matrix=Dense(tensor_of(file, chosen, path))),))


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write each matrix under the name of its part, or as `W` if the part has no name."""
    path.write_bytes(save({name or "W": dense(W) for name, W in parts.items()}))


def read_factors(path: Path) -> FactorFile:
    """Read the pairs `NAME.B` and `NAME.A`, and the document in the metadata."""
    with opened(path) as file:
        arrays = {name: tensor_of(file, name, path) for name in file.keys()}  # noqa: SIM118 the handle is no dict
        text = (file.metadata() or {}).get(DOCUMENT)
    document = parse_object(text.encode(), path) if text else {}
    return FactorFile(parts=from_arrays(arrays, path), document=document)


def write_factors(path: Path, parts: Mapping[str, Factors], document: Mapping[str, Any]) -> None:
    """Write the pairs `NAME.B` and `NAME.A`, and the document as metadata."""
    # the library asks for contiguous arrays, and a factor may be a view
    arrays = {name: np.ascontiguousarray(array) for name, array in to_arrays(parts).items()}
    # JSON has no NaN and no infinity, and other parsers would refuse them
    metadata = {DOCUMENT: json.dumps(document, allow_nan=False)}
    path.write_bytes(save(arrays, metadata=metadata))


def read_arrays(path: Path) -> dict[str, Any]:
    """Read all tensors of a file, by name.

    Raises:
        FormatError: If the file is damaged, or holds a dtype that eckart does not read.
        StorageError: If the system refuses to read the file.
    """
    with reading(path), opened(path) as file:
        return {name: tensor_of(file, name, path) for name in file.keys()}  # noqa: SIM118 the handle is no dict


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays under their names."""
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


@contextmanager
def opened(path: Path) -> Generator[Any, None, None]:
    """Open a file and turn every error of the safetensors library into one sentence.

    Raises:
        FormatError: If the file is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise damaged(path, error) from error


def tensor_of(file: Any, name: str, path: Path) -> Any:
    """Read one tensor of an opened file as a NumPy array.

    Raises:
        FormatError: If eckart does not read the dtype of the tensor.
    """
    dtype = file.get_slice(name).get_dtype()
    # checked before the tensor is read, so that the message names its dtype
    if dtype not in READABLE:
        raise FormatError(
            f"The tensor '{name}' of {path} is {dtype}, which eckart does not factor.",
            hint="Give float16, bfloat16, float32 or float64.",
            code="unsupported-dtype",
        )
    return file.get_tensor(name)
