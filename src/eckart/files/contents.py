"""The contents of a file, independent of its format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.factors import Factors
from eckart.matrices import Matrix

EMPTY: Final = 2**22
"""Rows and columns, together, that any sparse matrix may have."""
MOST_EMPTY: Final = 1000
"""Rows and columns that a sparse matrix may have in addition for each of its entries."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The part of a file to read, and how to read it.

    Fields:
        header: Whether the first row of a table is a header; None finds out.
        index: Whether the first column of a table is an index; None finds out.
        columns: Names of the columns of a table to keep, in this order; None keeps all.
        tensor: Name of the array in a file that holds several; None takes the only matrix.
    """

    header: bool | None = None
    index: bool | None = None
    columns: tuple[str, ...] | None = None
    tensor: str | None = None

    def given(self) -> set[str]:
        """Names of the fields that are set."""
        fields = ("header", "index", "columns", "tensor")
        return {name for name in fields if getattr(self, name) is not None}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One matrix of a file: a plain matrix has an empty name, a picture has a part per channel."""

    name: str
    matrix: Matrix


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The matrices of a file, and sentences for the user about how they were read."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FactorFile:
    """The factors of a file by name of the part, and the document that was written with them."""

    parts: Mapping[str, Factors]
    document: dict[str, Any] = field(default_factory=dict[str, Any])


def meaningless(option: str, suffix: str) -> ArgumentError:
    """The error for an option that does not apply to files of this kind."""
    return ArgumentError(
        f"`{option}` means nothing for a {suffix} file.",
        hint="Leave it out.",
        code="option-does-not-apply",
    )


def plain_document(document: object, path: object) -> dict[str, Any]:
    """The document that was written beside factors, in which every part has a name; {} if none was.

    Raises:
        FormatError: If the document has another form.
    """
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
    """The factors of arrays by name, the inverse of `to_arrays`.

    Raises:
        FormatError: If there is no pair, or one half of a pair is missing.
    """
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


def check_sparse(path: object, shape: Sequence[int], entries: int) -> None:
    """Refuse a sparse matrix whose shape would take far more memory than its entries.

    Compressed rows take 8 bytes for each row, even an empty one, and the shape in a file is only a
    claim.

    Raises:
        MatrixError: If rows and columns exceed 2²² and 1000 for each entry.
    """
    if sum(shape) > EMPTY + MOST_EMPTY * entries:
        raise MatrixError(
            f"{path} says that it is {' × '.join(map(str, shape))}, and holds {entries} entries.",
            hint="Leave out the rows and columns that are empty.",
            code="too-large",
        )


def choose_array(shapes: Mapping[str, tuple[int, ...]], tensor: str | None, path: object) -> str:
    """The name of the array to read: the requested one, or that of the only matrix.

    Raises:
        FormatError: If there is no array of the requested name, or none is requested and the file
            does not hold exactly one matrix.
    """
    # an array of two dimensions is a matrix; vectors and scalars beside it do not hide it
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    # an explicit name wins over the number of dimensions, which is checked later
    if tensor is not None and tensor in shapes:
        return tensor
    if tensor is None and len(matrices) == 1:
        return matrices[0]
    listed = ", ".join(
        f"{name} {'×'.join(map(str, shapes[name])) or 'scalar'}" for name in list(shapes)[:30]
    )
    more = f", and {len(shapes) - 30} more" if len(shapes) > 30 else ""
    if tensor is not None:
        raise FormatError(
            f"{path} has no tensor '{tensor}'.",
            hint=f"It has: {listed}{more}.",
            code="no-such-tensor",
        )
    hint = f"It has: {listed}{more}." if listed else "It has no array at all."
    raise FormatError(
        f"{path} holds {len(matrices) or 'no'} matrices.",
        hint=f"Name one with `tensor`: {listed}{more}." if matrices else hint,
        code="tensor-not-chosen",
    )
