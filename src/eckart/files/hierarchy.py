"""HDF5 and Zarr files: the choice of an array, its packing, and checks before it is read."""

import mmap
import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType, working_dtype
from eckart.errors import FormatError
from eckart.files.reading import damaged
from eckart.files.records import MOST_LISTED

Node: TypeAlias = Any
"""A group or a dataset of h5py or of Zarr, which are optional and have no types in common."""
SIGNATURE: Final = b"GCOL\x01\x00\x00\x00"
"""The first bytes of a global heap, in which HDF5 keeps texts of variable length."""
OBJECT: Final = struct.Struct("<HHIQ")
"""The head of an object in the heap: its number, which is 0 for free space, and its size."""
SEARCHED_BYTES: Final = 2**28
"""Bytes of the largest file that is searched for heaps without a size."""


def check_heaps(path: Path) -> None:
    """Refuse a file in which an object of a global heap has no size: HDF5 would never return.

    Cost:
        One search through a file of up to 256 MiB, at the speed of memory.
    """
    # an empty file cannot be mapped
    if not 0 < path.stat().st_size <= SEARCHED_BYTES:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(SIGNATURE)
        while place >= 0:
            if _is_endless(content, place):
                raise damaged(path, "a piece of its global heap has no size")
            place = content.find(SIGNATURE, place + 1)


