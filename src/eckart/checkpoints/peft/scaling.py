"""The scale by which PEFT multiplies B·A, which patterns may set for each layer."""

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

from eckart.checkpoints.folder import JsonObject
from eckart.checkpoints.peft.adapter import GATE_UP, expert_of, live_name
from eckart.errors import FormatError
from eckart.files.reading import damaged

MOST: Final = 4
"""Unbounded repetitions that a pattern may have: names are short, so their cost stays small."""
LONG: Final = 16
"""Bound of a repetition above which it counts as unbounded."""


def check_cost(pattern: str) -> None:
    r"""Refuse a pattern whose search can grow exponentially with the length of a name.

    For a repetition within a repetition Python tries every way to divide the name between them.

    Raises:
        re.error: If a repetition holds a repetition or a choice, or there are too many.

    Example:
        >>> check_cost(r"model\.layers\.(0|1)\..*q_proj")
    """
    parsed = import_module("re._parser").parse(pattern)  # re has no public parser
    repeated = list(_repetitions(parsed))
    if len(repeated) > MOST:
        raise re.error(f"it has more than {MOST} repetitions")
    for inner in repeated:
        if any(True for _ in _repetitions(inner)) or _has_choice(inner):
            raise re.error("it repeats a repetition or a choice")


def _repetitions(parsed: Any) -> Iterator[Any]:
    """Yield what is repeated without a bound, at any depth."""
    for operation, argument in parsed:
        if str(operation) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, inner = argument
            if int(most) > LONG:
                yield inner
        for below in _parts(argument):
            yield from _repetitions(below)


def _has_choice(parsed: Any) -> bool:
    """Whether a pattern holds a choice, or a reference to a group, at any depth."""
    return any(
        str(operation) in ("BRANCH", "GROUPREF") or any(map(_has_choice, _parts(argument)))
        for operation, argument in parsed
    )


def _parts(argument: Any) -> Iterator[Any]:
    """Yield the patterns that the argument of an operation holds."""
    kind = import_module("re._parser").SubPattern
    if isinstance(argument, kind):
        yield argument
    elif isinstance(argument, list | tuple):
        for part in argument:
            yield from _parts(part)


_OTHERS: Final = {
    "use_dora": "DoRA",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "layer_replication": "layer replication",
    "trainable_token_indices": "trainable tokens",
}
"""Settings with which the change of a weight is not scale·B·A, and the names of their methods."""
_STARTS: Final = ("pissa", "olora", "loftq", "corda", "lora_ga")
"""Initialisations that change the weights of the base as well."""
MERGE_FIRST: Final = "Merge this adapter with PEFT, and extract one from the merged model."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The settings that determine the scale of each layer: alpha / r, or alpha / √r.

    Fields:
        rank: Rank of layers that no pattern matches.
        alpha: Alpha of layers that no pattern matches.
        ranks: Ranks by pattern.
        alphas: Alphas by pattern.
        root: Whether alpha is divided by √r instead of r.
        bias: Whether every adapted layer has a change of its bias.
        parameters: Ends of the names of parameters that are adapted by their own name.
    """

    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    root: bool
    bias: bool
    parameters: tuple[str, ...]

    def factor(self, module: str, *, rank: int, path: Path) -> float:
        """The scale of a layer."""
        expert = expert_of(module)
        # PEFT compares patterns with the name of the module, or with that of its parameter
        parameter = expert.parameter if expert else f"{live_name(module)}.weight"
        name = parameter if self.adapts(parameter) else module
        # gate_proj and up_proj of an expert are stacked; a plain layer may have the same name
        stacked = 2 if expert and name.endswith(f".{GATE_UP}") else 1
        wanted = _first(self.ranks, name, self.rank) / stacked
        if wanted != rank:
            raise FormatError(
                f"{path} is damaged: the factors of '{module}' have rank {rank}, "
                f"its settings say {wanted:g}.",
                hint="Check that both files are of the same adapter.",
                code="ranks-differ",
            )
        # stacked projections have twice the rank and twice the alpha of one, hence the same scale
        alpha = _first(self.alphas, name, self.alpha) / stacked
        return alpha / (math.sqrt(rank) if self.root else rank)

    def adapts(self, parameter: str) -> bool:
        """Whether a parameter is adapted by its own name."""
        return any(parameter == name or parameter.endswith(f".{name}") for name in self.parameters)


def scaling_of(document: JsonObject, path: Path) -> Scaling:
    """The scaling that a configuration describes; PEFT's defaults apply to missing settings."""
    ranks = _patterns(document, "rank_pattern", path)
    for pattern, rank in ranks.items():
        _check_rank(rank, f"rank_pattern of {pattern}", path)
    rank = document.get("r", 8)
    _check_rank(rank, "r", path)
    parameters: Any = document.get("target_parameters") or []
    if not isinstance(parameters, list):
        raise damaged(path, "target_parameters is no list")
    return Scaling(
        rank=int(rank),
        alpha=_number(document.get("lora_alpha", 8), "lora_alpha", path),
        ranks={pattern: int(rank) for pattern, rank in ranks.items()},
        alphas=_patterns(document, "alpha_pattern", path),
        root=flag(document, "use_rslora", path),
        bias=flag(document, "lora_bias", path),
        parameters=tuple(map(str, parameters)),
    )


