"""B·A: the answer, and itself a matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import final

import numpy as np
import numpy.typing as npt

from eckart.arrays import Array, DType, inner, working_array
from eckart.errors import ArgumentError, MatrixError
from eckart.lapack import svd


@final
@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Factors:
    """Two thin factors whose product B·A approximates a matrix; a `Matrix` in its own right.

    Args:
        B: Array of shape (rows, rank): a LoRA's `lora_B`, the users of a recommender.
        A: Array of shape (rank, columns): a LoRA's `lora_A`, the items of a recommender.

    Raises:
        MatrixError: If B and A do not fit together, are empty or hold NaN or infinity.

    Cost:
        A product with k columns takes 2·(rows + columns)·rank·k operations; B·A is never formed
        but by `dense`.

    Example:
        >>> factors = Factors(B=[[1.0], [2.0]], A=[[3.0, 4.0]])
        >>> factors.dense()
        array([[3., 4.],
               [6., 8.]])
        >>> factors @ [[1.0], [0.0]]
        array([[3.],
               [6.]])
    """

    B: Array  # (rows, rank)
    A: Array  # (rank, columns)

    def __init__(self, B: npt.ArrayLike, A: npt.ArrayLike) -> None:
        left, right = working_array(B), working_array(A)
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
            raise MatrixError(
                f"B of shape {left.shape} and A of shape {right.shape} cannot be multiplied.",
                hint="B is rows × rank and A is rank × columns.",
                code="shapes-differ",
            )
        if left.size == 0 or right.size == 0:
            raise MatrixError(
                f"B of shape {left.shape} and A of shape {right.shape} are empty.",
                hint="Give at least one row, one column and rank 1.",
                code="empty",
            )
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            raise MatrixError(
                "The factors hold NaN or infinity.",
                hint="Give finite numbers only.",
                code="not-finite",
            )
        dtype = np.result_type(left, right)
        object.__setattr__(self, "B", left.astype(dtype, copy=False))
        object.__setattr__(self, "A", right.astype(dtype, copy=False))

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"Factors({rows} × {columns}, rank {self.rank}, {self.dtype})"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of B·A."""
        return self.B.shape[0], self.A.shape[1]

    @property
    def rank(self) -> int:
        """Columns of B and rows of A."""
        return self.B.shape[1]

    @property
    def dtype(self) -> DType:
        """float32 or float64, that of both factors."""
        return self.B.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of both factors."""
        return self.B.nbytes + self.A.nbytes

    @property
    def passes(self) -> int:
        """Always 0: nothing of size rows × columns is read."""
        return 0

    def times(self, X: npt.ArrayLike, /) -> Array:
        """B·(A·X), of shape (rows, k), for X of shape (columns, k)."""
        return self.B @ (self.A @ self._fitting(X, self.shape[1]))

    def transposed_times(self, Y: npt.ArrayLike, /) -> Array:
        """Aᵀ·(Bᵀ·Y), of shape (columns, k), for Y of shape (rows, k)."""
        return self.A.T @ (self.B.T @ self._fitting(Y, self.shape[0]))

    def gram_times(self, X: npt.ArrayLike, /) -> Array:
        """(B·A)ᵀ(B·A)·X, of shape (columns, k), for X of shape (columns, k)."""
        return self.transposed_times(self.times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Blocks of consecutive rows of B·A, each formed when asked for."""
        height = rows or max(1, 2**21 // self.shape[1])
        for start in range(0, self.shape[0], height):
            yield self.B[start : start + height] @ self.A

    def squared_norm(self) -> float:
        """‖B·A‖²_F = ⟨BᵀB, AAᵀ⟩, in float64; B·A is not formed."""
        B, A = self.B.astype(np.float64, copy=False), self.A.astype(np.float64, copy=False)
        return max(0.0, inner(B.T @ B, A @ A.T))

    def dense(self) -> Array:
        """B·A as one array of shape (rows, columns)."""
        return self.B @ self.A

    def astype(self, dtype: npt.DTypeLike) -> "Factors":
        """The same factors in another dtype; not copied where they already have it."""
        return Factors(self.B.astype(dtype, copy=False), self.A.astype(dtype, copy=False))

    def truncate(self, rank: int) -> "Factors":
        """The best factors of a smaller rank: the leading singular directions of B·A.

        Args:
            rank: Columns to keep, from 1 to this rank.

        Raises:
            ArgumentError: If `rank` is below 1.
            MatrixError: If `rank` is above this rank.

        Cost:
            Two thin QR factorisations and a singular value decomposition of rank × rank.

        Example:
            >>> Factors([[2.0, 0.0], [0.0, 1.0]], np.eye(2)).truncate(1).dense()
            array([[2., 0.],
                   [0., 0.]])
        """
        check_rank(rank, most=self.rank, what="these factors")
        U, S, Vt = self._singular()
        scale = np.sqrt(S[:rank])
        return Factors(U[:, :rank] * scale, scale[:, None] * Vt[:rank])

    def balance(self) -> "Factors":
        """The same product with BᵀB = AAᵀ, diagonal and descending: √σ on both factors."""
        return self.truncate(self.rank)

    def singular_values(self) -> Array:
        """The `rank` singular values of B·A, descending."""
        return self._singular()[1]

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write both factors to `path`: `.npz`, `.safetensors`, or a folder of `.csv`.

        Raises:
            ArgumentError: If the suffix is unknown, or the file exists and `force` is false.
            StorageError: If the system refuses to write.
        """
        from eckart.storage import write_factors

        write_factors(path, {"": self}, force=force)

    __matmul__ = times

    def _singular(self) -> tuple[Array, Array, Array]:
        Q, R = np.linalg.qr(self.B)  # (rows, k), (k, rank)
        P, L = np.linalg.qr(self.A.T)  # (columns, k'), (k', rank)
        U, S, Vt = svd(R @ L.T)
        missing = self.rank - len(S)  # where the rank is above rows or columns
        U, S, Vt = Q @ U, np.pad(S, (0, missing)), Vt @ P.T
        return np.pad(U, ((0, 0), (0, missing))), S, np.pad(Vt, ((0, missing), (0, 0)))

    def _fitting(self, X: npt.ArrayLike, length: int) -> Array:
        array = working_array(X)
        if array.ndim not in (1, 2) or array.shape[0] != length:
            rows, columns = self.shape
            raise MatrixError(
                f"Factors of a {rows} × {columns} matrix cannot multiply data of shape "
                f"{array.shape}.",
                hint=f"Give data with {length} rows.",
                code="shapes-differ",
            )
        return array


def check_rank(rank: int, *, most: int, what: str) -> None:
    """Refuse a rank below 1 or above `most`.

    Raises:
        ArgumentError: If `rank` is below 1.
        MatrixError: If `rank` is above `most`.
    """
    if rank < 1:
        raise ArgumentError(
            f"The rank is {rank}.", hint="Give a rank of at least 1.", code="rank-too-small"
        )
    if rank > most:
        raise MatrixError(
            f"Rank {rank} is too large for {what}.",
            hint=f"Give a rank from 1 to {most}.",
            code="rank-too-large",
        )
