"""Multiplying, describing and certifying the factors in a file."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import numpy as np

from eckart.certificates import certify, together
from eckart.errors import MatrixError
from eckart.files import (
    Selection,
    check_matrix_output,
    read_factor_file,
    read_factors,
    read_parts,
    write_matrices,
)
from eckart.matrices import Dense
from eckart.matrices.derived import check_entries, dense
from eckart.reporting import Document


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplication:
    """The result of `multiply`: the shape of the product, and the seconds of it alone."""

    output: str
    shape: tuple[int, int]
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> Document:
        """The fields as plain numbers and text."""
        return {**asdict(self), "shape": list(self.shape), "notes": list(self.notes)}

    def sentence(self) -> str:
        """The shape of the product and the time it took."""
        rows, columns = self.shape
        return f"{rows} × {columns} in {self.seconds:.3g} s"


def multiply(
    factors: Path,
    data: Path,
    output: Path,
    selection: Selection,
    *,
    part: str | None = None,
    transpose: bool = False,
    force: bool = False,
) -> Multiplication:
    """Write B·(A·X), or Aᵀ·(Bᵀ·X) with `transpose`, for each matrix X of a file.

    X has as many rows as W has columns (as W has rows with `transpose`). `part` names the factors
    in a file with several pairs.

    Raises:
        EckartError: If a file cannot be read or written, or the shapes do not fit.
    """
    check_matrix_output(output, force=force, inputs=[factors, data])
    pair = read_factors(factors, part)
    contents = read_parts(data, selection)
    seconds = 0.0
    products: dict[str, Dense] = {}
    for one in contents.parts:
        # else NaN in X would be reported as an overflow of the product
        check_entries(one.matrix)
        X = dense(one.matrix)
        began = time.perf_counter()
        # an overflow is reported below as an error
        with np.errstate(over="ignore", invalid="ignore"):
            Y = pair.transposed_times(X) if transpose else pair.times(X)
        if not pair.namespace.is_finite(Y):
            raise MatrixError(
                f"The product leaves the range of {Y.dtype}.",
                hint="Multiply the data by a power of ten that brings it near 1.",
                code="out-of-range",
            )
        seconds += time.perf_counter() - began
        products[one.name] = Dense(Y)
    write_matrices(output, products, force=force)
    return Multiplication(
        output=str(output),
        shape=next(iter(products.values())).shape,
        notes=contents.notes,
        seconds=seconds,
    )


def describe(path: Path) -> Document:
    """The parts of a file of factors as plain numbers and text; see `read_factor_file`.

    `made_by` holds the document of the run that wrote them, or None.
    """
    file = read_factor_file(path)
    parts = [
        {
            "name": name,
            "shape": list(factors.shape),
            "rank": factors.rank,
            "dtype": str(factors.dtype),
            "bytes": factors.nbytes,
            "singular_values": [float(value) for value in factors.singular_values()],
        }
        for name, factors in file.parts.items()
    ]
    return {"source": str(path), "parts": parts, "made_by": file.document or None}


def prove(matrix: Path, factors: Path, selection: Selection) -> tuple[Document, tuple[str, ...]]:
    """Measure the error of the factors in a file and bound the best error of their rank.

    The factors may come from any program, and have the same parts as W.

    Returns:
        The certificates of the whole and of each part, as plain numbers and text, and the notes on
        how the matrix was read.

    Raises:
        EckartError: If a file cannot be read, or its parts or shapes do not fit.
    """
    pairs = read_factor_file(factors).parts
    contents = read_parts(matrix, selection)
    names = [part.name for part in contents.parts]
    # as sets: another program may write the parts in another order
    if set(names) != set(pairs):
        raise MatrixError(
            f"{factors} has the parts {', '.join(pairs) or '(none)'}, {matrix} has "
            f"{', '.join(names) or '(none)'}.",
            hint="Give the factors of this matrix.",
            code="parts-differ",
        )
    # all entries are checked before any certificate, which may take long
    for part in contents.parts:
        check_entries(part.matrix)
    began = time.perf_counter()
    proofs = [certify(part.matrix, pairs[part.name]) for part in contents.parts]
    seconds = time.perf_counter() - began
    whole = together(proofs, [math.sqrt(part.matrix.squared_norm()) for part in contents.parts])
    document = {
        "source": str(matrix),
        "factors": str(factors),
        **whole.to_dict(),
        "seconds": seconds,
        "parts": [{"name": n, **one.to_dict()} for n, one in zip(names, proofs, strict=True)],
    }
    return document, contents.notes
