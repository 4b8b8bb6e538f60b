"""What ratings stand for, and checks of arguments that are out of range."""

import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, Final, final

import numpy as np

from eckart.errors import ArgumentError


def whole_number(name: str, value: object, *, least: int = 1, code: str | None = None) -> int:
    """Check that a value is a whole number of at least `least`; returns it as an int.

    Raises:
        ArgumentError: If it is not; the code is "bad-" and the name unless `code` is given.
    """
    # True is an Integral, but no number that anybody meant
    if type(value) is not bool and isinstance(value, Integral) and int(value) >= least:
        return int(value)
    raise ArgumentError(
        f"The {name} is {value!r}.",
        hint=f"Give a whole number of at least {least}.",
        code=code or f"bad-{name}",
    )


def finite_number(name: str, value: object) -> float:
    """Check that a value is a finite number; returns it as an int or a float.

    Raises:
        ArgumentError: If it is not; the code is "bad-" and the name.
    """
    if type(value) is bool or not isinstance(value, Real) or not math.isfinite(value):
        raise ArgumentError(
            f"The {name.replace('_', ' ')} is {value!r}.",
            hint="Give a finite number.",
            code=f"bad-{name.replace('_', '-')}",
        )
    # of Python's own types, which JSON can write, not of NumPy's
    return int(value) if isinstance(value, Integral) else float(value)


def check_word(name: str, value: object, words: Collection[str]) -> None:
    """Check that a value is one of some words.

    Raises:
        ArgumentError: If it is not; the code is "bad-" and the name.
    """
    if not isinstance(value, str) or value not in words:
        raise ArgumentError(
            f"The {name} is {value!r}.", hint=f"Give one of {', '.join(words)}.", code=f"bad-{name}"
        )


def rating_scale(scale: object) -> tuple[float, float]:
    """Check that a value is a pair of the lowest and the highest rating; returns plain numbers.

    Raises:
        ArgumentError: If it is not such a pair.
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
    """Check that a value is true or false; returns it as a bool.

    Raises:
        ArgumentError: If it is neither; the code is "bad-" and the name.
    """
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(
            f"What was given for {name} is {value!r}.",
            hint="Give True or False.",
            code=f"bad-{name}",
        )
    return bool(value)


CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "implicit": partial(truth, "implicit"),
    "at_least": partial(finite_number, "at_least"),
    "disliked": partial(finite_number, "disliked"),
    "scale": rating_scale,
}
"""For each field, the function that checks a given value and returns it as a plain one."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """Whether ratings are predicted as ratings or read as interactions and dislikes.

    Fields:
        implicit: Whether only the fact of an interaction counts; None decides by whether there are
            ratings.
        at_least: The lowest rating that counts as an interaction; lower ones are left out.
        disliked: The highest rating that counts as a dislike, a zero with the weight of an
            interaction.
        scale: The lowest and the highest possible rating.

    Raises:
        ArgumentError: If two settings contradict each other.

    Example:
        >>> Feedback(at_least=4, disliked=2).disliked
        2
    """

    implicit: bool | None = None
    at_least: float | None = None
    disliked: float | None = None
    scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, checked in CHECKS.items():
            given = getattr(self, name)
            # the dataclass is frozen; fields are set once, here
            object.__setattr__(self, name, None if given is None else checked(given))
        if self.disliked is None:
            return
        if self.at_least is None and not self.implicit:
            raise ArgumentError(
                "Dislikes mean something among interactions only; low ratings are ratings.",
                hint="Give `at_least`, or `implicit=True`.",
                code="option-does-not-apply",
            )
        if self.at_least is not None and self.disliked >= self.at_least:
            raise ArgumentError(
                f"Ratings of at least {self.at_least:g} are interactions, and of at most "
                f"{self.disliked:g} dislikes.",
                hint="Let dislikes end below where interactions begin.",
                code="bad-disliked",
            )

    @property
    def judges(self) -> bool:
        """Whether ratings decide what is an interaction."""
        return self.at_least is not None or self.disliked is not None

    @property
    def needs_ratings(self) -> bool:
        """Whether these settings need a column of ratings."""
        # `implicit` alone also applies to tables without ratings
        return self.judges or self.implicit is False

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    @staticmethod
    def of_dict(document: dict[str, Any]) -> "Feedback":
        """The feedback that `to_dict` described.

        Raises:
            ArgumentError: If two settings contradict each other.
            TypeError: If a value has another type.
        """
        scale = document.get("scale")
        return Feedback(
            implicit=document.get("implicit"),
            at_least=document.get("at_least"),
            disliked=document.get("disliked"),
            scale=None if scale is None else (float(scale[0]), float(scale[1])),
        )
