"""Settings of the fit of a recommender."""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, final

from eckart.completion.objective import Observed
from eckart.errors import ArgumentError
from eckart.recommend.feedback import check_word, finite_number, truth, whole_number
from eckart.recommend.interactions import Interactions

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
