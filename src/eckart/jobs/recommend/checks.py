"""Arguments of Python callers that are of the wrong type or out of range, each in a sentence."""

import math
from collections.abc import Collection
from numbers import Integral, Real

import numpy as np

from eckart.errors import ArgumentError


def whole_number(name: str, value: object, *, least: int = 1, code: str | None = None) -> int:
    """A whole number from `least`, of Python's own type.

    Raises:
        ArgumentError: If it is none, with the code "bad-" and the name, or another.
    """
    if type(value) is not bool and isinstance(value, Integral) and int(value) >= least:
        return int(value)
    raise ArgumentError(
        f"The {name} is {value!r}.",
        hint=f"Give a whole number of at least {least}.",
        code=code or f"bad-{name}",
    )


def finite_number(name: str, value: object) -> float:
    """A finite number, of one of Python's own types.

    Raises:
        ArgumentError: If it is none, with the code "bad-" and the name.
    """
    if type(value) is bool or not isinstance(value, Real) or not math.isfinite(value):
        raise ArgumentError(
            f"The {name.replace('_', ' ')} is {value!r}.",
            hint="Give a finite number.",
            code=f"bad-{name.replace('_', '-')}",
        )
    return int(value) if isinstance(value, Integral) else float(value)


def check_word(name: str, value: object, words: Collection[str]) -> None:
    """Refuse what is none of some words.

    Raises:
        ArgumentError: With the code "bad-" and the name.
    """
    if not isinstance(value, str) or value not in words:
        raise ArgumentError(
            f"The {name} is {value!r}.", hint=f"Give one of {', '.join(words)}.", code=f"bad-{name}"
        )


def rating_scale(scale: object) -> tuple[float, float]:
    """The lowest and the highest rating, of Python's own types.

    Raises:
        ArgumentError: If it is none.
    """
    given = list(scale) if isinstance(scale, tuple | list) else []
    ends = [finite_number("scale", end) for end in given]
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ArgumentError(
            f"The scale is {scale!r}.",
            hint="Give the lowest and then the highest rating, such as (1, 5).",
            code="bad-scale",
        )
    return ends[0], ends[1]


def truth(name: str, value: object) -> bool:
    """True or False, of Python's own type.

    Raises:
        ArgumentError: If it is neither, with the code "bad-" and the name.
    """
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(
            f"What was given for {name} is {value!r}.",
            hint="Give True or False.",
            code=f"bad-{name}",
        )
    return bool(value)
