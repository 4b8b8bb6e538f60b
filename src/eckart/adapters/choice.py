"""The rule for the rank of each layer: one rule for all, exceptions by pattern, and limits."""

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

from eckart.adapters.coverage import TensorPair
from eckart.adapters.delta import Delta
from eckart.arguments import check_number, check_whole, is_one_of
from eckart.errors import ArgumentError
from eckart.ranks import AboveThreshold

NOISE: Final = "noise"
"""Value of `rank` that counts the singular values above the noise of rounding."""
OF_DELTA: Final = "delta"
"""Value of `of` for a tolerance relative to ‖ΔW‖."""
OF_WEIGHT: Final = "W"
"""Value of `of` for a tolerance relative to ‖W_tuned‖."""


def _none() -> dict[str, int]:
    return {}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRanks:
    """The rule for the ranks of an adapter; exactly one of the first four fields is set.

    Fields:
        rank: One rank for every layer, or "noise": the number of singular values that rounding
            alone cannot explain.
        tolerance: Largest ‖ΔW − B·A‖ of every layer, relative to `of`.
        budget: Bytes that all factors may take together, spent where they lower the error most.
        ratio: Budget as a share of the bytes of the tuned weights that become factors.
        of: Reference of the tolerance: "delta" for ‖ΔW‖ or "W" for ‖W‖.
        relative: Whether the budget is spent by errors relative to ‖W‖ of each layer.
        overrides: Ranks by shell pattern of the module; the first pattern that matches counts.
        least, most: Limits of every rank.
        multiple: Number to whose multiples ranks are raised.

    Raises:
        ArgumentError: If not exactly one of the four is given, or a number is out of its range.
    """

    rank: int | str | None = None
    tolerance: float | None = None
    budget: int | None = None
    ratio: float | None = None
    of: str = OF_DELTA
    relative: bool = False
    overrides: dict[str, int] = field(default_factory=_none)
    least: int = 0
    most: int | None = None
    multiple: int = 1

    def __post_init__(self) -> None:
        ways = (self.rank, self.tolerance, self.budget, self.ratio)
        given = sum(way is not None for way in ways)
        if given != 1:
            raise ArgumentError(
                f"{given or 'None'} of rank, tolerance, budget and ratio "
                f"{'is' if given < 2 else 'are'} given.",
                hint="Give exactly one of the four.",
                code="rank-not-chosen" if not given else "rank-chosen-twice",
            )
        self._check_ways()
        self._check_limits()

    def _check_ways(self) -> None:
        # `rank == NOISE` of an array would be an array
        named = isinstance(self.rank, str) and self.rank == NOISE
        if self.rank is not None and not named and check_whole("rank", self.rank) < 1:
            raise _bad("rank", self.rank, 'a whole number from 1, or "noise"')
        for name, share in (("tolerance", self.tolerance), ("ratio", self.ratio)):
            if share is not None and not 0 < check_number(name, share) < 1:
                raise _bad(name, share, "a number between 0 and 1")
        if not is_one_of(self.of, (OF_DELTA, OF_WEIGHT)):
            raise _bad("reference of the tolerance", self.of, '"delta" or "W"')

    def _check_limits(self) -> None:
        overrides: Any = self.overrides  # callers without a type checker may pass anything
        if not isinstance(overrides, Mapping):
            raise _bad("ranks by pattern", overrides, "a dictionary of patterns and ranks")
        for pattern, rank in cast("Mapping[Any, Any]", overrides).items():
            if not isinstance(pattern, str) or check_whole("rank of a pattern", rank) < 0:
                raise _bad("rank of a pattern", rank, "text and a whole number from 0")
        for name in ("least", "most", "multiple"):
            if name != "most" or self.most is not None:
                check_whole(f"{name} rank", getattr(self, name))
        if self.multiple < 1 or self.least < 0 or (self.most or 1) < max(1, self.least):
            raise _bad("limit of the rank", self.most, "limits from 1, the least before the most")

    @property
    def is_shared(self) -> bool:
        """Whether the ranks depend on one another."""
        return self.budget is not None or self.ratio is not None

    def override(self, module: str) -> int | None:
        """The rank that a pattern gives to a module, or None."""
        return next((r for p, r in self.overrides.items() if fnmatch.fnmatchcase(module, p)), None)

    def limited(self, module: str, rank: int, shape: tuple[int, int]) -> int:
        """The rank within the limits, raised to the multiple, at most the full rank."""
        # a rank that the user gave by pattern is exempt from the limits
        if self.override(module) is None:
            rank = max(rank, self.least)
            rank = self.multiple * math.ceil(rank / self.multiple)
            # last, so that no multiple goes above the limit
            rank = rank if self.most is None else min(rank, self.most)
        return min(rank, *shape)

    def wanted(self, pair: TensorPair, delta: Delta, edge: float | None) -> dict[str, Any] | None:
        """The arguments of `factorize` that choose the rank of a layer; None for rank 0."""
        shape, own = delta.matrix.shape, self.override(pair.module)
        if own is not None:
            return {"rank": min(own, *shape)} if own > 0 else None
        if self.tolerance is not None:
            norm = math.sqrt(delta.matrix.squared_norm())
            # `factorize` takes tolerances relative to ‖ΔW‖
            scale = delta.weight_norm / norm if self.of == OF_WEIGHT else 1.0
            # the error without factors is ‖ΔW‖, which is within such a tolerance
            if self.tolerance * scale >= 1:
                return {"rank": 1} if self.least else None
            return {"tolerance": self.tolerance * scale}
        if edge is not None:
            return {"rank": AboveThreshold(edge)}
        if not isinstance(self.rank, int):
            raise ArgumentError("A budget is for all layers together.", code="rank-not-chosen")
        return {"rank": self.limited(pair.module, self.rank, shape)}


def _bad(what: str, value: object, wanted: str) -> ArgumentError:
    return ArgumentError(
        f"The {what} is {value}.", hint=f"Give {wanted}.", code=f"bad-{what.split()[0]}"
    )
