"""The table from suffixes to formats, and reading and writing by suffix."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from eckart.arguments import as_path
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors
from eckart.files.outputs import check_output, is_there, located
from eckart.files.reading import check_regular, reading, unchanged
from eckart.files.records import Contents, FactorFile, Selection, Table
from eckart.files.writing import settle, whole_file
from eckart.matrices import Matrix

T = TypeVar("T")


class Format(Protocol):
    """The functions of a module of this package that reads, and may write, one format."""

    SELECTABLE: frozenset[str]  # the fields of a Selection that it understands, see its `check`

    def read(self, path: Path, selection: Selection) -> Contents:
        """Read the matrices of a file."""
        ...

    def write(self, path: Path, parts: Mapping[str, Matrix]) -> None:
        """Write matrices, in blocks of rows."""
        ...

    def open_rows(self, path: Path, selection: Selection) -> Table:
        """Open the rows of a file that may be larger than memory."""
        ...

    def read_factors(self, path: Path) -> FactorFile:
        """Read the factors of a file."""
        ...

    def write_factors(
        self, path: Path, parts: Mapping[str, Factors], document: Mapping[str, Any]
    ) -> None:
        """Write factors and the document that describes them."""
        ...


# modules by suffix: a module, and the package that it needs, is imported only for its own files
MATRICES: Final = {
    ".npy": "npy",
    ".npz": "archives",
    ".csv": "text",
    ".tsv": "text",
    ".parquet": "parquet",
    ".mtx": "matrix_market",
    ".mtx.gz": "matrix_market",
    ".safetensors": "archives",
    ".png": "pictures",
    ".jpg": "pictures",
    ".jpeg": "pictures",
}
FACTORS: Final = {
    ".npz": "archives",
    ".safetensors": "archives",
    ".zarr": "zarr_arrays",
    "": "text",
}
FOLDERS: Final = ("", ".zarr")
"""Suffixes of factors that are written to a folder."""
CUT: Final = re.compile(r"\.rank\d+")
"""The suffix that `eckart truncate` adds to the name of a folder."""
LEAST_SIMILARITY: Final = 0.7
"""Similarity (difflib's ratio, 0 to 1) from which a suffix is suggested for `.npx`, `.parqet`."""
READERS: Final = {
    ".npy": "npy",
    ".parquet": "parquet",
    ".csv": "text",
    ".tsv": "text",
    ".zarr": "chunked",
    ".h5": "chunked",
    ".hdf5": "chunked",
    ".h5ad": "chunked",
}
"""Modules of the formats that are read by rows."""
OTHERS: Final = {
    **dict.fromkeys(
        (".txt", ".dat", ".data", ".tab", ".asc", ".prn", ".ssv", ".psv"),
        "If it is a table of text, call it .csv: the separator is found.",
    ),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip"), "Unpack it first."),
    **dict.fromkeys((".h5", ".hdf5", ".h5ad", ".zarr"), "eckart reduce reads it, row by row."),
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "Save its sheet as .csv."),
}
"""Hints for files of other kinds, by suffix."""


def suffix_of(path: Path) -> str:
    """The suffix in lower case, with `.mtx.gz` as one; a folder has none, nor has `NAME.rank2`.

    Example:
        >>> suffix_of(Path("W.MTX.gz")), suffix_of(Path("out")), suffix_of(Path("out.rank2"))
        ('.mtx.gz', '', '')
    """
    if path.suffix.lower() == ".zarr":  # a folder with a name of its own
        return ".zarr"
    if located(path).is_dir() or CUT.fullmatch(path.suffix):
        return ""
    double = "".join(path.suffixes[-2:]).lower()
    return double if double in MATRICES else path.suffix.lower()


def is_picture(path: Path) -> bool:
    """Whether the suffix is that of a picture."""
    return MATRICES.get(suffix_of(path)) == "pictures"


def check_input(path: Path, selection: Selection) -> None:
    """Refuse a path that does not exist, or that no format can read with this selection.

    Raises:
        ArgumentError: If the path does not exist, its suffix is unknown, or a field of the
            selection does not apply to its format.
    """
    if not is_there(path):
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        names = [entry.name for entry in beside if entry.is_file()]
        near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
        hint = f"Did you mean {path.with_name(near[0])}?" if near else "Check the path."
        raise ArgumentError(f"There is no file {path}.", hint=hint, code="no-such-file")
    module = format_of(path, MATRICES, "read a matrix from")
    check_regular(path)
    selection.check(module.SELECTABLE, suffix_of(path))


