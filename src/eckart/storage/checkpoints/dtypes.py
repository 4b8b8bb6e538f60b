"""The dtypes that safetensors names, and what NumPy calls them."""

import math
from enum import StrEnum, unique
from typing import Any, Final

import ml_dtypes
import numpy as np


@unique
class StoredDtype(StrEnum):
    """A dtype as a file stores it, in the order in which the format's own writer puts tensors.

    Example:
        >>> StoredDtype("BF16").bits, StoredDtype.F4.nbytes((3, 4))
        (16, 6)
    """

    U64 = "U64"
    I64 = "I64"
    F64 = "F64"
    C64 = "C64"
    F32 = "F32"
    U32 = "U32"
    I32 = "I32"
    BF16 = "BF16"
    F16 = "F16"
    U16 = "U16"
    I16 = "I16"
    F8_E5M2FNUZ = "F8_E5M2FNUZ"
    F8_E4M3FNUZ = "F8_E4M3FNUZ"
    F8_E8M0 = "F8_E8M0"
    F8_E4M3 = "F8_E4M3"
    F8_E5M2 = "F8_E5M2"
    I8 = "I8"
    U8 = "U8"
    F6_E3M2 = "F6_E3M2"
    F6_E2M3 = "F6_E2M3"
    F4 = "F4"
    BOOL = "BOOL"

    @property
    def bits(self) -> int:
        """Bits of one entry."""
        if self is StoredDtype.BOOL:
            return 8
        return int(self.value.partition("_")[0].lstrip("BFCIU"))

    @property
    def numpy(self) -> np.dtype[Any] | None:
        """The same numbers in NumPy; None for the formats of 8 bits and less that it lacks."""
        return _NUMPY.get(self)

    @property
    def is_weight(self) -> bool:
        """Whether eckart factors it: float16, bfloat16, float32 or float64."""
        return self in _WEIGHTS

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor; entries of less than a byte are packed."""
        return math.prod(shape) * self.bits // 8


def stored_dtype(dtype: np.dtype[Any]) -> StoredDtype | None:
    """The name that a file gives to a NumPy dtype; None if it has none.

    Example:
        >>> stored_dtype(np.dtype("float16")), stored_dtype(np.dtype("complex128"))
        (<StoredDtype.F16: 'F16'>, None)
    """
    return next((stored for stored, known in _NUMPY.items() if known == dtype), None)


_NUMPY: Final[dict[StoredDtype, np.dtype[Any]]] = {
    StoredDtype.U64: np.dtype("<u8"),
    StoredDtype.I64: np.dtype("<i8"),
    StoredDtype.F64: np.dtype("<f8"),
    StoredDtype.C64: np.dtype("<c8"),
    StoredDtype.F32: np.dtype("<f4"),
    StoredDtype.U32: np.dtype("<u4"),
    StoredDtype.I32: np.dtype("<i4"),
    StoredDtype.BF16: np.dtype(ml_dtypes.bfloat16),
    StoredDtype.F16: np.dtype("<f2"),
    StoredDtype.U16: np.dtype("<u2"),
    StoredDtype.I16: np.dtype("<i2"),
    StoredDtype.I8: np.dtype("i1"),
    StoredDtype.U8: np.dtype("u1"),
    StoredDtype.BOOL: np.dtype("?"),
}
_WEIGHTS: Final = frozenset({StoredDtype.F16, StoredDtype.BF16, StoredDtype.F32, StoredDtype.F64})
