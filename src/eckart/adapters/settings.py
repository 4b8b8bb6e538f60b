"""The settings of an extraction: ranks, patterns of tensors, and the adapter to write."""

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, final

from eckart.arguments import check_number, check_whole, is_one_of
from eckart.checkpoints.peft import AdapterDType
from eckart.errors import ArgumentError, FormatError
from eckart.ranks import byte_count, check_one_way

Document: TypeAlias = dict[str, Any]
"""Plain numbers and text by name, as a file of JSON holds them."""
NOISE: Final = "noise"
"""Value of `rank` that counts the singular values above the noise of rounding."""
OF_DELTA: Final = "delta"
"""Value of `of` for a tolerance relative to ‖ΔW‖."""
OF_WEIGHT: Final = "W"
"""Value of `of` for a tolerance relative to ‖W_tuned‖."""
PROFILES: Final = ("peft", "portable")
"""Kinds of adapters: all that PEFT loads, or only what vLLM and llama.cpp accept too."""
FLOORS: Final = {"float32": None, "float16": "3·10⁻⁴", "bfloat16": "2·10⁻³"}
"""Relative error that rounding the factors to a dtype leaves at any rank, for a note."""


@final
@dataclass(frozen=True, slots=True)
class Option:
    """The option of `eckart extract` that sets a field, whose type and default are its own.

    `choices` are all possible texts, `least` is the smallest whole number, and `parse` makes the
    value of the field from the text of the option, or from its texts.
    """

    flag: str
    help: str
    choices: tuple[str, ...] = ()
    least: int | None = None
    metavar: str | None = None
    parse: Callable[[Any], Any] | None = None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # raised for text, and for more digits than Python converts
        raise ArgumentError(
            f"'{text[:100]}' is not a rank.", hint="Give a whole number.", code="rank-not-whole"
        ) from None


def _overrides(texts: Sequence[str]) -> dict[str, int]:
    overrides: dict[str, int] = {}
    for text in texts:
        # the last sign: a pattern may hold one itself
        pattern, _, rank = text.rpartition("=")
        if not pattern:
            raise ArgumentError(
                f"'{text}' names no rank.", hint="Write it like '*.q_proj=8'.", code="bad-override"
            )
        overrides[pattern] = _whole(rank)
    return overrides


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRanks:
    """The rule for the ranks of an adapter; exactly one of the first four fields is set.

    Each field is an argument of `extract_adapter`, where `of` is called `tolerance_of`.

    Raises:
        ArgumentError: If not exactly one of the four is given, or a number is out of its range.
    """

    rank: Annotated[
        int | str | None,
        Option(
            "--rank",
            "Rank of every layer; noise counts what rounding cannot explain.",
            metavar="N|noise",
            parse=lambda text: text if text == NOISE else _whole(text),
        ),
    ] = None
    tolerance: Annotated[
        float | None, Option("--tolerance", "Largest relative error of every layer.")
    ] = None
    budget: Annotated[
        int | None,
        Option("--budget", "Bytes of all factors together, such as 100MB.", parse=byte_count),
    ] = None
    ratio: Annotated[
        float | None, Option("--ratio", "Budget as a share of the weights' bytes.")
    ] = None
    of: Annotated[
        str, Option("--tolerance-of", "Reference of the tolerance.", choices=(OF_DELTA, OF_WEIGHT))
    ] = OF_DELTA
    relative: Annotated[bool, Option("--relative", "Spend a budget by errors relative to ‖W‖.")] = (
        False
    )
    overrides: Annotated[
        Mapping[str, int],
        Option(
            "--rank-of",
            "Rank of the modules that match, such as '*.q_proj=8'; 0 leaves them out.",
            metavar="PATTERN=N",
            parse=_overrides,
        ),
    ] = field(default_factory=dict[str, int])
    least: Annotated[int, Option("--min-rank", "Smallest rank of a layer.", least=0)] = 0
    most: Annotated[int | None, Option("--max-rank", "Largest rank of a layer.", least=1)] = None
    multiple: Annotated[
        int, Option("--multiple", "Raise ranks to multiples of this number.", least=1)
    ] = 1

    def __post_init__(self) -> None:
        check_one_way(self.rank, self.tolerance, self.budget, self.ratio)
        # `rank == NOISE` of an array would be an array
        named = isinstance(self.rank, str) and self.rank == NOISE
        if self.rank is not None and not named and check_whole("rank", self.rank) < 1:
            raise _bad("rank", self.rank, 'a whole number from 1, or "noise"')
        for name, share in (("tolerance", self.tolerance), ("ratio", self.ratio)):
            if share is not None and not 0 < check_number(name, share) < 1:
                raise _bad(name, share, "a number between 0 and 1")
        if not is_one_of(self.of, (OF_DELTA, OF_WEIGHT)):
            raise _bad("reference of the tolerance", self.of, '"delta" or "W"')
        self._check_limits()

    def _check_limits(self) -> None:
        overrides: Any = self.overrides  # callers without a type checker may pass anything
        if not isinstance(overrides, Mapping):
            raise _bad("ranks by pattern", overrides, "a dictionary of patterns and ranks")
        for pattern, rank in overrides.items():
            if not isinstance(pattern, str) or check_whole("rank of a pattern", rank) < 0:
                raise _bad("rank of a pattern", rank, "text and a whole number from 0")
        for name in ("least", "most", "multiple"):
            if name != "most" or self.most is not None:
                check_whole(f"{name} rank", getattr(self, name))
        if self.multiple < 1 or self.least < 0 or (self.most or 1) < max(1, self.least):
            raise _bad("limit of the rank", self.most, "limits from 1, the least before the most")

    def budget_bytes(self, stored: int) -> int:
        """The bytes for all factors of layers that take `stored`; 0 if ranks are not shared."""
        return int((self.ratio or 0.0) * stored) if self.budget is None else self.budget

    @property
    def is_shared(self) -> bool:
        """Whether the ranks depend on one another."""
        return self.budget is not None or self.ratio is not None

    def override(self, module: str) -> int | None:
        """The rank that a pattern gives to a module, or None."""
        return next((r for p, r in self.overrides.items() if fnmatch.fnmatchcase(module, p)), None)

    def limit(self, module: str, rank: int, shape: tuple[int, int]) -> int:
        """The rank within the limits, raised to the multiple, at most the full rank."""
        # a rank that the user gave by pattern is exempt from the limits
        if self.override(module) is None:
            rank = max(rank, self.least)
            rank = self.multiple * math.ceil(rank / self.multiple)
            # last, so that no multiple goes above the limit
            rank = rank if self.most is None else min(rank, self.most)
        return min(rank, *shape)


