"""Settings of the fit of a recommender, and what its ratings stand for.

Each setting is one field: the option of `eckart recommend fit`, the argument of
`LowRankRecommender`, its check and its place in the document of a model follow from that field.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, final

from eckart.errors import ArgumentError

# only for types: the options of the terminal are made from this file, and `--help` loads no NumPy
if TYPE_CHECKING:
    from eckart.completion.objective import Observed
    from eckart.recommend.interactions import Interactions

Value = TypeVar("Value")
Method: TypeAlias = Literal["als", "cholesky", "blocks", "gd", "gibbs"]
Scale: TypeAlias = tuple[float, float]
"""The lowest and the highest rating."""
METHODS: Final[tuple[Method, ...]] = ("als", "cholesky", "blocks", "gd", "gibbs")
DEFAULT_UNOBSERVED_WEIGHT: Final = 0.1
"""α where none is given, used without ratings."""


def whole_number(name: str, value: object, *, least: int = 1, code: str | None = None) -> int:
    """Check that a value is a whole number of at least `least`; returns it as an int."""
    # True is an Integral, but no number that anybody meant
    if type(value) is not bool and isinstance(value, Integral) and int(value) >= least:
        return int(value)
    raise ArgumentError(
        f"The {name} is {value!r}.",
        hint=f"Give a whole number of at least {least}.",
        code=code or f"bad-{name}",
    )


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False


def finite_number(name: str, value: object) -> float:
    """Check that a value is a finite number; returns it as an int or a float."""
    if type(value) is bool or not isinstance(value, Real) or not _is_finite(value):
        raise ArgumentError(
            f"The {name.replace('_', ' ')} is {repr(value)[:30]}.",
            hint="Give a finite number.",
            code=f"bad-{name.replace('_', '-')}",
        )
    # of Python's own types, which JSON can write, not of NumPy's
    return int(value) if isinstance(value, Integral) else float(value)


def check_word(name: str, value: object, words: Collection[str]) -> None:
    """Check that a value is one of some words."""
    if not isinstance(value, str) or value not in words:
        raise ArgumentError(
            f"The {name} is {value!r}.", hint=f"Give one of {', '.join(words)}.", code=f"bad-{name}"
        )


def _check_truth(name: str, value: object) -> bool:
    """Check that a value is true or false, of Python or of NumPy, whose booleans are no bool."""
    is_numpy = getattr(value, "shape", None) == () and str(getattr(value, "dtype", "")) == "bool"
    if isinstance(value, bool) or is_numpy:
        return bool(value)
    raise ArgumentError(
        f"What was given for {name} is {value!r}.", hint="Give True or False.", code=f"bad-{name}"
    )


def _check_scale(name: str, value: Any) -> Scale:
    given = list(value) if isinstance(value, tuple | list) else []
    ends = [finite_number(name, end) for end in given]
    if len(ends) == 2 and ends[0] < ends[1]:
        return ends[0], ends[1]
    raise ArgumentError(
        f"The scale is {value!r}.",
        hint="Give the lowest and then the highest rating, such as (1, 5).",
        code="bad-scale",
    )


CHECKS: Final[dict[object, Callable[[str, object], object]]] = {
    int: whole_number, float: finite_number, bool: _check_truth, Scale: _check_scale,
}  # fmt: skip
"""The check of a setting of each kind, which returns a plain value of Python."""


def setting(default: Value, kind: object, help_text: str = "", *, flag: str = "") -> Value:
    """Describe a setting as a field of a dataclass.

    Args:
        default: The default value; None stands for a value that is chosen.
        kind: `int`, `float`, `bool`, `Scale`, or the words that are possible.
        help_text: Help of the option of `eckart recommend fit`; without it there is no option.
        flag: Name of the option where it is not that of the field.
    """
    return field(default=default, metadata={"kind": kind, "help": help_text, "flag": flag})


def _check_fields(
    settings: "Feedback | Settings", **checks: Callable[[str, object], object]
) -> None:
    """Check every value that was given, by its own check or that of its kind, and make it plain."""
    for one in fields(settings):
        given, kind = getattr(settings, one.name), one.metadata["kind"]
        check = checks.get(one.name) or CHECKS.get(kind)
        if check is None:
            check_word(one.name, given, kind)
        elif given is not None or one.default is not None:
            # the dataclass is frozen; fields are set once, here
            object.__setattr__(settings, one.name, check(one.name, given))


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

    implicit: bool | None = setting(None, bool, "Only the fact of an interaction counts.")
    at_least: float | None = setting(
        None, float, "Keep ratings of at least this as interactions.", flag="--min-rating"
    )
    disliked: float | None = setting(None, float, "Take ratings of at most this as dislikes.")
    scale: Scale | None = setting(None, Scale, "The lowest and the highest possible rating.")

    def __post_init__(self) -> None:
        _check_fields(self)
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

    @staticmethod
    def of_dict(document: dict[str, Any]) -> "Feedback":
        """The feedback that a document of its fields describes."""
        return Feedback(**{one.name: document.get(one.name) for one in fields(Feedback)})


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

    rank: int = setting(32, int, "Columns of B.  [default: 32]")
    regularization: float | None = setting(
        None, float, "λ; chosen on a part of the input if left out."
    )
    count_exponent: float = setting(1.0, float, "ν: the penalty grows with counts^ν.  [default: 1]")
    unobserved_weight: float | None = setting(
        None, float, "α: weight of unobserved entries, without ratings.  [default: 0.1]"
    )
    implicit_features: float = setting(0.0, float, "Weight of the pattern of rated items.")
    nonnegative: bool = setting(False, bool, "Keep all factors nonnegative.")
    attribute_weight: float = setting(
        1.0, float, "How much each attribute counts beside an interaction.  [default: 1]"
    )
    method: Method = setting(
        "als",
        METHODS,
        "als (conjugate gradients), cholesky, blocks, gd (stochastic), gibbs.  [default: als]",
        flag="--solver",
    )
    epochs: int | None = setting(None, int, "Sweeps over all users and items.")
    seed: int = setting(0, int)

    def __post_init__(self) -> None:
        _check_fields(
            self,
            rank=partial(whole_number, code="rank-too-small"),
            seed=partial(whole_number, least=0),
        )
        # 0 would make it the objective for ratings, which are all 1 here
        if self.unobserved_weight == 0:
            raise ArgumentError(
                "The unobserved weight is 0, so anything is explained by ones everywhere.",
                hint="Give a number above 0.",
                code="bad-unobserved-weight",
            )
        # made once to be checked: `Observed` refuses numbers out of range
        self.objective(explicit=self.unobserved_weight is None)

    def objective(self, *, explicit: bool) -> "Observed":
        """The objective for ratings (`explicit`) or for interactions."""
        from eckart.completion.objective import Observed

        weight = self.unobserved_weight
        if weight is None:
            weight = DEFAULT_UNOBSERVED_WEIGHT
        return Observed(
            regularization=self.regularization,
            count_exponent=self.count_exponent,
            unobserved_weight=0.0 if explicit else weight,
            implicit_features=self.implicit_features if explicit else 0.0,
            nonnegative=self.nonnegative,
            attribute_weight=self.attribute_weight,
        )

    def adapt(self, data: "Interactions") -> tuple["Settings", list[str]]:
        """Adapt these settings to some interactions; returns also notes on what was changed.

        Raises:
            ArgumentError: If a setting does not apply to these interactions.
        """
        explicit = data.ratings is not None
        for is_wrong, message, hint in (
            (explicit and self.unobserved_weight is not None,
             "An unobserved weight means nothing for ratings.", "Add `implicit=True`."),
            (not explicit and self.implicit_features,
             "Implicit features mean nothing without ratings.", "Leave them out."),
            (not explicit and self.method == "gibbs",
             "A Bayesian model takes ratings.", "Choose another `method`."),
            (not data.has_attributes and self.attribute_weight != 1,
             "A weight of attributes means nothing without any.", "Leave it out."),
            (data.has_attributes and self.method in ("gd", "gibbs"),
             f"The solver {self.method} takes no attributes.",
             "Leave them out, or fit by als, cholesky or blocks."),
        ):  # fmt: skip
            if is_wrong:
                raise ArgumentError(message, hint=hint, code="option-does-not-apply")
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
        return asdict(self)
