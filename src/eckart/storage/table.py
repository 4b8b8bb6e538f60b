"""From a table of columns to a matrix: which are numbers, which are names."""

from collections import Counter
from typing import Any

import pyarrow as pa

from eckart.arrays import FLOAT32, FLOAT64, Array, DType
from eckart.errors import MatrixError


def select(names: list[str], columns: tuple[str, ...] | None, path: object) -> list[int]:
    """Positions of the asked-for columns, or of all.

    A name that several columns have is asked for as often as they are, and one with blanks around
    it without them.

    Raises:
        MatrixError: If a name is not there, or some of the columns of one name are left.
    """
    if columns is None:
        return list(range(len(names)))
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    bare = {name.strip(): name for name in reversed(names)}
    columns = tuple(name if name in places else bare.get(name, name) for name in columns)
    for name, count in Counter(columns).items():
        if name not in places:
            raise MatrixError(
                f"{path} has no column '{name}'.",
                hint=f"It has: {', '.join(names[:30])}{' …' if len(names) > 30 else ''}.",
                code="no-such-column",
            )
        if count < len(places[name]):
            raise MatrixError(
                f"{path} has {len(places[name])} columns '{name}'.",
                hint="Rename them, or give the name as often to take them all.",
                code="no-such-column",
            )
    return [places[name].pop(0) for name in columns if places[name]]


def is_number(kind: Any) -> bool:
    """Whether an Arrow type holds numbers; one without values may.

    Example:
        >>> is_number(pa.decimal128(5, 2)), is_number(pa.duration("s"))
        (True, False)
    """
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
        or getattr(kind, "extension_name", "") == "arrow.bool8"
    )


def is_words(kind: Any) -> bool:
    """Whether an Arrow type holds text or categories."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_dictionary(kind)
    )


def narrow_dtype(types: list[Any]) -> DType:
    """float32 where every column is float32 or narrower, else float64."""
    narrow = all(pa.types.is_float32(kind) or pa.types.is_float16(kind) for kind in types)
    return FLOAT32 if narrow else FLOAT64


def table_of(W: Array, names: list[str] | None = None) -> Any:
    """An array as an Arrow table, with columns named 0, 1, 2 … or as given."""
    labels = names or [str(position) for position in range(W.shape[1])]
    return pa.table([pa.array(column) for column in W.T], names=labels)
