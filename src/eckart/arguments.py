"""Whether an argument is of the kind that it should be."""

import math
import operator
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from eckart.errors import ArgumentError


def check_number(name: str, number: Any) -> float:
    """A real number, not NaN.

    Raises:
        ArgumentError: If it is anything else, with the code "bad-" and the name.

    Example:
        >>> check_number("tolerance", 0.5)
        0.5
    """
    if not isinstance(number, bool | str | bytes) and getattr(number, "ndim", 0) == 0:
        try:
            found = float(number)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not math.isnan(found):
            return found
    raise _wrong(name, number, "Give a number.")


def check_whole(name: str, number: Any) -> int:
    """A whole number.

    Raises:
        ArgumentError: If it is anything else, with the code "bad-" and the name.

    Example:
        >>> check_whole("rank", 3)
        3
    """
    if not isinstance(number, bool):
        try:
            return operator.index(number)
        except TypeError:
            pass
    raise _wrong(name, number, "Give a whole number.")


def check_flag(name: str, flag: Any) -> bool:
    """True or False.

    Raises:
        ArgumentError: If it is anything else, with the code "bad-" and the name.

    Example:
        >>> check_flag("certificate", True)
        True
    """
    if getattr(flag, "ndim", 0) == 0 and flag in (0, 1):
        return bool(flag)
    raise _wrong(name, flag, "Give True or False.")


def is_one_of(word: Any, words: Collection[str]) -> bool:
    """Whether something is a text, and one of some.

    Example:
        >>> is_one_of("delta", ("delta", "W"))
        True
    """
    return isinstance(word, str) and word in words


def check_list(name: str, values: Any) -> list[Any]:
    """Several values, none of them letters of a text.

    Raises:
        ArgumentError: If it is anything else, with the code "bad-" and the name.

    Example:
        >>> check_list("adapters", ("a", "b"))
        ['a', 'b']
    """
    if isinstance(values, list | tuple):
        return list(cast("list[Any]", values))
    raise _wrong(name, values, "Give a list.")


def as_path(path: Any) -> Path:
    """The path of a file.

    Raises:
        ArgumentError: If it is no text and no path.

    Example:
        >>> as_path("W.npy").suffix
        '.npy'
    """
    try:
        return Path(path)
    except TypeError:
        raise _wrong("path", path, "Give text or a pathlib.Path.") from None


def _wrong(name: str, value: object, hint: str) -> ArgumentError:
    said = repr(value)
    said = said if len(said) <= 60 and "\n" not in said else f"a {type(value).__name__}"
    code = f"bad-{name.replace(' ', '-')}"
    return ArgumentError(f"The {name} is {said}.", hint=hint, code=code)
