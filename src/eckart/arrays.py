"""Array types, the dtypes that eckart computes in, and the size of their rounding errors."""

import math
import mmap
import operator
from typing import Any, Final, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from eckart.errors import ArgumentError, MatrixError

Array: TypeAlias = npt.NDArray[np.floating[Any]]
DType: TypeAlias = np.dtype[np.floating[Any]]

Randomness: TypeAlias = np.random.Generator | np.random.RandomState

FLOAT32: Final[DType] = np.dtype(np.float32)
FLOAT64: Final[DType] = np.dtype(np.float64)
PAGE: Final = 4096
"""Bytes: the page size of disks and systems, or a multiple of it."""
HALVES: Final = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
"""Half-precision dtypes, which are computed in float32."""


def as_dtype(dtype: Any) -> DType:
    """The dtype to compute in, for a dtype that a user names.

    Raises:
        ArgumentError: If it does not name a dtype.
        MatrixError: If it is a dtype of anything but real numbers.
    """
    try:
        named = np.dtype(dtype)
    # NumPy raises SyntaxError for text such as "f4,,"
    except (TypeError, ValueError, SyntaxError):
        raise ArgumentError(
            f"The dtype is {dtype!r}.", hint="Give float32 or float64.", code="bad-dtype"
        ) from None
    return working_dtype(named)


def working_dtype(dtype: np.dtype[Any]) -> DType:
    """The dtype to compute in, for a matrix of `dtype`.

    float32 and float64 are kept; float16 and bfloat16 become float32, integers and booleans become
    float64.

    Raises:
        MatrixError: If `dtype` is complex, or does not hold numbers.

    Example:
        >>> working_dtype(np.dtype("float16")), working_dtype(np.dtype("int8"))
        (dtype('float32'), dtype('float64'))
    """
    # BLAS and LAPACK read only the byte order of the machine
    dtype = dtype if dtype.isnative else dtype.newbyteorder("=")
    if dtype in (FLOAT32, FLOAT64):
        return dtype
    if dtype in HALVES:
        return FLOAT32
    if dtype.kind in "iub" or dtype.kind == "f":  # integers up to 2⁵³ are exact; longdouble narrows
        return FLOAT64
    if dtype.kind == "c":
        raise MatrixError(
            f"The matrix holds complex numbers ({dtype}), which eckart does not factor.",
            hint="Factor its real and imaginary parts as two matrices.",
            code="complex",
        )
    raise MatrixError(
        f"The matrix holds {dtype}, not numbers.", hint="Convert it to float32.", code="not-numbers"
    )


def working_array(values: npt.ArrayLike) -> Array:
    """Return `values` as an array of a working dtype; it is copied only if its dtype changes.

    Hidden entries of a masked array become NaN, which stands for a missing entry.

    Raises:
        MatrixError: If the values are complex, or not numbers.
    """
    array = plain_array(values)
    return array.astype(working_dtype(array.dtype), copy=False)