def _bad(what: str, value: object, wanted: str) -> ArgumentError:
    return ArgumentError(
        f"The {what} is {value}.", hint=f"Give {wanted}.", code=f"bad-{what.split()[0]}"
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """The tensors that a user wants, by shell patterns such as `*.q_proj.*`.

    Both fields are arguments of `extract_adapter`.
    """

    include: Annotated[
        tuple[str, ...], Option("--include", "Take only matching tensors.", metavar="PATTERN")
    ] = ()
    exclude: Annotated[
        tuple[str, ...], Option("--exclude", "Leave out matching tensors.", metavar="PATTERN")
    ] = ()

    def allow(self, name: str) -> bool:
        """Whether a name is wanted."""
        # not `fnmatch.fnmatch`, which ignores case on Windows
        wanted = not self.include or any(fnmatch.fnmatchcase(name, p) for p in self.include)
        return wanted and not any(fnmatch.fnmatchcase(name, p) for p in self.exclude)

    def check(self, names: Sequence[str]) -> None:
        """Refuse a pattern that matches no name, because it is most likely a mistake."""
        for pattern in (*self.include, *self.exclude):
            if not fnmatch.filter(names, pattern):
                raise FormatError(
                    f"The pattern '{pattern}' matches no tensor.",
                    hint=f"Names look like '{names[0]}'; use * for any characters.",
                    code="pattern-matches-nothing",
                )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings that, with the two checkpoints, determine every byte of an adapter.

    Each field is an argument of `extract_adapter` or, in `ranks` and `patterns`, several.
    """

    ranks: LayerRanks
    patterns: Patterns
    dtype: Annotated[
        AdapterDType, Option("--dtype", "Dtype of the stored factors.", choices=tuple(FLOORS))
    ] = "float32"
    profile: Annotated[
        str,
        Option(
            "--profile",
            "portable makes an adapter that vLLM and llama.cpp accept.",
            choices=PROFILES,
        ),
    ] = "peft"
    base_name: Annotated[
        str | None, Option("--base-name", "Name of the base that the adapter states.")
    ] = None
    seed: Annotated[int, Option("--seed", "Seed of everything random.", least=0)] = 0
    calibration: Annotated[
        Path | None, Option("--calibration", "Second moments of inputs, from eckart calibrate.")
    ] = None
    check: Annotated[
        bool,
        Option(
            "--check/--no-check",
            "Attach the adapter to the model, without its numbers, before it is written.",
        ),
    ] = True
    check_forward: Annotated[
        bool,
        Option(
            "--check-forward",
            "Run base + adapter and the fine-tune once, and say how far apart they are.",
        ),
    ] = False

    def __post_init__(self) -> None:
        if not is_one_of(self.profile, PROFILES):
            raise ArgumentError(
                f"There is no profile '{self.profile}'.",
                hint=f"Give {' or '.join(PROFILES)}.",
                code="no-such-profile",
            )

    def to_dict(self) -> Document:
        """The settings as plain numbers and text, in the form that a file keeps."""
        document = asdict(self)
        patterns = document.pop("patterns")
        document["calibration"] = self.calibration and str(self.calibration)
        return {**document, **{name: list(value) for name, value in patterns.items()}}
