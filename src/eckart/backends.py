"""Array namespaces: NumPy with LAPACK, or a PyTorch or CuPy device.

Arrays as tall or as wide as W stay where W is; small ones (rank × rank) are always NumPy arrays.
"""

from abc import ABC, abstractmethod
from typing import Any, Final, final

import array_api_compat
import numpy as np
import scipy.linalg

from eckart.arrays import FLOAT32, FLOAT64, Array, DType, inner, working_array, working_dtype
from eckart.errors import MatrixError


class Namespace(ABC):
    """An array module and a device; operators, `.T` and slices work on arrays of every module.

    Args:
        module: The array module.
    """

    def __init__(self, module: Any) -> None:
        self._xp = module

    @abstractmethod
    def put(self, X: Array, dtype: DType, /) -> Array:
        """Move a NumPy array to this namespace, in `dtype`; it is not copied if it is there."""

    @abstractmethod
    def get(self, X: Array, /) -> Array:
        """Return an array of this namespace as a NumPy array."""

    @abstractmethod
    def astype(self, X: Array, dtype: DType, /) -> Array:
        """Convert the array to `dtype`; it is not copied if it has that dtype already."""

    @abstractmethod
    def zeros(self, shape: tuple[int, int], dtype: DType, /) -> Array:
        """Return an array of zeros."""

    @abstractmethod
    def gram(self, X: Array, Y: Array, /) -> Array:
        """XᵀY, computed in float64, as a NumPy array."""

    @abstractmethod
    def inner(self, X: Array, Y: Array, /) -> float:
        """⟨X, Y⟩ = Σ X_ij·Y_ij, summed in float64."""

    @abstractmethod
    def squares(self, X: Array, /) -> float:
        """ΣX_ij², summed in float64."""

    @abstractmethod
    def scaled(self, X: Array, /) -> tuple[Array, int]:
        """Return X·2^−exponent, whose largest entry is near 1, and the exponent."""

    @abstractmethod
    def svd(self, X: Array, /) -> tuple[Array, Array, Array]:
        """The reduced decomposition X = U·S·Vt; S is a NumPy array."""

    def is_finite(self, X: Array, /) -> bool:
        """Whether no entry is NaN or infinite."""
        return bool(self._xp.all(self._xp.isfinite(X)))

    def concatenate(self, blocks: list[Array], /) -> Array:
        """Join blocks of rows into one array."""
        return self._xp.concat(blocks, axis=0)

    def qr(self, X: Array, /) -> tuple[Array, Array]:
        """The reduced QR factorisation X = Q·R, by LAPACK or the library of the device."""
        Q, R = self._xp.linalg.qr(X)
        return Q, R


PARTIAL_SQUARES: Final = 256
"""Number of squares summed in the dtype of the array; the sums of so many are added in float64."""


@final
class NumPy(Namespace):
    """NumPy arrays in memory."""

    def __init__(self) -> None:
        super().__init__(np)

    def put(self, X: Array, dtype: DType, /) -> Array:
        """Return the array in `dtype`."""
        return X.astype(dtype, copy=False)

    def get(self, X: Array, /) -> Array:
        """Return the array unchanged."""
        return X

    astype = put  # in memory nothing else can change

    def zeros(self, shape: tuple[int, int], dtype: DType, /) -> Array:
        """Return an array of zeros."""
        return np.zeros(shape, dtype)

    def gram(self, X: Array, Y: Array, /) -> Array:
        """XᵀY, of shape (columns of X, columns of Y)."""
        if X is Y:
            exact = X.astype(FLOAT64, copy=False)
            return exact.T @ exact  # one symmetric product, half the work
        return X.T.astype(FLOAT64, copy=False) @ Y.astype(FLOAT64, copy=False)

    def inner(self, X: Array, Y: Array, /) -> float:
        """⟨X, Y⟩, summed in float64."""
        return inner(X, Y)

    def squares(self, X: Array, /) -> float:
        """ΣX_ij², accurate whatever the scale of the entries.

        Each sum of 256 squares in float32 is wrong by an eps or two, in a random direction, so the
        sum of them all is accurate to far more digits; a float64 copy of a float32 array takes five
        times as long. Sums that leave the range of float32 are computed again in float64.
        """
        flat = np.ravel(X)
        whole = len(flat) // PARTIAL_SQUARES * PARTIAL_SQUARES
        rows = flat[:whole].reshape(-1, PARTIAL_SQUARES)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            sums = np.vecdot(rows, rows).astype(FLOAT64, copy=False)
            low, high = sure_range(X.dtype)
            # negated, so that NaN counts as unsure too
            unsure = ~((sums > low) & (sums < high))
            if unsure.any():
                again = rows[unsure].astype(FLOAT64, copy=False)
                sums[unsure] = np.vecdot(again, again)
            rest = flat[whole:].astype(FLOAT64, copy=False)
            return float(sums.sum()) + float(np.dot(rest, rest))

    def scaled(self, X: Array, /) -> tuple[Array, int]:
        """Return X·2^−exponent and the exponent; no digit changes."""
        return scaled(X)

    def svd(self, X: Array, /) -> tuple[Array, Array, Array]:
        """The reduced decomposition X = U·S·Vt by LAPACK."""
        return svd(X)


