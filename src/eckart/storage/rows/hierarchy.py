"""Which array of an HDF5 or Zarr file is read, and what its columns are called."""

import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from eckart.errors import FormatError

DEEPEST: Final = 8
"""Groups within groups that are looked into."""
MOST_LISTED: Final = 30
SPARSE: Final = ({"data", "indices", "indptr"}, {"data", "ir", "jc"})
"""Members of a sparse matrix, of SciPy's making or of MATLAB's."""


def found_matrix(opened: Any, name: str | None, path: Path) -> tuple[str, Any]:
    """The place and the node of the named matrix, of the X of an AnnData, or of the only one.

    Raises:
        FormatError: If there is none of this name, or none was given and there are several.
    """
    if hasattr(opened, "dtype"):
        if name is None:
            return "", opened
        raise FormatError(
            f"{path} has no tensor '{name}': it is one array.",
            hint="Leave --tensor out.",
            code="no-such-tensor",
        )
    matrices = dict(_matrices(opened, "", set()))
    if name is not None:
        place = "/".join(part for part in name.split("/") if part not in ("", "."))
        node = matrices[place] if place in matrices else _below(opened, place)
        if node is not None and _is_matrix(node):
            return place, node
        raise FormatError(
            f"{path} has no matrix '{name}'{_as_it_is(node)}.",
            hint=_listed(opened, matrices),
            code="no-such-tensor",
        )
    if is_annotated(opened):
        if "X" in matrices:
            return "X", matrices["X"]
        raise FormatError(
            f"{path} has no X.", hint=_listed(opened, matrices), code="tensor-not-chosen"
        )
    above = {place: node for place, node in matrices.items() if "/" not in place} or matrices
    if len(above) == 1:
        return next(iter(above.items()))
    raise FormatError(
        f"{path} holds {len(above) or 'no'} matrices.",
        hint=_listed(opened, matrices),
        code="tensor-not-chosen",
    )


def is_annotated(opened: Any) -> bool:
    """Whether this is an AnnData: cells and genes, and matrices of them."""
    return opened.attrs.get("encoding-type") == "anndata" or {"obs", "var"} <= set(_keys(opened))


def names_of_columns(opened: Any, place: str, columns: int) -> tuple[str, ...] | None:
    """The genes of an AnnData that the columns of one of its matrices are; None if there are none.

    Whatever way the file keeps them: as text, as categories, as text that may be missing, or in a
    table of records, as files of AnnData before 0.7 do.
    """
    if hasattr(opened, "dtype") or not is_annotated(opened):
        return None
    own = place == "X" or place.startswith("layers/")
    var = _member(opened, "var" if own else "raw/var" if place == "raw/X" else "")
    names = None if var is None else _index_of(var)
    return None if names is None or len(names) != columns else tuple(map(_text, names))


def is_turned(node: Any) -> bool:
    """Whether a dataset is one of MATLAB's, whose columns are the rows that are stored."""
    return "MATLAB_class" in node.attrs


def sparse_members(node: Any) -> set[str] | None:
    """The names of the members of a sparse matrix; None for anything else."""
    if hasattr(node, "dtype"):
        return None
    keys = set(_keys(node))
    return next((names for names in SPARSE if names <= keys), None)


def _matrices(group: Any, place: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """Every matrix of numbers below a group, by its place; links to nowhere are passed over."""
    if place.count("/") >= DEEPEST or (_is_counted(group) and group in seen):
        return
    seen.update([group] if _is_counted(group) else [])
    for key in _keys(group):
        node, here = _member(group, key), f"{place}/{key}".lstrip("/")
        if node is None:
            continue
        if _is_matrix(node):
            yield here, node
        elif not hasattr(node, "dtype"):
            yield from _matrices(node, here, seen)


def _is_matrix(node: Any) -> bool:
    """Whether this is a dataset of numbers in two dimensions, or a sparse matrix."""
    if hasattr(node, "dtype"):
        # a type that has a name, as NetCDF writes, has a dtype and no shape
        return len(getattr(node, "shape", None) or ()) == 2 and _holds_numbers(node)
    return sparse_members(node) is not None


def _keys(group: Any) -> list[str]:
    """The names of what a group holds; Zarr warns of what else lies in its folder."""
    with warnings.catch_warnings(action="ignore"):
        return list(group)


def _holds_numbers(node: Any) -> bool:
    """Whether a dataset holds numbers of any kind, not text, records or references.

    MATLAB keeps text as numbers, and of an array of nothing its shape. What the file says to be in
    another file, which may be any of the user's, is not read; where that file is not there, HDF5
    would give zeros.
    """
    if _text(node.attrs.get("MATLAB_class", "")) == "char" or "MATLAB_empty" in node.attrs:
        return False
    if getattr(node, "external", None) or _is_elsewhere(node):
        return False
    dtype = np.dtype(node.dtype)
    return dtype.kind in "biufc" or (dtype.kind == "V" and dtype.names is None)


def _is_elsewhere(node: Any) -> bool:
    """Whether this is put together from parts of other files."""
    virtual = getattr(node, "is_virtual", False)
    return virtual and any(source.file_name != "." for source in node.virtual_sources())


def _is_counted(group: Any) -> bool:
    """Whether one group can be met twice: HDF5 has links, Zarr has none."""
    return type(group).__module__.startswith("h5py")


def _member(group: Any, key: str) -> Any:
    """What is at a place; None where nothing is, or a link leads nowhere."""
    try:
        return group[key] if key and key in group else None
    except (KeyError, OSError, ValueError, RuntimeError):
        return None


def _below(group: Any, place: str) -> Any:
    """The node at a place, however deep; None where there is none."""
    node = group
    for key in place.split("/"):
        node = None if node is None or hasattr(node, "dtype") else _member(node, key)
    return node


def _as_it_is(node: Any) -> str:
    """What a node is that is no matrix, for a message."""
    if node is None:
        return ""
    if not hasattr(node, "dtype"):
        return ", but a group of this name"
    return f", but an array of shape {tuple(node.shape or ())} of {node.dtype}"


def _index_of(var: Any) -> Any:
    """The index of a table of an AnnData, as a list of names."""
    if hasattr(var, "dtype"):
        fields = var.dtype.names or ()
        field = next((name for name in ("index", "_index") if name in fields), None)
        return None if field is None else var[field][:]
    key = _text(var.attrs.get("_index", "_index"))
    index = _member(var, key)
    if index is None or hasattr(index, "dtype"):
        return None if index is None else index[:]
    codes, categories = _member(index, "codes"), _member(index, "categories")
    if codes is not None and categories is not None:
        return np.asarray(categories[:])[codes[:]]
    values = _member(index, "values")
    return None if values is None else values[:]


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _listed(opened: Any, matrices: dict[str, Any]) -> str:
    """What can be named, as a hint; else what there is in its place."""
    if matrices:
        places = sorted(matrices)
        more = f", and {len(places) - MOST_LISTED} more" if len(places) > MOST_LISTED else ""
        return f"Name one with --tensor: {', '.join(places[:MOST_LISTED])}{more}."
    nodes = ((str(key), _member(opened, key)) for key in islice(opened, MOST_LISTED))
    held = [
        f"{key} {tuple(node.shape or ())}" if hasattr(node, "dtype") else f"{key}/"
        for key, node in nodes
        if node is not None
    ]
    return f"Give one with a matrix of numbers; it has {', '.join(held) or 'nothing'}."
