"""Files of factors: read, written, multiplied out, and truncated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, final

import numpy as np

from eckart.arguments import as_path
from eckart.errors import FormatError, MatrixError
from eckart.factors import Factors
from eckart.files.outputs import check_output
from eckart.files.reading import check_regular, read_steadily, reading
from eckart.files.records import FactorFile
from eckart.files.registry import (
    FACTORS,
    FOLDERS,
    check_matrix_output,
    choose_part,
    format_of,
    suffix_of,
    write_matrices,
)
from eckart.files.writing import settle, whole_file


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reshaping:
    """The result of `expand` and `truncate`.

    Fields:
        output: Path of the file that was written.
        shape: Rows and columns of the first part.
        rank: Rank of the first part after the change.
        relative_change: ‖B·A − B'·A'‖ / ‖B·A‖ over all parts, the loss from a smaller rank.
    """

    output: str
    shape: tuple[int, int]
    rank: int
    relative_change: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return {**asdict(self), "shape": list(self.shape)}

    def sentence(self) -> str:
        """The result in one sentence for the user."""
        rows, columns = self.shape
        return f"{rows} × {columns}, rank {self.rank}, relative change {self.relative_change:.4g}"


def read_factor_file(path: str | PathLike[str]) -> FactorFile:
    """Read all factors of a file or folder as `read_factors` does, and the document beside them."""
    source = as_path(path)
    settle(source)
    with reading(source):
        if not source.exists():
            raise FileNotFoundError(fspath(source))
        if not source.is_dir():
            check_regular(source)
        module = format_of(source, FACTORS, "read factors from")
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
    module = format_of(target, FACTORS, "write factors to")
    with whole_file(target, force=force) as temporary:
        module.write_factors(temporary, parts, document or {})


def check_factor_output(path: Path, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse a path to which no factors can be written, by its suffix or by `check_output`."""
    format_of(path, FACTORS, "write factors to")
    check_output(path, force=force, inputs=inputs, is_folder=suffix_of(path) in FOLDERS)


def expand(
    factors: Path, output: Path, *, part: str | None = None, force: bool = False
) -> Reshaping:
    """Write B·A as a matrix, block by block.

    Args:
        factors: File of B and A.
        output: File in any matrix format; a picture holds all channels of a picture.
        part: Name of the part, if there are several; None takes all.
        force: Whether an existing output is overwritten.

    Raises:
        EckartError: If a file cannot be read or written, the format cannot hold the parts, or B·A
            leaves the range of its dtype.
    """
    # refused before the work is done
    check_matrix_output(output, force=force, inputs=[factors])
    parts = dict(read_factor_file(factors).parts)
    if part is not None:
        parts = {part: choose_part(parts, part, factors)}
    for pair in parts.values():
        if not _is_in_range(pair):
            raise MatrixError(
                f"The entries of B·A leave the range of {pair.dtype}.",
                hint="Save the factors in float64.",
                code="out-of-range",
            )
    write_matrices(output, parts, force=force)
    first = next(iter(parts.values()))
    return Reshaping(output=str(output), shape=first.shape, rank=first.rank, relative_change=0.0)


def _is_in_range(pair: Factors) -> bool:
    """Whether every entry of B·A is finite; the entries are formed only if norms do not decide."""
    squares = pair.namespace.squares
    # |(B·A)ᵢⱼ| ≤ ‖B‖_F·‖A‖_F, by the inequality of Cauchy and Schwarz
    if math.sqrt(squares(pair.B)) * math.sqrt(squares(pair.A)) <= float(np.finfo(pair.dtype).max):
        return True
    return all(pair.namespace.is_finite(block) for block in pair.row_blocks())


def truncate(factors: Path, output: Path, rank: int, *, force: bool = False) -> Reshaping:
    """Write the best factors of a smaller rank.

    Args:
        factors: File of B and A.
        output: File that ends in `.npz` or `.safetensors`, or a folder.
        rank: Number of components to keep, in every part.
        force: Whether an existing output is overwritten.

    Raises:
        EckartError: If a file cannot be read or written, or the rank is above that of the factors.

    Cost:
        A QR factorisation of each factor; W is not needed.
    """
    check_factor_output(output, force=force, inputs=[factors])
    parts = read_factor_file(factors).parts
    smaller = {name: pair.truncate(rank) for name, pair in parts.items()}
    values = [pair.singular_values() for pair in parts.values()]
    # Eckart and Young: the truncation loses exactly the singular values that it drops
    lost = math.hypot(*(float(value) for one in values for value in one[rank:]))
    whole = math.hypot(*(float(value) for one in values for value in one))
    write_factors(output, smaller, force=force)
    first = next(iter(smaller.values()))
    return Reshaping(
        output=str(output),
        shape=first.shape,
        rank=first.rank,
        relative_change=lost / whole if whole > 0 else 0.0,
    )


def plain_document(document: object, path: object) -> dict[str, Any]:
    """The document written beside factors, in which every part has a name; {} if there is none."""
    known: Any = {} if document is None else document
    parts = known.get("parts", []) if isinstance(known, dict) else None
    if isinstance(parts, list) and all(
        isinstance(part, dict) and isinstance(part.get("name"), str) for part in parts
    ):
        return known
    raise other_document(path)


def other_document(path: object) -> FormatError:
    """The error for a document that does not have the form in which eckart writes it."""
    return FormatError(
        f"The document in {path} is not as eckart writes it.",
        hint="Save the factors alone, as arrays named B and A.",
        code="damaged-file",
    )


def to_arrays(parts: Mapping[str, Factors]) -> dict[str, Any]:
    """The arrays of factors by name: `B` and `A`, or `NAME.B` and `NAME.A` for a named part."""
    arrays: dict[str, Any] = {}
    for name, factors in parts.items():
        prefix = f"{name}." if name else ""
        arrays[f"{prefix}B"] = factors.B
        arrays[f"{prefix}A"] = factors.A
    return arrays


def from_arrays(arrays: Mapping[str, Any], path: object) -> dict[str, Factors]:
    """The factors of arrays by name, the inverse of `to_arrays`."""
    # "B" or a name that ends in ".B": a tensor such as "lmB" is no factor
    names = [name.removesuffix("B") for name in arrays if name == "B" or name.endswith(".B")]
    missing = [f"{prefix}A" for prefix in names if f"{prefix}A" not in arrays]
    if not names or missing:
        raise FormatError(
            f"{path} holds no factors: {' and '.join(missing or ['B and A'])} missing.",
            hint="Give a file that `eckart factor` wrote, or one with arrays named B and A.",
            code="not-factors",
        )
    return {
        prefix.removesuffix("."): Factors(arrays[f"{prefix}B"], arrays[f"{prefix}A"])
        for prefix in names
    }
