"""What PEFT multiplies B·A with, each layer's own where patterns say so."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast, final

from eckart.checkpoints.peft.experts import GATE_UP, expert_of, live_name
from eckart.errors import FormatError
from eckart.files.whole import damaged

MOST: Final = 4
"""Repetitions without an end that one pattern may have: names are short, so their cost is small."""
LONG: Final = 16
"""Times that something may be repeated before it counts as without an end."""


def check_cost(pattern: str) -> None:
    r"""Refuse a pattern whose search can grow exponentially with the length of a name.

    Python tries every way to split a name between a repetition and what is repeated in it.

    Raises:
        re.error: If a repetition holds another or a choice, or there are many.

    Example:
        >>> check_cost(r"model\.layers\.(0|1)\..*q_proj")
    """
    parsed = import_module("re._parser").parse(pattern)
    repeated = list(_repetitions(parsed))
    if len(repeated) > MOST:
        raise re.error(f"it has more than {MOST} repetitions")
    for inner in repeated:
        if any(True for _ in _repetitions(inner)) or _has_choice(inner):
            raise re.error("it repeats a repetition or a choice")


def _repetitions(parsed: Any) -> Iterator[Any]:
    """What is repeated without an end, at any depth."""
    for operation, argument in parsed:
        if str(operation) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, inner = argument
            if int(most) > LONG:
                yield inner
        for below in _parts(argument):
            yield from _repetitions(below)


def _has_choice(parsed: Any) -> bool:
    return any(
        str(operation) in ("BRANCH", "GROUPREF") or any(map(_has_choice, _parts(argument)))
        for operation, argument in parsed
    )


def _parts(argument: Any) -> Iterator[Any]:
    """The patterns that the argument of an operation holds."""
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
"""Settings that make the change of a weight something else than scale·B·A."""

_STARTS: Final = ("pissa", "olora", "loftq", "corda", "lora_ga")
"""Ways to start that change the weights of the base as well."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The settings that decide the scale.

    Fields:
        rank: Of layers that no pattern matches.
        alpha: Of layers that no pattern matches.
        ranks: By pattern.
        alphas: By pattern.
        root: Whether alpha is divided by √r.
        bias: Whether every adapted layer has a change of its bias.
        parameters: Endings of the parameters that are adapted by their own name.
    """

    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    root: bool
    bias: bool
    parameters: tuple[str, ...]

    def factor(self, module: str, *, rank: int, path: Path) -> float:
        """The scale of a layer.

        Args:
            module: Its name.
            rank: Of its tensors.
            path: Of the tensors, for the error.

        Raises:
            FormatError: If the rank of the tensors is not the one of the settings.
        """
        name = self._name(module)
        # two projections of an expert are stacked into this parameter; plain layers may be named so
        stacked = 2 if expert_of(module) and name.endswith(f".{GATE_UP}") else 1
        wanted = _first(self.ranks, name, self.rank) / stacked
        if wanted != rank:
            raise FormatError(
                f"{path} is damaged: the factors of '{module}' have rank {rank}, "
                f"its settings say {wanted:g}.",
                hint="Check that both files are of the same adapter.",
                code="ranks-differ",
            )
        alpha = _first(self.alphas, name, self.alpha) / stacked
        return alpha / (math.sqrt(rank) if self.root else rank)

    def _name(self, module: str) -> str:
        """The name that PEFT compares with the patterns: of the module, or of its parameter."""
        expert = expert_of(module)
        parameter = expert.parameter if expert else f"{live_name(module)}.weight"
        return parameter if self.adapts(parameter) else module

    def adapts(self, parameter: str) -> bool:
        """Whether a parameter is adapted by its own name."""
        return any(parameter == name or parameter.endswith(f".{name}") for name in self.parameters)


def scaling_of(document: Mapping[str, Any], path: Path) -> Scaling:
    """The scaling that a configuration describes; PEFT's defaults where it is silent.

    Raises:
        FormatError: If a rank, an alpha or a pattern is none.
    """
    ranks = _patterns(document, "rank_pattern", path)
    for pattern, rank in ranks.items():
        _check_rank(rank, f"rank_pattern of {pattern}", path)
    rank = document.get("r", 8)
    _check_rank(rank, "r", path)
    return Scaling(
        rank=int(rank),
        alpha=_number(document.get("lora_alpha", 8), "lora_alpha", path),
        ranks={pattern: int(rank) for pattern, rank in ranks.items()},
        alphas=_patterns(document, "alpha_pattern", path),
        root=flag(document, "use_rslora", path),
        bias=flag(document, "lora_bias", path),
        parameters=_parameters(document, path),
    )


def flag(document: Mapping[str, Any], key: str, path: Path) -> bool:
    """A setting that is on or off, off where it is not there.

    Raises:
        FormatError: If it is anything else, which PEFT would take for on.
    """
    value = document.get(key)
    if value not in (None, False, True):
        raise damaged(path, f"{key} is {value!r}")
    return bool(value)


def check_plain(document: Mapping[str, Any], path: Path) -> None:
    """Refuse an adapter whose change of a weight is not scale·B·A.

    Raises:
        FormatError: With the name of what it is.
    """
    what = next((name for key, name in _OTHERS.items() if document.get(key)), None)
    start = document.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_STARTS):
        what = f"started by {start}"
    method = document.get("peft_type")
    if method is None:
        raise FormatError(
            f"{path} is not of PEFT: it names no peft_type"
            + (", and is of MLX." if "lora_parameters" in document else "."),
            hint="Convert the adapter to the format of PEFT first.",
            code="not-lora",
        )
    if method != "LORA":
        what = str(method)
    if what is not None:
        raise FormatError(
            f"{path} is not of a plain LoRA: it is {what}.",
            hint="Merge this adapter with PEFT, and extract one from the merged model.",
            code="not-lora",
        )


def _first(patterns: Mapping[str, float], name: str, otherwise: float) -> float:
    """The setting of the first pattern that matches, by PEFT's own rule (`get_pattern_key`)."""
    for pattern, setting in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return setting
    return otherwise


def _parameters(document: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = document.get("target_parameters") or []
    if not isinstance(names, list):
        raise damaged(path, "target_parameters is no list")
    return tuple(map(str, cast("list[Any]", names)))


def _patterns(document: Mapping[str, Any], key: str, path: Path) -> dict[str, float]:
    patterns = document.get(key) or {}
    if not isinstance(patterns, dict):
        raise damaged(path, f"{key} holds no patterns")
    for pattern in patterns:
        try:
            re.compile(f"({pattern})$")
            check_cost(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise damaged(path, f"'{pattern[:100]}' of {key} is no pattern: {error}") from error
    found = cast(dict[str, Any], patterns)
    return {pattern: _number(value, key, path) for pattern, value in found.items()}


def _number(value: object, what: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise damaged(path, f"{what} is {value!r}")
    return float(value)


def _check_rank(value: object, what: str, path: Path) -> None:
    if _number(value, what, path) < 1 or value != int(cast(float, value)):
        raise damaged(path, f"{what} is {value!r}")
