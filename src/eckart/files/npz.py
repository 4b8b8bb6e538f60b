"""The format `.npz` of NumPy: dense arrays, sparse matrices of SciPy, and factors of eckart."""

import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse

from eckart.errors import EckartError, FormatError
from eckart.factors import Factors
from eckart.files.contents import (
    Contents,
    FactorFile,
    Part,
    Selection,
    check_sparse,
    choose_array,
    from_arrays,
    to_arrays,
)
from eckart.files.documents import parse_object
from eckart.files.npy import fits, header_of, header_reading, pickled
from eckart.files.whole import damaged
from eckart.matrices import Dense, Matrix, Sparse
from eckart.matrices.derived import dense

SELECTABLE = frozenset({"tensor"})
DOCUMENT: Final = "eckart.json"
"""The member of the archive that holds the document of the factors, as bytes of UTF-8."""
MOST_DEFLATION: Final = 1032  # the largest ratio of DEFLATE, so a larger claim is false
BROKEN: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError)
"""Errors for an archive that is damaged, encrypted, or compressed by an unknown method."""


def read(path: Path, selection: Selection) -> Contents:
    """Read the named matrix, or the only one; a sparse matrix stays sparse."""
    with _opened(path) as archive:
        names = set(archive.files)
        if {"format", "shape", "data"} <= names:  # what scipy.sparse.save_npz writes
            if selection.tensor is not None:
                raise FormatError(
                    f"{path} has no tensor '{selection.tensor}': it is one sparse matrix.",
                    hint="Leave `tensor` out.",
                    code="no-such-tensor",
                )
            return Contents(parts=(Part(name="", matrix=_sparse(path, archive)),))
        shapes = _shapes(archive, path, selection.tensor)
        chosen = choose_array(shapes, selection.tensor, path)
        return Contents(parts=(Part(name="", matrix=Dense(archive[chosen])),))


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write each matrix under the name of its part, or as `W` if the part has no name."""
    arrays = {name or "W": dense(W) for name, W in parts.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType] names are the user's


def read_factors(path: Path) -> FactorFile:
    """Read the pairs `NAME.B` and `NAME.A`, and the document beside them."""
    arrays, document = read_arrays(path)
    return FactorFile(parts=from_arrays(arrays, path), document=document)


def write_factors(path: Path, parts: Mapping[str, Factors], document: Mapping[str, Any]) -> None:
    """Write the pairs `NAME.B` and `NAME.A`, and the document as UTF-8 text."""
    write_arrays(path, to_arrays(parts), document)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read all arrays by name, and the document beside them.

    Raises:
        FormatError: If the file is damaged.
    """
    with _opened(path) as archive:
        for name in archive.files:
            _header(archive, name, path)
        arrays = {name: archive[name] for name in archive.files}
    text = arrays.pop(DOCUMENT, None)
    return arrays, {} if text is None else parse_object(text.tobytes(), path)


def write_arrays(path: Path, arrays: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    """Write arrays under their names, and a document as UTF-8 text."""
    text = json.dumps(document, allow_nan=False).encode()
    named = {**arrays, DOCUMENT: np.frombuffer(text, dtype=np.uint8)}
    with path.open("wb") as file:
        np.savez(file, **named)  # pyright: ignore[reportArgumentType] names are ours


@contextmanager
def _opened(path: Path) -> Generator[Any, None, None]:
    """Open an archive, and turn every error of a damaged one into one sentence."""
    try:
        with (
            header_reading(path),
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as archive,
        ):
            if not hasattr(archive, "files"):
                raise damaged(path, "it is not an archive of arrays")
            yield archive
    except BROKEN as error:
        raise damaged(path, error) from error
    except OSError as error:  # bzip2 raises one without a number for damaged data
        if isinstance(error, EckartError) or error.errno is not None:
            raise
        raise damaged(path, error) from error


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
    if not fits(shape, dtype.itemsize, MOST_DEFLATION * packed + 4096):
        raise damaged(path, f"the header of {name} promises more numbers than the file holds")
    return shape, dtype


def _sparse(path: Path, archive: Any) -> Sparse:
    """The sparse matrix of an archive, whose parts are checked before and after SciPy reads it."""
    for name in archive.files:
        _header(archive, name, path)
    try:
        stored: Any = scipy.sparse.load_npz(path)
        if hasattr(stored, "check_format"):
            # the indices are checked, since wrong ones let SciPy write outside of its memory
            stored.check_format(full_check=True)
    except AttributeError as error:  # SciPy looks the format up by name, and it is no text
        raise damaged(path, error) from error
    check_sparse(path, stored.shape, stored.nnz)
    return Sparse(stored)
