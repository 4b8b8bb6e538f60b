"""Factors B and A: the result of a factorisation, and a matrix in its own right."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from eckart.arguments import check_number, check_whole
from eckart.arrays import FLOAT64, Array, DType, as_dtype, inner
from eckart.backends import (
    HOST,
    Namespace,
    as_working,
    dtype_of,
    is_on_device,
    namespace_of,
    placed,
    svd,
)
from eckart.errors import ArgumentError, MatrixError

MOST_RANK: Final = 2**24
"""Largest rank that `pad` accepts."""


@final
@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Factors:
    """Two thin factors whose product B·A approximates a matrix; a `Matrix` in its own right.

    Args:
        B: Array of shape (rows, rank): `lora_B` of a LoRA, the user factors of a recommender. An
            array of PyTorch or CuPy stays on its device.
        A: Array of shape (rank, columns): `lora_A` of a LoRA, the item factors of a recommender.

    Fields:
        shape: Shape (rows, columns) of B·A.
        rank: Number of columns of B and of rows of A.
        dtype: Dtype of both factors, float32 or float64.
        nbytes: Bytes of both factors.

    Raises:
        MatrixError: If B and A do not fit together, are empty or hold NaN or infinity.

    Cost:
        A product with k columns takes 2·(rows + columns)·rank·k operations; only `dense` and
        `row_blocks` form B·A.

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
    shape: tuple[int, int]
    rank: int
    dtype: DType
    nbytes: int

    def __init__(self, B: npt.ArrayLike, A: npt.ArrayLike) -> None:
        left, right = _bring_together(B, A)
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
            raise MatrixError(
                f"B of shape {tuple(left.shape)} and A of shape {tuple(right.shape)} "
                "cannot be multiplied.",
                hint="B is rows × rank and A is rank × columns.",
                code="shapes-differ",
            )
        if 0 in (*left.shape, *right.shape):
            raise MatrixError(
                f"B of shape {tuple(left.shape)} and A of shape {tuple(right.shape)} are empty.",
                hint="Give at least one row, one column and rank 1.",
                code="empty",
            )
        namespace = namespace_of(left)
        if not (namespace.is_finite(left) and namespace.is_finite(right)):
            raise MatrixError(
                "The factors hold NaN or infinity.",
                hint="Give finite numbers only.",
                code="not-finite",
            )
        dtype = np.result_type(dtype_of(left), dtype_of(right))
        B, A = namespace.astype(left, dtype), namespace.astype(right, dtype)
        known: dict[str, Any] = {
            "B": B,
            "A": A,
            "shape": (B.shape[0], A.shape[1]),
            "rank": B.shape[1],
            "dtype": dtype,
            "nbytes": B.nbytes + A.nbytes,
        }
        for name, value in known.items():
            # a frozen dataclass allows no assignment
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"Factors({rows} × {columns}, rank {self.rank}, {self.dtype})"

    @property
    def namespace(self) -> Namespace:
        """Array module and device of both factors."""
        return namespace_of(self.B)

    @property
    def passes(self) -> int:
        """Always 0: nothing of size rows × columns is read."""
        return 0

    def times(self, X: npt.ArrayLike, /) -> Array:
        """B·(A·X), of shape (rows, k), for X of shape (columns, k)."""
        return self.B @ (self.A @ self._check_data(X, self.shape[1]))

    def transposed_times(self, Y: npt.ArrayLike, /) -> Array:
        """Aᵀ·(Bᵀ·Y), of shape (columns, k), for Y of shape (rows, k)."""
        return self.A.T @ (self.B.T @ self._check_data(Y, self.shape[0]))

    def gram_times(self, X: npt.ArrayLike, /) -> Array:
        """(B·A)ᵀ(B·A)·X, of shape (columns, k), for X of shape (columns, k)."""
        return self.transposed_times(self.times(X))

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over blocks of consecutive rows of B·A, each formed when it is asked for.

        Raises:
            ArgumentError: If `rows` is negative or not a whole number.
        """
        if rows is not None and check_whole("number of rows", rows) < 0:
            raise ArgumentError(
                f"The number of rows is {rows}.", hint="Give at least 1.", code="bad-rows"
            )
        height = rows or max(1, 2**21 // self.shape[1])  # two million entries, 16 MB of float64
        for start in range(0, self.shape[0], height):
            # whoever writes a block checks that it is finite
            with np.errstate(over="ignore", invalid="ignore"):
                block = self.B[start : start + height] @ self.A
            yield block

    def squared_norm(self) -> float:
        """‖B·A‖²_F = ⟨BᵀB, AAᵀ⟩, in float64; B·A is not formed."""
        # trace((B·A)ᵀB·A) = ⟨BᵀB, AAᵀ⟩: two rank × rank matrices
        gram, (B, A) = self.namespace.gram, (self.B, self.A)
        # rounding can make the sum of a product near 0 negative
        return max(0.0, inner(gram(B, B), gram(A.T, A.T)))

    def dense(self) -> Array:
        """B·A as one array of shape (rows, columns)."""
        return self.B @ self.A

    def astype(self, dtype: npt.DTypeLike) -> "Factors":
        """Convert the factors to another dtype; they are not copied if they have it already.

        Raises:
            ArgumentError: If it is the name of no dtype.
            MatrixError: If it is a dtype of anything but real numbers.
        """
        kind = as_dtype(dtype)
        move = self.namespace.astype
        return Factors(move(self.B, kind), move(self.A, kind))

    def on(self, namespace: Namespace) -> "Factors":
        """Move the factors to a namespace; they are not copied if they are there already."""
        if namespace == self.namespace:
            return self
        return Factors(*(placed(X, namespace, self.dtype) for X in (self.B, self.A)))

    def truncate(self, rank: int) -> "Factors":
        """The best factors of a smaller rank: the leading singular directions of B·A.

        Args:
            rank: Number of columns to keep, from 1 to the present rank.

        Raises:
            ArgumentError: If `rank` is below 1.
            MatrixError: If `rank` is above the present rank, or B·A leaves the range of its dtype.

        Cost:
            Two thin QR factorisations and a singular value decomposition of rank × rank.

        Example:
            >>> Factors([[2.0, 0.0], [0.0, 1.0]], np.eye(2)).truncate(1).dense()
            array([[2., 0.],
                   [0., 0.]])
        """
        check_rank(rank, most=self.rank, what="these factors")
        U, S, Vt = self.svd()
        scale = self.namespace.put(np.sqrt(S[:rank]), self.dtype)
        return Factors(U[:, :rank] * scale, scale[:, None] * Vt[:rank])

    def scaled(self, factor: float) -> "Factors":
        """Return factors of factor·B·A: B is multiplied, so that orthonormal rows of A stay so.

        Where B would leave the range of its dtype, A takes half the power of two.

        Raises:
            ArgumentError: If `factor` is no number.

        Example:
            >>> Factors([[2.0]], [[1.0]]).scaled(3.0).B
            array([[6.]])
        """
        if check_number("factor", factor) == 1:
            return self
        half = 2.0 ** (math.frexp(factor)[1] // 2)  # in range even if the factor is not
        B, kind = self.B * (factor / half), np.finfo(self.dtype)
        size = math.sqrt(self.namespace.squares(B)) * half
        if float(kind.tiny) / float(kind.eps) <= size <= float(kind.max):
            return Factors(B * half, self.A)
        return Factors(B, self.A * half)

    def balance(self) -> "Factors":
        """Return factors of the same product, BᵀB = AAᵀ diagonal and descending (√σ on both)."""
        return self.truncate(self.rank)

    def pad(self, rank: int) -> "Factors":
        """Return factors of a larger rank with the same product, by columns and rows of zeros.

        Raises:
            ArgumentError: If `rank` is below the present rank, or no whole number.
            MatrixError: If `rank` is above 2²⁴.

        Example:
            >>> Factors([[2.0]], [[3.0]]).pad(2).B
            array([[2., 0.]])
        """
        check_rank(rank, most=MOST_RANK, what="factors")
        missing = rank - self.rank
        if missing < 0:
            raise ArgumentError(
                f"Factors of rank {self.rank} cannot be padded to rank {rank}.",
                hint="Use truncate for a smaller rank.",
                code="rank-too-small",
            )
        if missing == 0:
            return self
        get, put = self.namespace.get, self.namespace.put
        B = np.pad(get(self.B), ((0, 0), (0, missing)))
        A = np.pad(get(self.A), ((0, missing), (0, 0)))
        return Factors(put(B, self.dtype), put(A, self.dtype))

    def singular_values(self) -> Array:
        """Return the `rank` singular values of B·A, descending, in float64.

        Raises:
            MatrixError: If one leaves the range of float64.
        """
        return self.svd()[1]

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write both factors to `path`: `.npz`, `.safetensors`, or a folder of `.csv`.

        Raises:
            ArgumentError: If the suffix is unknown, or the file exists and `force` is false.
            StorageError: If the system refuses to write.
        """
        from eckart.files import write_factors

        write_factors(path, {"": self.on(HOST)}, force=force)

    __matmul__ = times

    def svd(self) -> tuple[Array, Array, Array]:
        """The singular value decomposition B·A = U·diag(S)·Vt, with `rank` components.

        U and Vt are in the dtype of the factors, S in float64, descending. B = Q·R and Aᵀ = P·L are
        thin QR factorisations of scaled factors; R·Lᵀ = U·S·Vᵀ is small. Components beyond
        min(rows, columns) are zeros.

        Raises:
            MatrixError: If a singular value leaves the range of float64.

        Example:
            >>> U, S, Vt = Factors([[2.0, 0.0], [0.0, 1.0]], np.eye(2)).svd()
            >>> S
            array([2., 1.])
        """
        namespace = self.namespace
        # with entries near 1 neither the QR factorisations nor R·Lᵀ over- or underflow
        (B, left), (A, right) = namespace.scaled(self.B), namespace.scaled(self.A)
        Q, R = namespace.qr(B)  # (rows, k), (k, rank)
        P, L = namespace.qr(A.T)  # (columns, k'), (k', rank)
        # rank × rank: float64 costs nothing here, and small singular values keep their digits
        U, S, Vt = svd(namespace.get(R).astype(FLOAT64) @ namespace.get(L).astype(FLOAT64).T)
        with np.errstate(over="ignore"):
            S = np.ldexp(S, left + right)
        if not np.isfinite(S).all():
            raise MatrixError(
                "B·A leaves the range of float64.",
                hint="Divide B or A by a power of ten.",
                code="out-of-range",
            )
        missing = self.rank - len(S)  # if the rank is above rows or columns
        U, Vt = np.pad(U, ((0, 0), (0, missing))), np.pad(Vt, ((0, missing), (0, 0)))
        U, Vt = (namespace.put(X, self.dtype) for X in (U, Vt))
        return Q @ U, np.pad(S, (0, missing)), Vt @ P.T

    def _check_data(self, X: npt.ArrayLike, length: int) -> Array:
        array = as_working(X)
        if array.ndim not in (1, 2) or array.shape[0] != length:
            rows, columns = self.shape
            raise MatrixError(
                f"Factors of a {rows} × {columns} matrix cannot multiply data of shape "
                f"{tuple(array.shape)}.",
                hint=f"Give data with {length} rows.",
                code="shapes-differ",
            )
        here = self.namespace
        # NumPy multiplies mixed dtypes; PyTorch refuses them
        return placed(array, here, dtype_of(array) if here is HOST else self.dtype)


