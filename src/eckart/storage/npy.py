"""NumPy's `.npy`: one array, mapped into memory. Pickled arrays are refused."""

import math
import tokenize
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from eckart.errors import EckartError, FormatError, MatrixError
from eckart.matrices import Dense, Matrix
from eckart.storage.contents import Contents, Part, Selection
from eckart.storage.whole import damaged

SELECTABLE: frozenset[str] = frozenset()
MAGIC = b"\x93NUMPY"
WRONG: Final = (
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    SyntaxError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
"""What NumPy raises for a header that is none: it is read as Python's own literals are."""


def read(path: Path, selection: Selection) -> Contents:
    """The array, mapped; the file stays open as long as it is used."""
    del selection
    return Contents(parts=(Part(name="", matrix=Dense(load(path, path))),))


def load(file: Any, path: Path) -> Any:
    """The array of a `.npy` file, mapped; or of an open one, read.

    Raises:
        FormatError: If it is pickled or damaged.
    """
    with header_reading(path):
        if file is path:
            _check_fits(path)
        return np.load(file, mmap_mode="r" if file is path else None, allow_pickle=False)


@contextmanager
def header_reading(path: Path) -> Generator[None, None, None]:
    """Turn what NumPy says of a header into one sentence, and leave out what it warns of.

    Raises:
        FormatError: If it says that the file is pickled or damaged.
    """
    try:
        # of headers that Python 2 wrote, which are read all the same
        with warnings.catch_warnings(action="ignore"):
            yield
    except EckartError:
        raise
    except WRONG as error:
        raise unreadable(path, error) from error


def header_of(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array that begins here in an open file, as it claims them.

    Raises:
        ValueError: If it is of a version that NumPy does not know.
        Exception: Any of `WRONG`, if it is damaged.
    """
    version = np.lib.format.read_magic(file)
    # the third, which has UTF-8 in the names of fields, is read like the second
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"unknown version {version}")
    shape, _, dtype = read(file)
    if not all(type(length) is int for length in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, dtype


def _check_fits(path: Path) -> None:
    """Refuse a header that promises more than the file holds; NumPy would count beyond 64 bits."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return  # what else it is, NumPy says
        file.seek(0)
        shape, dtype = header_of(file)
        left = path.stat().st_size - file.tell()
    if not dtype.hasobject and not fits(shape, dtype.itemsize, left):
        raise damaged(path, "its header promises more numbers than it holds")


def unreadable(path: Path, error: Exception) -> FormatError:
    """The error for a file that NumPy does not read: pickled, damaged, or something else."""
    said = str(error)
    if "pickle" not in said and "Python objects" not in said:
        return damaged(path, error)
    with path.open("rb") as file:  # what has no mark of its own is taken for a pickle by NumPy
        start = file.read(6)
    known = start.startswith((b"\x80", b"PK", MAGIC))
    return pickled(path) if known else damaged(path, "it does not begin as such a file does")


def pickled(path: Path) -> FormatError:
    """The error for a file that could run code when it is read."""
    return FormatError(
        f"{path} holds pickled Python objects, which eckart never unpickles.",
        hint="Save the numbers as a plain array: np.save(path, array.astype(float)).",
        code="pickled",
    )


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix, block by block."""
    W = only_part(parts, path)
    with path.open("wb") as file:
        header: dict[str, Any] = {
            "descr": np.lib.format.dtype_to_descr(W.dtype),
            "fortran_order": False,
            "shape": W.shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        for block in W.row_blocks():
            file.write(np.ascontiguousarray(block).data)


def only_part(parts: Mapping[str, Matrix], path: Path) -> Matrix:
    """The only matrix, for a format that holds no more.

    Raises:
        MatrixError: If there are several.
    """
    if len(parts) > 1:
        raise MatrixError(
            f"A {path.suffix} file holds one matrix, here are {len(parts)}: {', '.join(parts)}.",
            hint="Choose one with --part, or write .npz or .safetensors.",
            code="too-many-parts",
        )
    return next(iter(parts.values()))


def fits(shape: tuple[int, ...], itemsize: int, available: int) -> bool:
    """Whether an array of this shape can be in so many bytes; its header may say anything."""
    return all(length >= 0 for length in shape) and math.prod(shape) * itemsize <= available
