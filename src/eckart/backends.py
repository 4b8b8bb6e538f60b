"""Where tall arrays live and are decomposed: NumPy and LAPACK, or a PyTorch or CuPy device.

Arrays as tall or wide as W stay where W is; small ones, rank × rank, are NumPy's everywhere.
"""

from typing import Any, Final, Protocol, cast, final

import array_api_compat
import numpy as np
import scipy.linalg

from eckart.arrays import FLOAT32, FLOAT64, Array, DType, inner, working_array, working_dtype
from eckart.errors import MatrixError


class Namespace(Protocol):
    """An array module and a device. Operators, `.T` and slices work on the arrays of either."""

    def put(self, X: Array, dtype: DType, /) -> Array:
        """A NumPy array as one of this namespace."""
        ...

    def get(self, X: Array, /) -> Array:
        """An array of this namespace as one of NumPy."""
        ...

    def astype(self, X: Array, dtype: DType, /) -> Array:
        """The array in another dtype; not copied where it already has it."""
        ...

    def zeros(self, shape: tuple[int, int], dtype: DType, /) -> Array:
        """An array of zeros."""
        ...

    def gram(self, X: Array, Y: Array, /) -> Array:
        """XᵀY, computed in float64, as a NumPy array."""
        ...

    def inner(self, X: Array, Y: Array, /) -> float:
        """⟨X, Y⟩ = Σ X_ij·Y_ij, summed in float64."""
        ...

    def squares(self, X: Array, /) -> float:
        """ΣX_ij², summed in float64."""
        ...

    def is_finite(self, X: Array, /) -> bool:
        """Whether no entry is NaN or infinite."""
        ...

    def concatenate(self, blocks: list[Array], /) -> Array:
        """Blocks of rows as one array."""
        ...

    def qr(self, X: Array, /) -> tuple[Array, Array]:
        """X = Q·R, reduced."""
        ...

    def scaled(self, X: Array, /) -> tuple[Array, int]:
        """X·2^−exponent with a largest entry near 1, and the exponent."""
        ...

    def svd(self, X: Array, /) -> tuple[Array, Array, Array]:
        """X = U·S·Vt, reduced; S as a NumPy array."""
        ...


PARTIAL: Final = 256
"""Squares are summed in the dtype of the array over so many, and in float64 over these sums."""


@final
class NumPy:
    """Arrays in memory."""

    def put(self, X: Array, dtype: DType, /) -> Array:
        """The same array, in `dtype`."""
        return X.astype(dtype, copy=False)

    def get(self, X: Array, /) -> Array:
        """The same array."""
        return X

    def astype(self, X: Array, dtype: DType, /) -> Array:
        """As `put`."""
        return X.astype(dtype, copy=False)

    def zeros(self, shape: tuple[int, int], dtype: DType, /) -> Array:
        """An array of zeros."""
        return np.zeros(shape, dtype)

    def gram(self, X: Array, Y: Array, /) -> Array:
        """XᵀY, of shape (columns of X, columns of Y)."""
        if X is Y:
            exact = X.astype(FLOAT64, copy=False)
            return exact.T @ exact  # one symmetric product, half the work
        return X.T.astype(FLOAT64, copy=False) @ Y.astype(FLOAT64, copy=False)

    def inner(self, X: Array, Y: Array, /) -> float:
        """⟨X, Y⟩."""
        return inner(X, Y)

    def squares(self, X: Array, /) -> float:
        """ΣX_ij², right whatever the scale of the entries.

        Sums of 256 in float32 are wrong by an eps or two each, in random directions, so that the
        sum of all is right to far more digits; a float64 copy of a float32 array takes five times
        as long. Sums that leave the range of float32 are made again in float64.
        """
        flat = np.ravel(X)
        whole = len(flat) // PARTIAL * PARTIAL
        rows = flat[:whole].reshape(-1, PARTIAL)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            sums = np.vecdot(rows, rows).astype(FLOAT64, copy=False)
            low, high = sure_range(X.dtype)
            unsure = ~((sums > low) & (sums < high))
            if unsure.any():
                again = rows[unsure].astype(FLOAT64, copy=False)
                sums[unsure] = np.vecdot(again, again)
            rest = flat[whole:].astype(FLOAT64, copy=False)
            return float(sums.sum()) + float(np.dot(rest, rest))

    def is_finite(self, X: Array, /) -> bool:
        """Whether no entry is NaN or infinite."""
        return bool(np.isfinite(X).all())

    def concatenate(self, blocks: list[Array], /) -> Array:
        """Blocks of rows as one array."""
        return np.concatenate(blocks)

    def qr(self, X: Array, /) -> tuple[Array, Array]:
        """X = Q·R by LAPACK."""
        Q, R = np.linalg.qr(X)
        return Q, R

    def scaled(self, X: Array, /) -> tuple[Array, int]:
        """X·2^−exponent; no digit changes."""
        return scaled(X)

    def svd(self, X: Array, /) -> tuple[Array, Array, Array]:
        """X = U·S·Vt by LAPACK."""
        return svd(X)


