"""Columns from Arrow to NumPy and back.

Arrow's own `to_numpy` and `array` import pandas where it is installed: half a second and some tens
of megabytes that no table of numbers needs.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eckart.arrays import FLOAT32, Array, DType


def numbers(column: Any, dtype: DType) -> Array:
    """An Arrow array as floats; a missing value becomes NaN, and what is too long is rounded.

    Example:
        >>> numbers(pa.array([1, None]), np.dtype(float)).tolist()
        [1.0, nan]
    """
    kind = pa.float32() if dtype == FLOAT32 else pa.float64()
    # not safe, or whole numbers that floats round would be refused
    if getattr(column.type, "extension_name", "") == "arrow.bool8":
        column = column.storage.cast(pa.bool_())
    found = column if pa.types.is_floating(column.type) else pc.cast(column, kind, safe=False)
    if found.null_count:
        found = pc.fill_null(found, float("nan"))
    values: Any = np.from_dlpack(found) if len(found) else np.zeros(0, dtype)
    return values


def plain_values(column: Any) -> Any:
    """An Arrow array of an extension type as one of its values, UUIDs and bytes as text.

    Raises:
        pa.ArrowInvalid: If some of the bytes are no text.

    Example:
        >>> plain_values(pa.array([b"a"])).to_pylist()
        ['a']
    """
    kind = column.type
    if isinstance(kind, pa.UuidType):
        texts = [None if one is None else str(one) for one in column.to_pylist()]
        return pa.array(texts, pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        return column.storage
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.string())
    return column


def column_of(values: Array) -> Any:
    """Floats as an Arrow array, without a copy where they lie one behind another.

    Example:
        >>> column_of(np.array([1.0, 2.0])).to_pylist()
        [1.0, 2.0]
    """
    kind: Any = {4: pa.float32(), 8: pa.float64()}[values.dtype.itemsize]
    kept = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, kept])


def text_column(texts: list[str]) -> Any:
    """Texts as an Arrow array.

    Example:
        >>> text_column(["a", "bc"]).to_pylist()
        ['a', 'bc']
    """
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)
