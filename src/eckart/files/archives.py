"""Archives of named arrays: `.npz` of NumPy and SciPy, and `.safetensors`; also eckart's factors.

The weights of a `.safetensors` may be in float16, bfloat16, float32 or float64.
"""

import json
import lzma
import struct
import sys
import zipfile
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse

from eckart.errors import FormatError
from eckart.factors import Factors
from eckart.files.factor_files import from_arrays, to_arrays
from eckart.files.npy import fits, header_of, header_reading, pickled
from eckart.files.reading import DEFLATE_RATIO, damaged, parse_object, reading, unpacking
from eckart.files.records import Contents, FactorFile, Part, Selection, check_sparse, choose_array
from eckart.matrices import Dense, Matrix, Sparse
from eckart.matrices.derived import dense

SELECTABLE = frozenset({"tensor"})
DOCUMENT: Final = "eckart.json"
"""The member of a `.npz` that holds the document of the factors, as bytes of UTF-8."""
METADATA: Final = "eckart"
"""The key of the metadata of a `.safetensors` under which that document is written."""
READABLE: Final = frozenset(
    {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
)
"""The dtypes of tensors that become a matrix of float32 or float64."""
BROKEN: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError)
"""Errors for a `.npz` that is damaged, encrypted, or compressed by an unknown method."""


def read(path: Path, selection: Selection) -> Contents:
    """Read the named matrix, or the only one; a sparse matrix stays sparse."""
    if _is_npz(path):
        return Contents(parts=(Part(name="", matrix=_matrix_of_npz(path, selection.tensor)),))
    with open_tensors(path) as file:
        # the header alone is read: a file may hold many tensors, of which one is wanted
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 the handle is no dict
        chosen = choose_array(shapes, selection.tensor, path)
        return Contents(parts=(Part(name="", matrix=Dense(read_tensor(file, chosen, path))),))


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write each matrix under the name of its part, or as `W` if the part has no name."""
    write_arrays(path, {name or "W": dense(W) for name, W in parts.items()})


def read_factors(path: Path) -> FactorFile:
    """Read the pairs `NAME.B` and `NAME.A`, and the document beside them."""
    arrays, document = read_arrays(path)
    return FactorFile(parts=from_arrays(arrays, path), document=document)


def write_factors(path: Path, parts: Mapping[str, Factors], document: Mapping[str, Any]) -> None:
    """Write the pairs `NAME.B` and `NAME.A`, and the document."""
    write_arrays(path, to_arrays(parts), document)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read all arrays by name, and the document beside them; {} if there is none."""
    if _is_npz(path):
        with reading(path), _open_npz(path) as archive:
            for name in archive.files:
                _header(archive, name, path)
            arrays = {name: archive[name] for name in archive.files}
        stored = arrays.pop(DOCUMENT, None)
        text = None if stored is None else stored.tobytes()
    else:
        with reading(path), open_tensors(path) as file:
            arrays = {name: read_tensor(file, name, path) for name in file.keys()}  # noqa: SIM118 the handle is no dict
            # an empty text, as some libraries write for no document, is none
            text = (file.metadata() or {}).get(METADATA, "").encode() or None
    return arrays, {} if text is None else parse_object(text, path)


def write_arrays(
    path: Path, arrays: Mapping[str, Any], document: Mapping[str, Any] | None = None
) -> None:
    """Write arrays under their names, and a document beside them if there is one."""
    # JSON has no NaN and no infinity, and other parsers would refuse them
    text = None if document is None else json.dumps(document, allow_nan=False)
    if _is_npz(path):
        named = {} if text is None else {DOCUMENT: np.frombuffer(text.encode(), dtype=np.uint8)}
        with path.open("wb") as file:
            np.savez(file, **arrays, **named)  # pyright: ignore[reportArgumentType] names are the user's
        return
    from safetensors.numpy import save  # only files of this format need the package

    # the library asks for contiguous arrays, and a factor may be a view
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.write_bytes(save(kept, metadata=None if text is None else {METADATA: text}))


