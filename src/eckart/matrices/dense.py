"""Matrices in memory or mapped from a file, and the conversion of any input to a `Matrix`."""

from collections.abc import Iterator
from contextlib import suppress
from os import PathLike, fspath
from typing import Any, final

import numpy.typing as npt
import scipy.sparse

from eckart.arrays import Array
from eckart.backends import HOST, as_working, dtype_of, is_on_device, namespace_of, placed
from eckart.errors import MatrixError
from eckart.matrices.derived import check_shape
from eckart.matrices.protocol import Matrix, Products, block_rows
from eckart.matrices.sparse import Sparse


@final
class Dense(Products):
    """A two-dimensional array as a `Matrix`.

    Args:
        array: Anything that NumPy reads as an array of shape (rows, columns), or an array of
            PyTorch or CuPy, which stays on its device; float32 and float64 are not copied.
        stored_bytes: Bytes of W in its file, if they differ from those of `array`.

    Raises:
        MatrixError: If the array is not two-dimensional, is empty, or does not hold real numbers.

    Cost:
        A product reads the array once; no temporary of rows × columns is made.

    Example:
        >>> Dense([[1, 2], [3, 4]]).squared_norm()
        30.0
    """

    def __init__(self, array: npt.ArrayLike, *, stored_bytes: int | None = None) -> None:
        values = as_working(array)
        self.shape = check_shape(tuple(values.shape))
        self.array = values  # (rows, columns)
        self.dtype, self.namespace = dtype_of(values), namespace_of(values)
        # a float16 or integer array counts as it was given, not as it is computed
        self.nbytes = stored_bytes or getattr(array, "nbytes", values.nbytes)
        self.passes = 0

    def times(self, X: Array, /) -> Array:
        """W·X, of shape (rows, k)."""
        self.passes += 1
        return self.array @ self._own(X)

    def transposed_times(self, Y: Array, /) -> Array:
        """Wᵀ·Y, of shape (columns, k)."""
        self.passes += 1
        return (self._own(Y).T @ self.array).T  # the faster order in BLAS

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over blocks of consecutive rows, which are not copied."""
        self.passes += 1
        height = rows or block_rows(self.shape[1])
        for start in range(0, self.shape[0], height):
            yield self.array[start : start + height]

    def squared_norm(self) -> float:
        """‖W‖²_F, summed in float64."""
        own = self.namespace is HOST and self.array.flags.c_contiguous
        if self._squared_norm is None and own:  # no temporary is made
            self.passes += 1
            self._squared_norm = HOST.squares(self.array)
        return super().squared_norm()

    def _own(self, X: Array) -> Array:
        """Move X to the namespace and the dtype of W."""
        return placed(X, self.namespace, self.dtype)


def as_matrix(W: Any, /) -> Matrix:
    """Return an array, memory map, SciPy sparse matrix, data frame or rows as a `Matrix`.

    A `Matrix`, such as `Factors`, is returned unchanged.

    Raises:
        MatrixError: If W is not a matrix of real numbers.

    Example:
        >>> as_matrix([[1, 2, 3]]).shape
        (1, 3)
    """
    if is_on_device(W):  # asked first: a tensor may refuse the questions of the protocol
        return Dense(W)
    if isinstance(W, Matrix):
        return W
    if isinstance(W, str | PathLike):
        raise MatrixError(
            f"This is the path {fspath(W)!r}, no matrix.",
            hint="Read the file first: eckart.read_matrix(path).",
            code="not-a-matrix",
        )
    if scipy.sparse.issparse(W):
        return Sparse(W)
    # the accessor of a pandas frame, which has it only where all its columns are sparse
    frame: Any = getattr(W, "sparse", None)
    if hasattr(frame, "to_coo"):
        with suppress(ValueError):  # if the value that is left out is not zero
            return Sparse(frame.to_coo())
    return Dense(W)  # NumPy says what it cannot read