def plain_array(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return `values` as an array of any dtype; hidden entries of a masked array become NaN.

    Raises:
        MatrixError: If the rows differ in length, the matrix is sparse, or a column of a table
            does not hold numbers.
    """
    if _is_table(values):
        return _of_table(values)
    if hasattr(values, "toarray"):
        raise MatrixError(
            "This is a sparse matrix, and an array is asked for.",
            hint="Make it dense with its method toarray.",
            code="sparse",
        )
    try:
        array = np.asarray(unmasked(values))
        return _of_frame(values) if array.dtype.hasobject and _is_numeric(values) else array
    except ValueError as error:
        raise MatrixError(
            f"This is not a matrix: {error}.",
            hint="Give rows of equal length.",
            code="not-a-matrix",
        ) from error


def _is_table(values: Any) -> bool:
    """Whether this is a Polars or Arrow table, whose columns each have a type of their own."""
    kind = type(values)
    return hasattr(kind, "__arrow_c_stream__") and hasattr(kind, "columns") \
        and not hasattr(kind, "iloc")  # fmt: skip


def _of_table(frame: Any) -> Array:
    """Convert a table to floats; its own conversion turns dates into whole numbers, or fails."""
    import pyarrow as pa

    table: Any = pa.table(frame)
    kinds, types = table.schema.types, pa.types
    for name, kind in zip(table.column_names, kinds, strict=True):
        number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        if not (number or types.is_boolean(kind) or types.is_null(kind)):
            raise MatrixError(
                f"The column '{name}' holds {kind}, not numbers.",
                hint="Leave it out, or convert it to float32.",
                code="not-numbers",
            )
    narrow = all(types.is_float32(kind) or types.is_float16(kind) for kind in kinds)
    values = np.empty(table.shape, FLOAT32 if narrow else FLOAT64)
    for place, column in enumerate(table.columns):
        # safe=False, because a safe cast refuses integers above 2⁵³; null becomes NaN
        values[:, place] = column.cast(pa.float64(), safe=False).to_numpy()
    return values


def _is_numeric(frame: Any) -> bool:
    """Whether this is a pandas data frame whose columns hold only numbers and booleans."""
    dtypes: Any = getattr(frame, "dtypes", None) if hasattr(frame, "iloc") else None
    return hasattr(dtypes, "tolist") and all(
        getattr(dtype, "kind", "O") in "biuf" for dtype in dtypes.tolist()
    )


def _of_frame(frame: Any) -> npt.NDArray[Any]:
    """Convert a frame whose types have no common NumPy dtype to floats; missing becomes NaN."""
    return frame.to_numpy(dtype=FLOAT64, na_value=np.nan)


def unmasked(values: Any) -> Any:
    """Replace the hidden entries of a masked array by NaN; return anything else unchanged.

    Raises:
        MatrixError: If a masked array holds complex numbers, or no numbers.

    Example:
        >>> unmasked(np.ma.masked_array([1, 2], mask=[False, True]))
        array([ 1., nan])
    """
    if not isinstance(values, np.ma.MaskedArray):
        return values
    masked: Any = values
    return masked.astype(working_dtype(masked.dtype)).filled(np.nan)


def rounding(shape: tuple[int, int], dtype: DType) -> float:
    """Bound on the relative rounding error, in the norm, of a factorisation of this shape.

    p·eps with p = 64 + √max(rows, columns): the "modestly growing function" p(m, n) of the LAPACK
    Users' Guide, section 4.9, in |σ̂_i − σ_i| ≤ p·eps·σ₁. Over thousands of random matrices up to
    1000 × 600 the largest seen was 31, at 4 × 4.

    Example:
        >>> rounding((4, 4), FLOAT64)
        1.4654943925052066e-14
    """
    return (64 + math.sqrt(max(shape))) * float(np.finfo(dtype).eps)


def inner(X: Array, Y: Array) -> float:
    """⟨X, Y⟩ = Σ X_ij·Y_ij, summed in float64 whatever the dtype of X and Y."""
    # einsum widens block by block, so that no float64 copy of X or Y is made
    return float(np.einsum("ij,ij->", X, Y, dtype=np.float64, casting="same_kind"))


def as_randomness(seed: object) -> Randomness:
    """Return the random number generator of a seed: an int, a `Generator` or a `RandomState`.

    Raises:
        ArgumentError: If the seed is none of these, or negative.
    """
    if isinstance(seed, np.random.Generator | np.random.RandomState):
        return seed
    try:
        number = operator.index(seed)  # pyright: ignore[reportArgumentType]
    except TypeError:
        number = -1
    if number >= 0:
        return np.random.Generator(np.random.Philox(number))
    raise ArgumentError(
        f"The seed is {seed!r}.",
        hint="Give a whole number from 0, a numpy Generator or a RandomState.",
        code="bad-seed",
    )


def own_pages(shape: tuple[int, int], dtype: DType, lead: int = 0) -> Array:
    """Return an array of zeros whose memory returns to the system as soon as it is freed.

    Memory that malloc gave out may otherwise stay with the thread that asked for it.

    `lead` bytes of the first page are left free before the array.
    """
    size = shape[0] * shape[1]
    if size == 0 or not hasattr(mmap, "MAP_PRIVATE"):  # mmap refuses 0 bytes; Windows has no flags
        return np.zeros(shape, dtype)
    length = lead + size * dtype.itemsize
    pages = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # the array keeps the map alive, and unmaps it when it is freed itself
    return np.frombuffer(pages, dtype, size, lead).reshape(shape)