def flag(document: JsonObject, key: str, path: Path) -> bool:
    """A setting that is on or off; a missing one is off."""
    value = document.get(key)
    if value not in (None, False, True):
        raise damaged(path, f"{key} is {value!r}")
    return bool(value)


def check_plain(document: JsonObject, path: Path) -> None:
    """Refuse an adapter whose change of a weight is not scale·B·A."""
    what = next((name for key, name in _OTHERS.items() if document.get(key)), None)
    start = document.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_STARTS):
        what = f"started by {start}"
    method = document.get("peft_type")
    if method is None:
        # MLX writes an adapter_config.json too, with other keys
        other = ", and is of MLX" if "lora_parameters" in document else ""
        hint = "Convert the adapter to the format of PEFT first."
        raise not_lora(path, f"is not of PEFT: it names no peft_type{other}", hint)
    if method != "LORA":
        what = str(method)
    if what is not None:
        raise not_lora(path, f"is not of a plain LoRA: it is {what}")


def not_lora(path: Path, what: str, hint: str = MERGE_FIRST) -> FormatError:
    """The error for an adapter that is none of LoRA as PEFT writes it."""
    return FormatError(f"{path} {what}.", hint=hint, code="not-lora")


def _first(patterns: Mapping[str, float], name: str, otherwise: float) -> float:
    """The setting of the first pattern that matches, by the rule of PEFT (`get_pattern_key`)."""
    for pattern, setting in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return setting
    return otherwise


def _patterns(document: JsonObject, key: str, path: Path) -> dict[str, float]:
    """Numbers by pattern; patterns that are invalid or take too long to match are refused."""
    patterns: Any = document.get(key) or {}
    if not isinstance(patterns, dict):
        raise damaged(path, f"{key} holds no patterns")
    for pattern in patterns:
        try:
            # PEFT wraps a pattern so, and a single `)` in it would change its meaning
            re.compile(f"({pattern})$")
            check_cost(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise damaged(path, f"'{pattern[:100]}' of {key} is no pattern: {error}") from error
    return {pattern: _number(value, key, path) for pattern, value in patterns.items()}


LARGEST: Final = sys.float_info.max
"""Largest number that a float holds."""


def _number(value: object, what: str, path: Path) -> float:
    """A finite number; True and False are instances of int, and are refused."""
    # compared, because `isfinite` fails for whole numbers beyond the range of floats
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise damaged(path, f"{what} is {repr(value)[:30]}")
    return float(value)


def _check_rank(value: object, what: str, path: Path) -> None:
    number = _number(value, what, path)
    if number < 1 or not number.is_integer():
        raise damaged(path, f"{what} is {value!r}")