@final
class OnDevice(Namespace):
    """Arrays of PyTorch or CuPy, used through the array API standard, on one device.

    Args:
        example: An array of that module, on that device.
    """

    def __init__(self, example: Any) -> None:
        super().__init__(array_api_compat.array_namespace(example))
        self._device: Any = array_api_compat.device(example)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same module and the same device."""
        if not isinstance(other, OnDevice):
            return False
        return (self._xp, self._device) == (other._xp, other._device)

    def __hash__(self) -> int:
        """Hash of the module and the device."""
        return hash((self._xp, self._device))

    def put(self, X: Array, dtype: DType, /) -> Array:
        """Copy a NumPy array to the device, in `dtype`."""
        # PyTorch refuses arrays with negative strides
        host = np.ascontiguousarray(X.astype(dtype, copy=False))
        return self._xp.asarray(host, device=self._device)

    def get(self, X: Any, /) -> Array:
        """Copy an array of the device to a NumPy array."""
        # CuPy refuses an implicit conversion to NumPy
        return np.asarray(array_api_compat.to_device(X, "cpu")) if _is_torch(X) else X.get()

    def astype(self, X: Array, dtype: DType, /) -> Array:
        """Convert the array to `dtype`, on the device."""
        return self._xp.astype(X, getattr(self._xp, dtype.name), copy=False)

    def zeros(self, shape: tuple[int, int], dtype: DType, /) -> Array:
        """Return an array of zeros on the device."""
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

    def scaled(self, X: Array, /) -> tuple[Array, int]:
        """Return X·2^−exponent, computed on the device, and the exponent."""
        exponent = int(np.frexp(float(self._xp.max(self._xp.abs(X))))[1])
        return X * 2.0**-exponent, exponent

    def svd(self, X: Array, /) -> tuple[Array, Array, Array]:
        """X = U·S·Vt by the library of the device."""
        U, S, Vt = self._xp.linalg.svd(X, full_matrices=False)
        return U, self.get(S), Vt


HOST: Final = NumPy()


def namespace_of(X: object) -> Namespace:
    """Return the namespace in which an array lives."""
    return OnDevice(X) if is_on_device(X) else HOST


def placed(X: Array, namespace: Namespace, dtype: DType) -> Array:
    """Move an array to a namespace and a dtype; between devices it goes through memory."""
    home = namespace_of(X)
    return namespace.astype(X, dtype) if home == namespace else namespace.put(home.get(X), dtype)


def is_on_device(X: object) -> bool:
    """Whether X is an array of PyTorch or CuPy."""
    return _is_torch(X) or array_api_compat.is_cupy_array(X)


def dtype_of(X: Any) -> DType:
    """The NumPy dtype of a float32 or float64 array of any module."""
    if isinstance(X, np.ndarray):
        return X.dtype
    return FLOAT32 if str(X.dtype).endswith("float32") else FLOAT64


def as_working(X: Any) -> Array:
    """Return X in a working dtype; an array on a device stays there.

    Raises:
        MatrixError: If it is complex or sparse, or does not hold numbers.
    """
    if not is_on_device(X):
        return working_array(X)
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
    # a tensor that requires a gradient would record every product and cannot become NumPy's
    detached = X.detach() if _is_torch(X) else X
    return OnDevice(detached).astype(detached, dtype)


def _is_torch(X: object) -> bool:
    return array_api_compat.is_torch_array(X)


def sure_range(dtype: DType) -> tuple[float, float]:
    """Limits between which a sum of squares has lost nothing to under- or overflow."""
    kind = np.finfo(dtype)
    return float(kind.tiny) / float(kind.eps) * PARTIAL_SQUARES, float(kind.max)


def svd(X: Array) -> tuple[Array, Array, Array]:
    """The reduced singular value decomposition X = U·S·Vt, by divide and conquer.

    Where divide and conquer (gesdd) does not converge, the slower QR iteration (gesvd) is used.

    Example:
        >>> U, S, Vt = svd(np.diag([3.0, 2.0]))
        >>> S
        array([3., 2.])
    """
    try:
        # entries were checked before; another check would be a pass over X
        U, S, Vt = scipy.linalg.svd(X, full_matrices=False, check_finite=False)
    except scipy.linalg.LinAlgError:
        U, S, Vt = scipy.linalg.svd(
            X, full_matrices=False, check_finite=False, lapack_driver="gesvd"
        )
    return U, S, Vt


def scaled(W: Array) -> tuple[Array, int]:
    """Return W·2^−exponent, largest entry near 1, so that no square in LAPACK over- or underflows.

    Multiplying by a power of two changes no digit.

    Example:
        >>> scaled(np.array([[6.0]]))
        (array([[0.75]]), 3)
    """
    # initial=0.0, because max refuses an empty array
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
