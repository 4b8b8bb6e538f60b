"""Settings of the fit of a recommender, and what its ratings stand for."""

import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np

from eckart.completion.objective import Observed
from eckart.errors import ArgumentError
from eckart.recommend.interactions import Interactions


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


Method: TypeAlias = Literal["als", "cholesky", "blocks", "gd", "gibbs"]
METHODS: Final[tuple[Method, ...]] = ("als", "cholesky", "blocks", "gd", "gibbs")
NUMBERS: Final = ("regularization", "count_exponent", "unobserved_weight", "implicit_features",
                  "attribute_weight")  # fmt: skip
RANK: Final = 32
"""The default rank."""
UNOBSERVED: Final = 0.1
"""The default α, used without ratings."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a model is fitted; settings that are None are chosen.

    Fields:
        rank: Number of columns of B; lowered to the number of users or items if there are fewer.
        regularization: λ, the weight of the penalty; None chooses it on a held-out part of the
            input.
        count_exponent: ν: the penalty of a user or item with n entries grows with n^ν.
        unobserved_weight: α, the weight with which unobserved entries count as zeros; only without
            ratings. None is 0.1.
        implicit_features: Weight of the pattern of rated items, which is fitted beside the ratings.
        nonnegative: Whether factors must be nonnegative.
        attribute_weight: Weight of the squared error of each attribute, beside an interaction.
        method: als, cholesky, blocks, gd or gibbs.
        epochs: Number of sweeps over both sides; None takes the default of the method.
        seed: Seed of everything random.

    Raises:
        ArgumentError: If a number is out of its range, or two settings contradict each other.

    Example:
        >>> Settings(rank=8).rank
        8
    """

    rank: int = RANK
    regularization: float | None = None
    count_exponent: float = 1.0
    unobserved_weight: float | None = None
    implicit_features: float = 0.0
    nonnegative: bool = False
    attribute_weight: float = 1.0
    method: Method = "als"
    epochs: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_word("method", self.method, METHODS)
        # of Python's own types, which the document of a model can hold
        plain: dict[str, Any] = {
            "rank": whole_number("rank", self.rank, code="rank-too-small"),
            "seed": whole_number("seed", self.seed, least=0),
            "nonnegative": truth("nonnegative", self.nonnegative),
        }
        if self.epochs is not None:
            plain["epochs"] = whole_number("epochs", self.epochs)
        for name in NUMBERS:
            if getattr(self, name) is not None:
                plain[name] = finite_number(name, getattr(self, name))
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        # 0 would make it the objective for ratings, which are all 1 here
        if self.unobserved_weight == 0:
            raise ArgumentError(
                "The unobserved weight is 0, so anything is explained by ones everywhere.",
                hint="Give a number above 0.",
                code="bad-unobserved-weight",
            )
        # made once to be checked: `Observed` refuses numbers out of range
        self.objective(explicit=self.unobserved_weight is None, regularization=None)

    def objective(self, *, explicit: bool, regularization: float | None) -> Observed:
        """The objective for ratings (`explicit`) or for interactions."""
        chosen = self.regularization if regularization is None else regularization
        if not explicit:
            weight = UNOBSERVED if self.unobserved_weight is None else self.unobserved_weight
            return Observed(
                regularization=chosen,
                count_exponent=self.count_exponent,
                unobserved_weight=weight,
                nonnegative=self.nonnegative,
                attribute_weight=self.attribute_weight,
            )
        return Observed(
            regularization=chosen,
            count_exponent=self.count_exponent,
            implicit_features=self.implicit_features,
            nonnegative=self.nonnegative,
            attribute_weight=self.attribute_weight,
        )

    def fitting(self, data: Interactions) -> tuple["Settings", list[str]]:
        """Adapt these settings to some interactions; returns also notes on what was changed.

        Raises:
            ArgumentError: If a setting does not apply to these interactions.
        """
        explicit = data.ratings is not None
        if explicit and self.unobserved_weight is not None:
            raise _apart("An unobserved weight means nothing for ratings.", "Add `implicit=True`.")
        if not explicit and self.implicit_features:
            raise _apart("Implicit features mean nothing without ratings.", "Leave them out.")
        if not explicit and self.method == "gibbs":
            raise _apart("A Bayesian model takes ratings.", "Choose another `method`.")
        if not data.has_attributes and self.attribute_weight != 1:
            raise _apart("A weight of attributes means nothing without any.", "Leave it out.")
        if data.has_attributes and self.method in ("gd", "gibbs"):
            raise _apart(
                f"The solver {self.method} takes no attributes.",
                "Leave them out, or fit by als, cholesky or blocks.",
            )
        # no matrix of this shape has a larger rank
        most = min(data.shape)
        if self.rank <= most:
            return self, []
        which = f"{most} users" if most == len(data.users) else f"{most} items"
        which = which.removesuffix("s") if most == 1 else which
        note = f"Rank {self.rank} is more than {which} can fill; rank {most} is fitted."
        return replace(self, rank=most), [note]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {
            "rank": self.rank,
            "regularization": self.regularization,
            "count_exponent": self.count_exponent,
            "unobserved_weight": self.unobserved_weight,
            "implicit_features": self.implicit_features,
            "nonnegative": self.nonnegative,
            "attribute_weight": self.attribute_weight,
            "method": self.method,
            "epochs": self.epochs,
            "seed": self.seed,
        }


def _apart(message: str, hint: str) -> ArgumentError:
    return ArgumentError(message, hint=hint, code="option-does-not-apply")