@final
class OnDevice:
    """Arrays of another module that follows the array API standard, on one device.

    Args:
        example: An array of that module.
    """

    def __init__(self, example: Any) -> None:
        self._xp: Any = array_api_compat.array_namespace(example)
        self._device: Any = array_api_compat.device(example)

    def __eq__(self, other: object) -> bool:
        """Whether another is of the same module, on the same device."""
        if not isinstance(other, OnDevice):
            return False
        return (self._xp, self._device) == (other._xp, other._device)

    def __hash__(self) -> int:
        """Of the module and the device."""
        return hash((self._xp, self._device))

    def put(self, X: Array, dtype: DType, /) -> Array:
        """A copy of a NumPy array on the device."""
        host = np.ascontiguousarray(X.astype(dtype, copy=False))
        return self._xp.asarray(host, device=self._device)

    def get(self, X: Any, /) -> Array:
        """A copy of an array of the device in memory."""
        return np.asarray(array_api_compat.to_device(X, "cpu")) if _is_torch(X) else X.get()

    def astype(self, X: Array, dtype: DType, /) -> Array:
        """The array in another dtype."""
        return self._xp.astype(X, getattr(self._xp, dtype.name), copy=False)

    def zeros(self, shape: tuple[int, int], dtype: DType, /) -> Array:
        """An array of zeros on the device."""
        return self._xp.zeros(shape, dtype=getattr(self._xp, dtype.name), device=self._device)

    def gram(self, X: Array, Y: Array, /) -> Array:
        """XᵀY by a float64 product on the device."""
        return self.get(self.astype(X, FLOAT64).T @ self.astype(Y, FLOAT64))

    def inner(self, X: Array, Y: Array, /) -> float:
        """⟨X, Y⟩, one product and one sum in float64 on the device."""
        return float(self._xp.sum(self.astype(X, FLOAT64) * self.astype(Y, FLOAT64)))

    def squares(self, X: Array, /) -> float:
        """ΣX_ij² in float64 on the device."""
        return self.inner(X, X)

    def is_finite(self, X: Array, /) -> bool:
        """Whether no entry is NaN or infinite."""
        return bool(self._xp.all(self._xp.isfinite(X)))

    def concatenate(self, blocks: list[Array], /) -> Array:
        """Blocks of rows as one array on the device."""
        return self._xp.concat(blocks, axis=0)

    def qr(self, X: Array, /) -> tuple[Array, Array]:
        """X = Q·R by the library of the device."""
        Q, R = self._xp.linalg.qr(X)
        return Q, R

    def scaled(self, X: Array, /) -> tuple[Array, int]:
        """X·2^−exponent on the device."""
        exponent = int(np.frexp(float(self._xp.max(self._xp.abs(X))))[1])
        return X * 2.0**-exponent, exponent

    def svd(self, X: Array, /) -> tuple[Array, Array, Array]:
        """X = U·S·Vt by the library of the device."""
        U, S, Vt = self._xp.linalg.svd(X, full_matrices=False)
        return U, self.get(S), Vt


HOST: Final = NumPy()


def namespace_of(X: object) -> Namespace:
    """Where an array lives.

    Example:
        >>> namespace_of(np.ones(3)) is HOST
        True
    """
    return OnDevice(X) if is_on_device(X) else HOST