def check_matrix_output(path: Path, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse a path to which no matrix can be written, by its suffix or by `check_output`."""
    format_of(path, MATRICES, "write a matrix to")
    check_output(path, force=force, inputs=inputs)


def read_parts(path: str | PathLike[str], selection: Selection | None = None) -> Contents:
    """Read the matrices of a file in the format of its suffix, as `read_matrix` does."""
    source, chosen = as_path(path), selection or Selection()
    settle(source)
    check_input(source, chosen)
    with reading(source):
        return format_of(source, MATRICES, "read a matrix from").read(source, chosen)


def read_matrix(path: str | PathLike[str], name: str | None = None) -> Matrix:
    """Read the matrix of a file in the format of its suffix: array, table, tensor or picture.

    Args:
        path: The file.
        name: Name of the matrix in a file that holds several: a tensor, or a channel (R, G, B).

    Raises:
        ArgumentError: If the path does not exist or its suffix is unknown.
        FormatError: If the file is damaged, or holds several matrices and none was named.
        MatrixError: If the file does not hold real numbers.
        StorageError: If the system refuses to read the file.

    Cost:
        A `.npy` of floats is mapped and not read; every other format is read into memory.

    Example:
        >>> read_matrix("examples/article.csv").shape
        (4, 4)
    """
    source = as_path(path)
    picture = is_picture(source)
    # of a picture the channels are parts, and not tensors in the file
    contents = read_parts(source, Selection(tensor=None if picture else name))
    parts = {part.name: part.matrix for part in contents.parts}
    return choose_part(parts, name if picture else None, source)


def write_matrices(
    path: str | PathLike[str], parts: Mapping[str, Matrix], *, force: bool = False
) -> None:
    """Write matrices to a file in the format of its suffix, in blocks of rows.

    Raises:
        ArgumentError: If the suffix is unknown, or the file exists and `force` is false.
        MatrixError: If the format cannot hold these parts.
        StorageError: If the system refuses to write.
    """
    target = as_path(path)
    module = format_of(target, MATRICES, "write a matrix to")
    with whole_file(target, force=force) as temporary:
        module.write(temporary, parts)


def choose_part(parts: Mapping[str, T], name: str | None, whole: object) -> T:
    """The part of a name, or if that is None the only one; `whole` is what has the parts.

    Raises:
        MatrixError: If there is no such part, or there are several and none was named.
    """
    if name is None and len(parts) == 1:
        return next(iter(parts.values()))
    if name is not None and name in parts:
        return parts[name]
    count = f"{len(parts)} part{'s' * (len(parts) != 1)}"
    raise MatrixError(
        f"{whole} has {count}{'' if name is None else f', none named {name}'}.",
        hint=f"Name one with `part`: {', '.join(part or '(no name)' for part in parts)}.",
        code="no-such-part",
    )


def format_of(path: Path, table: Mapping[str, str], verb: str) -> Format:
    """The module for a suffix; `verb` says in the error what was asked of it."""
    suffix = suffix_of(path)
    if suffix not in table:
        near = difflib.get_close_matches(
            suffix, [*filter(None, table)], n=1, cutoff=LEAST_SIMILARITY
        )
        known = ", ".join(known or "a folder" for known in table)
        hint = f"Did you mean {near[0]}?" if near else f"Known are: {known}."
        # files of other kinds have a hint of their own, which helps more than the nearest suffix
        hint = OTHERS.get(suffix, hint) if verb.startswith("read a matrix") else hint
        raise ArgumentError(
            f"eckart cannot {verb} {path.name or path}: "
            f"its suffix {suffix or '(none)'} is unknown.",
            hint=hint,
            code="unknown-suffix",
        )
    return _module(table[suffix])


def is_read_by_rows(path: Path) -> bool:
    """Whether a path can be read by rows and thus exceed memory; a folder holds Parquet files."""
    return _kind(path) in READERS


def open_table(path: Path, selection: Selection | None = None) -> Table:
    """Open a file or a folder by rows.

    Raises:
        MissingExtra: If the package that reads the file is not installed.
        EckartError: In all cases in which `read_matrix` raises one.
    """
    kind = _kind(path)
    if kind not in READERS:
        raise ArgumentError(
            f"eckart cannot read {path.name} row by row.",
            hint=f"Known are: {', '.join(READERS)} and a folder of .parquet.",
            code="unknown-suffix",
        )
    module, chosen = _module(READERS[kind]), selection or Selection()
    # which columns have names is found when the file is opened
    chosen.check(module.SELECTABLE | {"columns"}, kind)
    # a killed run may have left this file and its companions half replaced
    settle(path)
    with reading(path):
        if not path.exists():
            raise FileNotFoundError(str(path))
        if not path.is_dir():
            check_regular(path)
        check = unchanged(path.rglob("*") if path.is_dir() else [path])
        table = module.open_rows(path, chosen)
    return replace(table, source=table.source.unchanged(check))


def _kind(path: Path) -> str:
    """The suffix that decides the reader; a folder is one of Zarr, of .npy, or of Parquet."""
    suffix = path.suffix.lower()
    if not path.is_dir() or suffix in READERS:
        return suffix
    return ".npy" if any(one.suffix.lower() == ".npy" for one in path.iterdir()) else ".parquet"


def _module(name: str) -> Format:
    module: Any = import_module(f"eckart.files.{name}")
    return module
