"""Arguments of Python callers that are of the wrong type or out of range, each in a sentence."""

import math
from collections.abc import Collection
from numbers import Integral, Real

import numpy as np

from eckart.errors import ArgumentError


def check_whole(name: str, value: object, *, least: int = 1, code: str | None = None) -> None:
    """Refuse what is no whole number from `least`.

    Raises:
        ArgumentError: With the code "bad-" and the name, or another.
    """
    if type(value) is not bool and isinstance(value, Integral) and int(value) >= least:
        return
    raise ArgumentError(
        f"The {name} is {value!r}.",
        hint=f"Give a whole number of at least {least}.",
        code=code or f"bad-{name}",
    )


def check_number(name: str, value: object) -> None:
    """Refuse what is no finite number.

    Raises:
        ArgumentError: With the code "bad-" and the name.
    """
    if type(value) is bool or not isinstance(value, Real) or not math.isfinite(value):
        raise ArgumentError(
            f"The {name.replace('_', ' ')} is {value!r}.",
            hint="Give a finite number.",
            code=f"bad-{name.replace('_', '-')}",
        )


def check_word(name: str, value: object, words: Collection[str]) -> None:
    """Refuse what is none of some words.

    Raises:
        ArgumentError: With the code "bad-" and the name.
    """
    if not isinstance(value, str) or value not in words:
        raise ArgumentError(
            f"The {name} is {value!r}.", hint=f"Give one of {', '.join(words)}.", code=f"bad-{name}"
        )


def check_scale(scale: object) -> None:
    """Refuse what is no lowest and highest rating.

    Raises:
        ArgumentError: If so.
    """
    ends = list(scale) if isinstance(scale, tuple | list) else []
    for end in ends:
        check_number("scale", end)
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ArgumentError(
            f"The scale is {scale!r}.",
            hint="Give the lowest and then the highest rating, such as (1, 5).",
            code="bad-scale",
        )


def check_truth(name: str, value: object) -> None:
    """Refuse what is neither true nor false.

    Raises:
        ArgumentError: With the code "bad-" and the name.
    """
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(
            f"What was given for {name} is {value!r}.",
            hint="Give True or False.",
            code=f"bad-{name}",
        )
