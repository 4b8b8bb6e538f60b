"""Arrays and factors in Zarr, whose chunks of rows several processes write at the same time."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from eckart.arrays import Array, DType
from eckart.errors import FormatError, MissingExtra
from eckart.factors import Factors
from eckart.files.reading import UNEXPECTED, unpacking
from eckart.files.records import FactorFile

DOCUMENT: Final = "eckart"
"""The attribute that holds the document of the factors."""
CHUNK_BYTES: Final = 2**24
"""Bytes of a chunk of rows that one process writes alone."""


def _zarr() -> Any:
    try:
        return import_module("zarr")
    except ImportError as error:
        raise MissingExtra(
            "This file is written by zarr, which is not installed.",
            hint="pip install 'eckart[files]'",
            code="missing-extra",
        ) from error


def begin_array(
    path: Path, shape: tuple[int, int], dtype: DType, height: int, *, name: str = ""
) -> None:
    """Make an array whose chunks have `height` rows; each may be written by another process.

    Args:
        path: The array, or with a name the group that has it.
        shape: Shape (rows, columns).
        dtype: Dtype of the numbers.
        height: Rows of a chunk.
        name: Name in the group; empty for an array that stands alone.
    """
    zarr = _zarr()
    settings = {"shape": shape, "dtype": str(dtype), "chunks": (max(1, height), shape[1])}
    if name:
        zarr.open_group(str(path), mode="a").create_array(name, **settings)
    else:
        zarr.create_array(str(path), **settings)


def write_rows(path: Path, first: int, rows: Array, *, name: str = "") -> None:
    """Write whole chunks of rows, from a place on."""
    array = _zarr().open(str(path), mode="r+")
    array = array[name] if name else array
    array[first : first + len(rows)] = rows


def end_group(path: Path, arrays: Mapping[str, Array], document: Mapping[str, Any]) -> None:
    """Write small arrays of a group, and its document last: a group without it is unfinished."""
    group = _zarr().open_group(str(path), mode="a")
    for name, array in arrays.items():
        own = group.create_array(name, shape=array.shape, dtype=str(array.dtype))
        own[:] = array
    group.attrs[DOCUMENT] = dict(document)


def write_factors(path: Path, parts: Mapping[str, Factors], document: Mapping[str, Any]) -> None:
    """Write B and A of every part, and the document."""
    small: dict[str, Array] = {}
    for name, factors in parts.items():
        B = factors.namespace.get(factors.B)
        prefix = f"{name}." if name else ""
        height = CHUNK_BYTES // max(1, B.shape[1] * B.dtype.itemsize)
        begin_array(path, B.shape, B.dtype, min(len(B), height), name=f"{prefix}B")
        write_rows(path, 0, B, name=f"{prefix}B")
        small[f"{prefix}A"] = factors.namespace.get(factors.A)
    end_group(path, small, document)


def read_factors(path: Path) -> FactorFile:
    """Read the factors of a group.

    Raises:
        FormatError: If it holds none, or they were not written to the end.
    """
    # Zarr warns of the list of eckart's files in its folder
    with unpacking(path, *UNEXPECTED), warnings.catch_warnings(action="ignore"):
        group = _zarr().open(str(path), mode="r")
        document = dict(group.attrs).get(DOCUMENT)
        names = sorted(group.array_keys()) if hasattr(group, "array_keys") else []
        parts = {
            name.removesuffix("B").removesuffix("."): Factors(
                np.asarray(group[name][:]), np.asarray(group[f"{name[:-1]}A"][:])
            )
            for name in names
            if name == "B" or name.endswith(".B")
        }
    if not isinstance(document, dict) or not parts:
        raise FormatError(
            f"{path} holds no factors, or they were not written to the end.",
            hint="Give a .zarr that `eckart factor` wrote.",
            code="not-factors",
        )
    return FactorFile(parts=parts, document=document)