def as_factors(given: Any) -> Factors:
    """Return `Factors`, or a pair (B, A), as `Factors`.

    Raises:
        ArgumentError: If it is neither.
        MatrixError: In the cases of `Factors`.
    """
    if isinstance(given, Factors):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        return Factors(*given)
    raise ArgumentError(
        f"The factors are a {type(given).__name__}.",
        hint="Give Factors or a pair (B, A); eckart.read_factors(path) reads those of a file.",
        code="bad-factors",
    )


def _bring_together(B: object, A: object) -> tuple[Array, Array]:
    """Bring both to a working dtype and one namespace: that of B if both are on devices."""
    left, right = as_working(B), as_working(A)
    namespace = namespace_of(left if is_on_device(left) else right)
    return placed(left, namespace, dtype_of(left)), placed(right, namespace, dtype_of(right))


def check_rank(rank: int, *, most: int, what: str) -> None:
    """Refuse a rank below 1 or above `most`.

    Raises:
        ArgumentError: If `rank` is no whole number, or below 1.
        MatrixError: If `rank` is above `most`.
    """
    if check_whole("rank", rank) < 1:
        raise ArgumentError(
            f"The rank is {rank}.", hint="Give a rank of at least 1.", code="rank-too-small"
        )
    if rank > most:
        raise MatrixError(
            f"Rank {rank} is too large for {what}.",
            hint=f"Give a rank from 1 to {most}.",
            code="rank-too-large",
        )
