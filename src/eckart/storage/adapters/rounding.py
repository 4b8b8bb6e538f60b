"""The factors as they are read back: balanced, then rounded to the dtype of the file."""

from typing import Final, Literal, TypeAlias, cast

import ml_dtypes
import numpy as np

from eckart.arrays import FLOAT32, Array, DType
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.storage.adapters.adapter import AdaptedLayer, matrix_shape

StoredDType: TypeAlias = Literal["float32", "float16", "bfloat16"]

DTYPES: Final[dict[StoredDType, DType]] = {
    "float32": FLOAT32,
    "float16": np.dtype(np.float16),
    "bfloat16": cast(DType, np.dtype(ml_dtypes.bfloat16)),
}


def adapter_bytes(shape: tuple[int, ...], rank: int, dtype: StoredDType = "float32") -> int:
    """Bytes of the factors of a weight of this shape, without the header of the file.

    Example:
        >>> adapter_bytes((8, 3, 5, 5), rank=2, dtype="float16")
        332
    """
    return rank * sum(matrix_shape(shape)) * DTYPES[dtype].itemsize


def stored_factors(layer: AdaptedLayer, dtype: StoredDType = "float32") -> Factors:
    """The factors of a layer as they will be read back, in float32.

    √σ goes to both factors, which is where their largest entries are smallest. Rounding each
    entry by at most u then changes the product by at most 2u + u², relative to its norm, because
    the rows of A and the columns of B are orthogonal.

    Raises:
        MatrixError: If an entry is too large for the dtype, or so many are too small that the
            product changes by more than twice what rounding alone can do.

    Cost:
        Two thin QR factorisations and a singular value decomposition of rank × rank.
    """
    balanced = layer.factors.balance()
    B, A = rounded(balanced.B, dtype), rounded(balanced.A, dtype)
    if not (np.isfinite(B).all() and np.isfinite(A).all()):
        raise _out_of_range(layer.module, dtype, "too large")
    factors = Factors(B, A)
    # float32 and bfloat16 reach down to 1e-38, where the product of two is no number of either
    if dtype == "float16" and _change(balanced, factors) > 2 * float(np.finfo(np.float16).eps):
        raise _out_of_range(layer.module, dtype, "too small")
    return factors


def rounded(X: Array, dtype: StoredDType) -> Array:
    """X as it is read back, in float32; infinite where it is too large for the dtype."""
    with np.errstate(over="ignore", under="ignore"):
        return X.astype(DTYPES[dtype]).astype(FLOAT32)


def _change(exact: Factors, near: Factors) -> float:
    """‖B·A − B̂·Â‖/‖B·A‖, from (B − B̂)·A + B̂·(A − Â), so that nothing cancels."""
    size = exact.squared_norm()
    if size == 0:
        return 0.0
    B = np.hstack([exact.B - near.B, near.B])
    A = np.vstack([exact.A, exact.A - near.A])
    return float(np.sqrt(Factors(B, A).squared_norm() / size))


def _out_of_range(module: str, dtype: StoredDType, how: str) -> MatrixError:
    return MatrixError(
        f"The factors of '{module}' are {how} for {dtype}.",
        hint="Store the adapter in float32 or bfloat16.",
        code="out-of-range",
    )
