"""What `report.json` has to hold before figures of it are used: it lies in a folder of others."""

import math
from collections.abc import Mapping
from typing import Any, Final, get_args

from eckart.factorization.outcome import Grade
from eckart.storage.adapters.rounding import DTYPES

_NUMBER: Final = (int, float)
_MAYBE: Final = (int, float, type(None))
_DOCUMENT: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("source", "base", "tuned", "folder", "command", "version"), (str,)),
    "grade": (str,),
    **dict.fromkeys(("settings", "curve"), (dict,)),
    **dict.fromkeys(("notes", "tensors"), (list,)),
    **dict.fromkeys(("seconds", "delta_norm", "relative_error"), _NUMBER),
    **dict.fromkeys(("relative_error_of_layers", "bytes", "factor_bytes", "unchanged"), _NUMBER),
}
_TENSOR: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("name", "state", "why"), (str,)),
    "shape": (list,),
    "bytes": _NUMBER,
    "delta_norm": _MAYBE,
    "share_of_delta": _NUMBER,
}
_FACTORED: Final[Mapping[str, tuple[type, ...]]] = {
    "rank": (int,),
    "delta_norm": _NUMBER,
    **dict.fromkeys(("relative_error", "best_possible_error", "relative_change"), _NUMBER),
    "gap": _MAYBE,
    "singular_values": (list,),
    "seconds": _NUMBER,
}


def is_report(document: Any) -> bool:
    """Whether a document is that of an extraction, each of its figures of the right kind."""
    if not _has(document, _DOCUMENT) or not _is_finite(document):
        return False
    dtype, curve, notes = document["settings"].get("dtype"), document["curve"], document["notes"]
    return (
        document["grade"] in get_args(Grade)
        and isinstance(dtype, str)
        and dtype in DTYPES
        and all(isinstance(note, str) for note in notes)
        and all(_are_numbers(curve.get(key)) for key in ("bytes", "shared", "uniform"))
        and all(map(_is_tensor, document["tensors"]))
    )


def _is_tensor(one: Any) -> bool:
    if not _has(one, _TENSOR) or not _are_numbers(one["shape"]):
        return False
    if "relative_error" not in one and "rank" not in one:
        return True
    return _has(one, _FACTORED) and _are_numbers(one["singular_values"])


def _has(document: Any, fields: Mapping[str, tuple[type, ...]]) -> bool:
    """Whether a document has all these fields, each of one of its types."""
    return isinstance(document, dict) and all(
        key in document and _is(document[key], kinds) for key, kinds in fields.items()
    )


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_is(one, _NUMBER) for one in value)


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value is of one of these types: no truth value, and no number below 0."""
    below = isinstance(value, _NUMBER) and not value >= 0
    return isinstance(value, kinds) and not isinstance(value, bool) and not below


def _is_finite(value: Any) -> bool:
    """Whether no number of a document is NaN or infinity, which JSON has no words for."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