def _is_endless(content: mmap.mmap, start: int) -> bool:
    """Whether the walk over the objects of a heap reaches one of size 0 and stays there."""
    head = len(SIGNATURE) + 8  # the size of the heap follows the signature, in 8 bytes
    if start + head > len(content):
        return False
    size = int.from_bytes(content[start + len(SIGNATURE) : start + head], "little")
    place, end = start + head, min(start + size, len(content))
    while place + OBJECT.size <= end:
        number, _, _, length = OBJECT.unpack_from(content, place)
        # the size of free space includes its head; that of an object does not, and is padded to 8
        # sizes are unsigned numbers of 64 bits, so a sum may wrap to 0
        step = (length if number == 0 else OBJECT.size + (length + 7) // 8 * 8) % 2**64
        if step == 0:
            return True
        place += step
    return False


GAPS: Final = ("_FillValue", "missing_value")
"""Attributes that name the number which stands for a missing value, as NetCDF has them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How the numbers of a dataset follow from what is stored: number = stored·factor + offset.

    Fields:
        factor: The number by which a stored number is multiplied.
        offset: The number that is added after that.
        gaps: The stored numbers that stand for a missing value.
        stored: The dtype in which the stored numbers are interpreted, with or without a sign.
        dtype: The dtype of the decoded numbers.
    """

    factor: float
    offset: float
    gaps: Array
    stored: np.dtype[Any]
    dtype: DType

    @staticmethod
    def of(node: Node, path: Path) -> "Packing":
        """Read the packing from the attributes of a dataset."""
        own = np.dtype(node.dtype)
        factor, offset = (
            _single(node, name, default, path)
            for name, default in (("scale_factor", 1.0), ("add_offset", 0.0))
        )
        stored = _signed(own, _word(node.attrs.get("_Unsigned", "")))
        marks = [one for name in GAPS for one in np.ravel(node.attrs.get(name, []))]
        return Packing(
            factor=factor,
            offset=offset,
            gaps=_as_stored(marks, own).view(stored),
            stored=stored,
            # a product and a sum may need more digits than float32 has
            dtype=FLOAT64 if (factor, offset) != (1.0, 0.0) else working_dtype(stored),
        )

    def decoded(self, stored: Array) -> Array:
        """Decode stored numbers; those that stand for a missing value become NaN."""
        taken = stored if stored.dtype == self.stored else stored.view(self.stored)
        plain = self.factor == 1.0 and self.offset == 0.0
        numbers = taken if plain else taken * self.factor + self.offset
        # compared as they are stored, since a decoded number is rounded
        return np.where(np.isin(taken, self.gaps), np.nan, numbers) if len(self.gaps) else numbers


def _single(node: Node, name: str, default: float, path: Path) -> float:
    values = np.ravel(node.attrs.get(name, default))
    if len(values) != 1:
        raise FormatError(
            f"A dataset of {path} has {len(values)} numbers as its {name}.",
            hint="Save the numbers as they are, without scale_factor and add_offset.",
            code="several-scales",
        )
    return float(values[0])


def _signed(dtype: np.dtype[Any], unsigned: str) -> np.dtype[Any]:
    """The dtype with or without a sign, as the attribute `_Unsigned` of NetCDF says."""
    kinds = {"true": ("i", "u"), "false": ("u", "i")}
    stored, meant = kinds.get(unsigned, ("", ""))
    if dtype.kind != stored:
        return dtype
    # the byte order stays that of the file, since the bytes are only viewed
    return np.dtype(f"{meant}{dtype.itemsize}").newbyteorder(dtype.byteorder)


def _as_stored(marks: list[object], dtype: np.dtype[Any]) -> Array:
    """The marks of missing values in the dtype of the dataset, without those that do not fit it."""
    found: list[object] = []
    for mark in marks:
        # an attribute may hold text, or a number beyond the range of the dtype
        with suppress(TypeError, ValueError, OverflowError), np.errstate(all="ignore"):
            number = mark if isinstance(mark, np.number) else float(_word(mark))
            kept = dtype.type(number)
            # an integer that the dtype cannot hold occurs nowhere; floats are compared rounded
            if dtype.kind == "f" or kept == number:
                found.append(kept)
    return np.array(found, dtype)


def _word(value: object) -> str:
    return _text(value).strip().lower()


MOST_LEVELS: Final = 8
"""Levels of nested groups that are searched for matrices."""
SPARSE: Final = ({"data", "indices", "indptr"}, {"data", "ir", "jc"})
"""Names of the members of a sparse matrix as SciPy, or as MATLAB writes it."""


def found_matrix(opened: Node, name: str | None, path: Path) -> tuple[str, Node]:
    """The place and the node of the named matrix, of the X of an AnnData, or of the only matrix."""
    if hasattr(opened, "dtype"):
        if name is None:
            return "", opened
        raise FormatError(
            f"{path} has no tensor '{name}': it is one array.",
            hint="Leave `tensor` out.",
            code="no-such-tensor",
        )
    matrices = dict(_matrices(opened, "", set()))
    if name is not None:
        # a user may write "/X" or "./X", and the places that were found have no such parts
        place = "/".join(part for part in name.split("/") if part not in ("", "."))
        node = matrices[place] if place in matrices else _below(opened, place)
        if node is not None and _is_matrix(node):
            return place, node
        held = ""
        if node is not None:
            array = hasattr(node, "dtype") and f"an array of shape {_shape(node)} of {node.dtype}"
            held = f", but {array or 'a group of this name'}"
        wrong, code = f"has no matrix '{name}'{held}", "no-such-tensor"
        raise FormatError(f"{path} {wrong}.", hint=_listed(opened, matrices), code=code)
    # matrices of the top level are the data; those in groups belong to them, unless there are none
    above = {place: node for place, node in matrices.items() if "/" not in place} or matrices
    wrong = f"holds {len(above) or 'no'} matrices"
    if is_annotated(opened):
        wrong = "has no X"
        above = {place: node for place, node in matrices.items() if place == "X"}
    if len(above) == 1:
        return next(iter(above.items()))
    raise FormatError(f"{path} {wrong}.", hint=_listed(opened, matrices), code="tensor-not-chosen")


def is_annotated(opened: Node) -> bool:
    """Whether the file is an AnnData, which holds matrices of cells × genes and their names."""
    return opened.attrs.get("encoding-type") == "anndata" or {"obs", "var"} <= set(_keys(opened))


def names_of_columns(opened: Node, place: str, columns: int) -> tuple[str, ...] | None:
    """Names of the genes that the columns of a matrix of an AnnData stand for; None without names.

    The file may keep them as text, as categories, as text that may be missing, or in a table of
    records, as versions of AnnData before 0.7 wrote it.
    """
    if hasattr(opened, "dtype") or not is_annotated(opened):
        return None
    # layers have the genes of var; raw was kept before genes were removed, and has its own
    own = place == "X" or place.startswith("layers/")
    var = _member(opened, "var" if own else "raw/var" if place == "raw/X" else "")
    names = None if var is None else _index_of(var)
    # names that are more or fewer than the columns cannot be theirs
    return None if names is None or len(names) != columns else tuple(map(_text, names))


def is_turned(node: Node) -> bool:
    """Whether a dataset was written by MATLAB, which stores a matrix transposed."""
    return "MATLAB_class" in node.attrs


def sparse_members(node: Node) -> set[str] | None:
    """The names of the members of a sparse matrix; None for anything else."""
    if hasattr(node, "dtype"):
        return None
    keys = set(_keys(node))
    return next((names for names in SPARSE if names <= keys), None)


def _matrices(group: Node, place: str, seen: set[Node]) -> Iterator[tuple[str, Node]]:
    """Yield every matrix of numbers below a group with its place; skip links that lead nowhere."""
    # a link of HDF5 may lead back to a group above, so visited groups are remembered
    if place.count("/") >= MOST_LEVELS or (_is_counted(group) and group in seen):
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


def _is_matrix(node: Node) -> bool:
    """Whether a node is a dataset of numbers with two dimensions, or a sparse matrix."""
    if hasattr(node, "dtype"):
        return len(_shape(node)) == 2 and _holds_numbers(node)
    return sparse_members(node) is not None


def _shape(node: Node) -> tuple[int, ...]:
    """The shape of a dataset; () for a type that has a name, as NetCDF writes, and for no value."""
    return tuple(getattr(node, "shape", None) or ())


def _keys(group: Node) -> list[str]:
    """The names of the members of a group."""
    with warnings.catch_warnings(action="ignore"):  # Zarr warns of other files in its folder
        return list(group)


def _holds_numbers(node: Node) -> bool:
    """Whether a dataset holds numbers of any kind, and not text, records or references.

    MATLAB stores text as numbers, and for an empty array its shape. A dataset that lies in another
    file is not read: the file may name any file of the user, and HDF5 gives zeros if it is missing.
    """
    if _text(node.attrs.get("MATLAB_class", "")) == "char" or "MATLAB_empty" in node.attrs:
        return False
    if getattr(node, "external", None) or _is_elsewhere(node):
        return False
    dtype = np.dtype(node.dtype)
    # NumPy counts booleans (b), integers, floats and complex numbers (c) as numbers
    return dtype.kind in "biufc" or (dtype.kind == "V" and dtype.names is None)


def _is_elsewhere(node: Node) -> bool:
    """Whether a dataset is assembled from parts of other files."""
    virtual = getattr(node, "is_virtual", False)
    # HDF5 names the file itself "."
    return virtual and any(source.file_name != "." for source in node.virtual_sources())


def _is_counted(group: Node) -> bool:
    """Whether a group can be reached twice: HDF5 has links, even in a circle; Zarr has none."""
    return type(group).__module__.startswith("h5py")


def _member(group: Node, key: str) -> Node | None:
    """The node at a place; None if there is none, or if a link leads nowhere."""
    try:
        # links of HDF5 may dangle or leave the file, which raises errors of several kinds
        return group[key] if key and key in group else None
    except (KeyError, OSError, ValueError, RuntimeError):
        return None


def _below(group: Node, place: str) -> Node | None:
    """The node at a place of any depth; None if there is none."""
    node = group
    for key in place.split("/"):
        node = None if node is None or hasattr(node, "dtype") else _member(node, key)
    return node


def _index_of(var: Node) -> Array | None:
    """The index of a table of an AnnData, as an array of names; None if it has none."""
    if hasattr(var, "dtype"):
        # AnnData before 0.7 keeps a table as an array of records
        fields = var.dtype.names or ()
        field = next((name for name in ("index", "_index") if name in fields), None)
        return None if field is None else var[field][:]
    key = _text(var.attrs.get("_index", "_index"))
    index = _member(var, key)
    if index is None or hasattr(index, "dtype"):
        return None if index is None else index[:]
    # a categorical holds each name once, and codes that refer to it
    codes, categories = _member(index, "codes"), _member(index, "categories")
    if codes is not None and categories is not None:
        return np.asarray(categories[:])[codes[:]]
    # text that may be missing has its values beside a mask
    values = _member(index, "values")
    return None if values is None else values[:]


def _text(value: object) -> str:
    # files of HDF5 hold fixed texts as bytes, in any encoding
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _listed(opened: Node, matrices: dict[str, Node]) -> str:
    """A hint that lists the matrices that can be named, or else what the file holds instead."""
    if matrices:
        places = sorted(matrices)
        more = f", and {len(places) - MOST_LISTED} more" if len(places) > MOST_LISTED else ""
        return f"Name one with `tensor`: {', '.join(places[:MOST_LISTED])}{more}."
    nodes = ((str(key), _member(opened, key)) for key in _keys(opened)[:MOST_LISTED])
    held = [
        f"{key} {_shape(node)}" if hasattr(node, "dtype") else f"{key}/"
        for key, node in nodes
        if node is not None
    ]
    return f"Give one with a matrix of numbers; it has {', '.join(held) or 'nothing'}."