def placed(X: Array, namespace: Namespace, dtype: DType) -> Array:
    """An array of anywhere in a namespace and a dtype; by way of memory where it is elsewhere.

    Example:
        >>> placed(np.ones(3), HOST, FLOAT32).dtype
        dtype('float32')
    """
    home = namespace_of(X)
    return namespace.astype(X, dtype) if home == namespace else namespace.put(home.get(X), dtype)


def is_on_device(X: object) -> bool:
    """Whether X is an array of PyTorch or CuPy."""
    return _is_torch(X) or array_api_compat.is_cupy_array(X)


def dtype_of(X: Any) -> DType:
    """The dtype of an array of a working dtype, as NumPy names it."""
    if isinstance(X, np.ndarray):
        return cast("DType", X.dtype)
    return FLOAT32 if str(X.dtype).endswith("float32") else FLOAT64


def as_working(X: Any) -> Array:
    """X as an array of a working dtype, on its device if it is on one.

    Raises:
        MatrixError: As `working_array` and `working_copy`.
    """
    return working_copy(X) if is_on_device(X) else working_array(X)


def working_copy(X: Any) -> Array:
    """An array of a device in a working dtype: float16 and bfloat16 become float32, on the device.

    Raises:
        MatrixError: If it is complex or sparse.
    """
    name = str(X.dtype).removeprefix("torch.")
    layout = str(getattr(X, "layout", "torch.strided"))
    if layout != "torch.strided":
        raise MatrixError(
            f"The tensor has the layout {layout.removeprefix('torch.')}.",
            hint="Give a SciPy sparse matrix, or make it dense.",
            code="sparse-tensor",
        )
    if str(getattr(X, "device", "")) == "meta":
        raise MatrixError(
            "The tensor is on the device meta, where it has no numbers.",
            hint="Load the weights first.",
            code="no-numbers",
        )
    try:
        dtype = FLOAT32 if name == "bfloat16" else working_dtype(np.dtype(name))
    except TypeError:
        raise MatrixError(
            f"The tensor holds {name}, not numbers.",
            hint="Convert it to float32.",
            code="not-numbers",
        ) from None
    detached = X.detach() if _is_torch(X) else X
    return OnDevice(detached).astype(detached, dtype)


def _is_torch(X: object) -> bool:
    return array_api_compat.is_torch_array(X)


def sure_range(dtype: DType) -> tuple[float, float]:
    """Between these a sum of squares has lost nothing to under- or overflow."""
    kind = np.finfo(dtype)
    return float(kind.tiny) / float(kind.eps) * PARTIAL, float(kind.max)


def svd(X: Array) -> tuple[Array, Array, Array]:
    """The reduced singular value decomposition X = U·S·Vt, by divide and conquer.

    Falls back on the slower QR iteration where divide and conquer does not converge.

    Example:
        >>> U, S, Vt = svd(np.diag([3.0, 2.0]))
        >>> S
        array([3., 2.])
    """
    try:
        U, S, Vt = scipy.linalg.svd(X, full_matrices=False, check_finite=False)
    except scipy.linalg.LinAlgError:
        U, S, Vt = scipy.linalg.svd(
            X, full_matrices=False, check_finite=False, lapack_driver="gesvd"
        )
    return U, S, Vt


def scaled(W: Array) -> tuple[Array, int]:
    """W·2^−exponent with a largest entry near 1, so that no square in LAPACK over- or underflows.

    Multiplying by a power of two changes no digit.

    Example:
        >>> scaled(np.array([[6.0]]))
        (array([[0.75]]), 3)
    """
    exponent = int(np.frexp(np.abs(W).max(initial=0.0))[1])
    return np.ldexp(W, -exponent), exponent


def singular_values(W: Array) -> Array:
    """All singular values of W, descending, in float64 whatever the dtype of W.

    Cost:
        About 8/3·rows·columns·min operations; memory 2 × rows × columns in float64.

    Example:
        >>> singular_values(np.array([[0.0, 2.0], [3.0, 0.0]]))
        array([3., 2.])
    """
    near_one, exponent = scaled(W.astype(np.float64, copy=False))
    try:
        values = np.linalg.svd(near_one, compute_uv=False)
    except np.linalg.LinAlgError:
        values = svd(near_one)[1]
    return np.ldexp(values, exponent)
