"""Checks that an argument is a number, a number of bytes, a flag, a list or a path."""

import math
import operator
from collections.abc import Collection
from pathlib import Path
from typing import Any

from eckart.errors import ArgumentError


def check_number(name: str, number: Any) -> float:
    """Return `number` as a float.

    Raises:
        ArgumentError: If it is no real number or NaN; the code is "bad-" and the name.
    """
    # float() accepts True, "0.5" and, in some versions of NumPy, an array of one number
    if not isinstance(number, bool | str | bytes) and getattr(number, "ndim", 0) == 0:
        try:
            found = float(number)
        # OverflowError: a whole number beyond float64
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not math.isnan(found):
            return found
    raise _wrong(name, number, "Give a number.")


def check_positive(name: str, number: Any) -> None:
    """Refuse a number that is not above 0, or infinite.

    Raises:
        ArgumentError: If it is; the code is "bad-" and the name.
    """
    if not 0 < check_number(name, number) < math.inf:
        raise ArgumentError(
            f"The {name} is {number}.",
            hint="Give a positive number.",
            code=f"bad-{name.replace(' ', '-')}",
        )


def check_open_unit(name: str, number: float) -> None:
    """Refuse a number that is not between 0 and 1.

    Raises:
        ArgumentError: If it is not; the message and the code name it.
    """
    if not 0 < check_number(name, number) < 1:
        raise ArgumentError(
            f"The {name} is {number}.",
            hint=f"Give a {name} between 0 and 1.",
            code=f"bad-{name}",
        )


def check_whole(name: str, number: Any) -> int:
    """Return `number` as an int.

    Raises:
        ArgumentError: If it is no whole number; the code is "bad-" and the name.
    """
    if not isinstance(number, bool):  # operator.index(True) is 1
        try:
            return operator.index(number)
        except TypeError:
            pass
    raise _wrong(name, number, "Give a whole number.")


def check_flag(name: str, flag: Any) -> bool:
    """Return `flag` as True or False; 0 and 1 are accepted.

    Raises:
        ArgumentError: If it is anything else; the code is "bad-" and the name.
    """
    # NumPy's booleans are no bool; an array compared with 0 gives an array, which has no truth
    if getattr(flag, "ndim", 0) == 0 and flag in (0, 1):
        return bool(flag)
    raise _wrong(name, flag, "Give True or False.")


def byte_count(text: int | str) -> int:
    """Return the number of bytes that text such as "10MB", "2GiB" or "4096" names.

    Raises:
        ArgumentError: If the text is not a number of bytes.

    Example:
        >>> byte_count("10MB"), byte_count("2 KiB")
        (10000000, 2048)
    """
    if not isinstance(text, str):
        return check_whole("number of bytes", text)
    number = text.strip().rstrip("BbIiKkMmGgTt ")
    unit = text.strip()[len(number) :].strip().lower()
    scales = {"": 1, "b": 1}
    for power, letter in enumerate("kmgt", start=1):
        scales |= {
            letter: 1000**power,
            f"{letter}b": 1000**power,
            f"{letter}ib": 1024**power,
        }
    try:
        size = float(number) * scales[unit]
    except (ValueError, KeyError):
        size = math.nan
    if not math.isfinite(size):
        raise ArgumentError(
            f"'{text}' is not a number of bytes.",
            hint="Write it like 10MB or 512KiB.",
            code="bad-bytes",
        )
    return int(size)


def is_one_of(word: Any, words: Collection[str]) -> bool:
    """Whether `word` is a string and one of `words`."""
    return isinstance(word, str) and word in words


def check_list(name: str, values: Any) -> list[Any]:
    """Return a list or tuple as a list; a string is refused.

    Raises:
        ArgumentError: If it is anything else; the code is "bad-" and the name.
    """
    if isinstance(values, list | tuple):
        return list(values)
    raise _wrong(name, values, "Give a list.")


def as_path(path: Any) -> Path:
    """Return a string or path-like object as a `pathlib.Path`.

    Raises:
        ArgumentError: If it is neither a string nor a path.
    """
    try:
        return Path(path)
    except TypeError:
        raise _wrong("path", path, "Give text or a pathlib.Path.") from None


def _wrong(name: str, value: object, hint: str) -> ArgumentError:
    text = repr(value)
    # an array or a table would fill the screen
    text = text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"
    code = f"bad-{name.replace(' ', '-')}"
    return ArgumentError(f"The {name} is {text}.", hint=hint, code=code)
