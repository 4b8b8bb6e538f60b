"""Multiply factors with data."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from eckart.errors import MatrixError
from eckart.matrices import Dense
from eckart.matrices.derived import check_entries, dense
from eckart.storage import (
    Selection,
    check_matrix_output,
    read_factors,
    read_parts,
    write_matrices,
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplication:
    """The result of `multiply`.

    Fields:
        output: The file that was written.
        shape: Of the product.
        notes: How the data was read.
        seconds: Of the products alone.
    """

    output: str
    shape: tuple[int, int]
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return {**asdict(self), "shape": list(self.shape), "notes": list(self.notes)}


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

    Args:
        factors: File of B and A.
        data: File of X, with as many rows as W has columns (rows with `transpose`).
        output: Any matrix format.
        selection: Which part of the file of X, and how to read it.
        part: Which factors, where there are several.
        transpose: Multiply by the transpose.
        force: Overwrite what is there.

    Raises:
        EckartError: If a file cannot be read or written, or the shapes do not fit.
    """
    check_matrix_output(output, force=force, inputs=[factors, data])
    pair = read_factors(factors, part)
    contents = read_parts(data, selection)
    seconds = 0.0
    products: dict[str, Dense] = {}
    for one in contents.parts:
        check_entries(one.matrix)
        X = dense(one.matrix)
        began = time.perf_counter()
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
