"""The table from suffixes to formats, and reading and writing by suffix."""

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

from eckart.arguments import as_path
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors
from eckart.files.contents import Contents, FactorFile, Selection, meaningless, plain_document
from eckart.files.outputs import check_output, is_there, located
from eckart.files.whole import check_regular, read_steadily, reading, settle, whole_file
from eckart.matrices import Matrix

T = TypeVar("T")


class Format(Protocol):
    """The functions of a module of this package that reads, and may write, one format."""

    SELECTABLE: frozenset[str]  # the fields of a Selection that it understands

    def read(self, path: Path, selection: Selection) -> Contents:
        """Read the matrices of a file."""
        ...

    def write(self, path: Path, parts: Mapping[str, Matrix]) -> None:
        """Write matrices, in blocks of rows."""
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
    ".npz": "npz",
    ".csv": "text.numbers",
    ".tsv": "text.numbers",
    ".parquet": "parquet",
    ".mtx": "matrix_market",
    ".mtx.gz": "matrix_market",
    ".safetensors": "tensors",
    ".png": "pictures",
    ".jpg": "pictures",
    ".jpeg": "pictures",
}
FACTORS: Final = {".npz": "npz", ".safetensors": "tensors", "": "text.numbers"}
CUT: Final = re.compile(r"\.rank\d+")
"""The suffix that `eckart truncate` adds to the name of a folder."""
LIKE: Final = 0.7
"""Similarity (difflib's ratio, 0 to 1) from which a suffix is suggested for `.npx`, `.parqet`."""
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
PICTURES: Final = frozenset(suffix for suffix, name in MATRICES.items() if name == "pictures")


def suffix_of(path: Path) -> str:
    """The suffix in lower case, with `.mtx.gz` as one; a folder has none, nor has `NAME.rank2`.

    Example:
        >>> suffix_of(Path("W.MTX.gz")), suffix_of(Path("out")), suffix_of(Path("out.rank2"))
        ('.mtx.gz', '', '')
    """
    if located(path).is_dir() or CUT.fullmatch(path.suffix):
        return ""
    double = "".join(path.suffixes[-2:]).lower()
    return double if double in MATRICES else path.suffix.lower()


def is_picture(path: Path) -> bool:
    """Whether the suffix is that of a picture."""
    return suffix_of(path) in PICTURES


def check_input(path: Path, selection: Selection) -> None:
    """Refuse a path that does not exist, or that no format can read with this selection.

    Raises:
        ArgumentError: If the path does not exist, its suffix is unknown, or a field of the
            selection does not apply to its format.
    """
    if not is_there(path):
        near = [str(path.with_name(name)) for name in _near_names(path)]
        hint = f"Did you mean {near[0]}?" if near else "Check the path."
        raise ArgumentError(f"There is no file {path}.", hint=hint, code="no-such-file")
    module = _format(path, MATRICES, "read a matrix from")
    check_regular(path)
    unknown = selection.given() - module.SELECTABLE
    if unknown:
        raise meaningless(sorted(unknown)[0], suffix_of(path))


def check_factor_output(path: Path, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse a path to which no factors can be written.

    Raises:
        ArgumentError: If the suffix is unknown, or in the cases of `check_output`.
    """
    _format(path, FACTORS, "write factors to")
    check_output(path, force=force, inputs=inputs, is_folder=suffix_of(path) == "")


def check_matrix_output(path: Path, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse a path to which no matrix can be written.

    Raises:
        ArgumentError: If the suffix is unknown, or in the cases of `check_output`.
    """
    _format(path, MATRICES, "write a matrix to")
    check_output(path, force=force, inputs=inputs)


def read_parts(path: str | PathLike[str], selection: Selection | None = None) -> Contents:
    """Read the matrices of a file in the format of its suffix.

    Raises:
        ArgumentError: If the path does not exist or its suffix is unknown.
        FormatError: If the file is damaged.
        MatrixError: If the file does not hold real numbers.
        StorageError: If the system refuses to read the file.
    """
    source, chosen = as_path(path), selection or Selection()
    settle(source)
    check_input(source, chosen)
    with reading(source):
        return _format(source, MATRICES, "read a matrix from").read(source, chosen)


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
    module = _format(target, MATRICES, "write a matrix to")
    with whole_file(target, force=force) as temporary:
        module.write(temporary, parts)


def read_factor_file(path: str | PathLike[str]) -> FactorFile:
    """Read all factors of a file or folder, and the document that was written with them.

    Raises:
        ArgumentError: If the path does not exist or its suffix is unknown.
        FormatError: If the file is damaged or holds no factors.
        StorageError: If the system refuses to read the file.
    """
    source = as_path(path)
    settle(source)
    with reading(source):
        if not source.exists():
            raise FileNotFoundError(fspath(source))
        if not source.is_dir():
            check_regular(source)
        module = _format(source, FACTORS, "read factors from")
        # a folder of factors may be replaced while its files are read one after another
        file = read_steadily(source, lambda: module.read_factors(source))
    document = plain_document(file.document, source)
    written = [part["name"] for part in document.get("parts", ())]
    # a format may return its arrays in the order of names; the document keeps that of the writer
    ordered = {name: file.parts[name] for name in written if name in file.parts}
    return FactorFile(parts={**ordered, **file.parts}, document=document)


def read_factors(path: str | PathLike[str], name: str | None = None) -> Factors:
    """Read the factors of a file or folder.

    Args:
        path: File that ends in `.npz` or `.safetensors`, or a folder of `.csv`.
        name: Name of the part, if there are several.

    Raises:
        ArgumentError: If the path does not exist or its suffix is unknown.
        FormatError: If the file is damaged, holds no factors, or has no such part.
        StorageError: If the system refuses to read the file.

    Example:
        >>> read_factors("examples/article_start.npz")
        Factors(4 × 4, rank 2, float64)
    """
    return choose_part(read_factor_file(path).parts, name, as_path(path))


def write_factors(
    path: str | PathLike[str],
    parts: Mapping[str, Factors],
    document: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> None:
    """Write factors to a `.npz`, a `.safetensors` or a folder of `.csv`, by the suffix.

    Raises:
        ArgumentError: If the suffix is unknown, or the file exists and `force` is false.
        StorageError: If the system refuses to write.
    """
    target = as_path(path)
    module = _format(target, FACTORS, "write factors to")
    with whole_file(target, force=force) as temporary:
        module.write_factors(temporary, parts, document or {})


def choose_part(parts: Mapping[str, T], name: str | None, whole: object) -> T:
    """The part of a name, or the only one.

    Args:
        parts: All parts by name.
        name: Name of the part to take; None takes the only one.
        whole: The file or object that has the parts, for the message.

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


def _format(path: Path, table: Mapping[str, str], verb: str) -> Format:
    """The module for a suffix; `verb` says in the error what was asked of it."""
    suffix = suffix_of(path)
    if suffix not in table:
        near = difflib.get_close_matches(
            suffix,
            [known for known in table if known],
            n=1,
            cutoff=LIKE,
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
    return cast("Format", import_module(f"eckart.files.{table[suffix]}"))


def _near_names(path: Path) -> list[str]:
    """A name in the same folder that resembles the one of a missing file, if there is one."""
    if not path.parent.is_dir():
        return []
    names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    return difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