@contextmanager
def open_tensors(path: Path) -> Generator[Any, None, None]:
    """Open a `.safetensors` and turn every error of the library into one sentence.

    Raises:
        FormatError: If the file is damaged.
    """
    from safetensors import SafetensorError, safe_open  # only files of this format need it

    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise damaged(path, error) from error


def read_tensor(file: Any, name: str, path: Path) -> Any:
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


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _matrix_of_npz(path: Path, tensor: str | None) -> Matrix:
    with _open_npz(path) as archive:
        if {"format", "shape", "data"} <= set(archive.files):  # what scipy.sparse.save_npz writes
            if tensor is not None:
                raise FormatError(
                    f"{path} has no tensor '{tensor}': it is one sparse matrix.",
                    hint="Leave `tensor` out.",
                    code="no-such-tensor",
                )
            return _sparse(path, archive)
        return Dense(archive[choose_array(_shapes(archive, path, tensor), tensor, path)])


@contextmanager
def _open_npz(path: Path) -> Generator[Any, None, None]:
    """Open an archive, and turn every error of a damaged one into one sentence."""
    with (
        unpacking(path, *BROKEN),
        header_reading(path),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        if not hasattr(archive, "files"):
            raise damaged(path, "it is not an archive of arrays")
        yield archive


def _shapes(archive: Any, path: Path, wanted: str | None) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays of numbers; if none is a matrix, a pickled array is an error.

    Members of the archive that are no arrays are ignored.
    """
    members = set(archive.zip.namelist())
    shapes: dict[str, tuple[int, ...]] = {}
    refused: FormatError | None = None
    for name in archive.files:
        # members that are not arrays have no header to read
        if f"{name}.npy" not in members:
            continue
        try:
            shape, dtype = _header(archive, name, path)
        except FormatError as error:
            if name == wanted or error.code != "pickled":
                raise
            # a pickled array beside a matrix does no harm, since it is never read
            refused = error
            continue
        # bfloat16 is stored as "V", a type without meaning to NumPy; with names it is a record
        if dtype.kind in "biufcV" and dtype.names is None:
            shapes[name] = shape
    if refused is not None and not any(len(shape) == 2 for shape in shapes.values()):
        raise refused
    return shapes


def _header(archive: Any, name: str, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array, checked against the bytes that the archive really holds."""
    member = archive.zip.getinfo(name if name in archive.zip.namelist() else f"{name}.npy")
    with archive.zip.open(member) as file:
        shape, dtype = header_of(file)
    if dtype.hasobject:
        raise pickled(path)
    # a member's own size is a claim too, and cannot exceed that of the file
    packed = min(member.compress_size, path.stat().st_size)
    if not fits(shape, dtype.itemsize, DEFLATE_RATIO * packed + 4096):
        raise damaged(path, f"the header of {name} promises more numbers than the file holds")
    return shape, dtype


def _sparse(path: Path, archive: Any) -> Sparse:
    """The sparse matrix of an archive, whose parts are checked before and after SciPy reads it."""
    for name in archive.files:
        dtype = _header(archive, name, path)[1]
        # a text with characters that Unicode has not lets Python fail wherever it is used
        if dtype.kind == "U":
            code_points = np.dtype("u4").newbyteorder(dtype.byteorder)
            if np.any(np.frombuffer(archive[name].tobytes(), code_points) > sys.maxunicode):
                raise damaged(path, f"{name} holds text that is no Unicode")
    try:
        stored: Any = scipy.sparse.load_npz(path)
        if hasattr(stored, "check_format"):
            # the indices are checked, since wrong ones let SciPy write outside of its memory
            stored.check_format(full_check=True)
    except AttributeError as error:  # SciPy looks the format up by name, and it is no text
        raise damaged(path, error) from error
    check_sparse(path, stored.shape, stored.nnz)
    return Sparse(stored)
