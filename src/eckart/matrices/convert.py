"""From what a user has to a `Matrix`."""

from contextlib import suppress
from os import PathLike, fspath
from typing import Any, cast

import scipy.sparse

from eckart.errors import MatrixError
from eckart.matrices.dense import Dense
from eckart.matrices.protocol import Matrix
from eckart.matrices.sparse import Sparse
from eckart.namespaces import is_on_device


def as_matrix(W: object, /) -> Matrix:
    """`W` as a `Matrix`: a NumPy array or memory map, a SciPy sparse matrix, a data frame, rows.

    A `Matrix` (`Factors` are one) is returned as it is.

    Raises:
        MatrixError: If W is not a matrix of real numbers.

    Example:
        >>> as_matrix([[1, 2, 3]]).shape
        (1, 3)
    """
    if is_on_device(W):  # asked first: a tensor may refuse the questions of the protocol
        return Dense(cast("Any", W))
    if isinstance(W, Matrix):
        return W
    if isinstance(W, str | PathLike):
        raise MatrixError(
            f"This is the path {fspath(cast('str | PathLike[str]', W))!r}, no matrix.",
            hint="Read the file first: eckart.read_matrix(path).",
            code="not-a-matrix",
        )
    if scipy.sparse.issparse(W):
        return Sparse(W)
    frame: Any = getattr(W, "sparse", None)  # of pandas, with sparse columns alone
    if hasattr(frame, "to_coo"):
        with suppress(ValueError):  # where it is not zeros that are left out
            return Sparse(frame.to_coo())
    return Dense(W)  # pyright: ignore[reportArgumentType] NumPy says what it cannot read
