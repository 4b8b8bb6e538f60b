"""`adapter_config.json`: the keys that PEFT needs, and the subset that other programs accept."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

from eckart.checkpoints.peft.adapter import (
    BIAS,
    FUSED,
    GATE_UP,
    OUTPUTS,
    PARTS,
    AdaptedLayer,
    Adapter,
    Kind,
    Outline,
    also,
    expert_of,
    is_taken_for_an_expert,
    live_name,
    since,
    split_parameter,
    uniform_groups,
)
from eckart.errors import MatrixError

TABLES: Final = frozenset({"embed_tokens", "lm_head", "wte", "word_embeddings", "embed_out"})
"""Last names of the modules that share one table in a tied model."""
ENSURED: Final = frozenset({"embed_tokens", "lm_head"})
"""The modules whose tie PEFT keeps; for others `ensure_weight_tying` only causes a warning."""
HEADS: Final = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
"""Modules that PEFT adds to `modules_to_save` by itself, by the task of the adapter."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SavedNames:
    """Where new values of parameters are stored.

    Fields:
        keys: Names in the file by name of the parameter.
        modules: Names of the modules that PEFT replaces as a whole.
        bias: The mode of PEFT for biases: which biases the file holds as new values.
    """

    keys: Mapping[str, str]
    modules: tuple[str, ...]
    bias: str


def saved_names(
    saved: Collection[str], adapted: Collection[str], in_place: Collection[str] = ()
) -> SavedNames:
    """Where each new value is stored.

    - A parameter of an adapted module replaces the one beneath the factors (`base_layer`).
    - A bias whose module has no other new value is loaded as it is, by PEFT's `bias: all`.
    - A parameter that is put in place keeps its name: PEFT loads every name that it finds.
    - Every other parameter belongs to a module of `modules_to_save`, the outermost of several.

    Example:
        >>> saved_names(["norm.weight", "q.bias"], adapted=["q"])
        SavedNames(keys={'norm.weight': 'norm.weight', 'q.bias': 'q.base_layer.bias'},
                   modules=('norm',), bias='lora_only')
    """
    keys: dict[str, str] = {}
    modules: set[str] = set()
    bias = "none"
    owners = Counter(split_parameter(name)[0] for name in saved if name not in in_place)
    for name in sorted(saved):
        module, parameter = split_parameter(name)
        keys[name] = name
        if module in adapted:
            keys[name] = f"{module}.base_layer.{parameter}"
            if parameter == BIAS and bias == "none":
                bias = "lora_only"
        elif parameter == BIAS and owners[module] == 1:
            bias = "all"
        elif name not in in_place:
            modules.add(module)
    return SavedNames(keys=keys, modules=tuple(sorted(_outermost(modules))), bias=bias)


def _outermost(modules: Collection[str]) -> Iterator[str]:
    """Yield the modules that lie in no other: PEFT replaces a module with all its submodules."""
    for module in modules:
        words = module.split(".")
        above = (".".join(words[:end]) for end in range(1, len(words)))
        if not any(one in modules for one in above):
            yield module


def configuration(
    adapter: Adapter,
    layers: Sequence[Outline],
    saved: SavedNames,
    base_modules: Collection[str] = (),
) -> dict[str, Any]:
    """The configuration of an adapter, with its keys sorted; its layers themselves are not read.

    Of the modules of the base, those that PEFT would adapt by mistake, because their name ends like
    that of an adapted one, are excluded by name. If the modules are unknown, names of
    transformers 4 are written together with those of transformers 5.
    """
    ranks, parameters = _ranks(layers, mixture=adapter.experts or has_experts(layers))
    modules = sorted(ranks.keys() - parameters)
    counts = Counter(ranks.values())
    usual = max(counts, key=lambda rank: (counts[rank], rank))  # keeps the patterns few
    everywhere = list if base_modules else also
    unusual = {
        own: rank for name, rank in ranks.items() if rank != usual for own in (name, since(name))
    }
    # the whole name, escaped, since PEFT takes it for a regular expression
    pattern = {
        # PEFT compares patterns from the start of a name only if they say so
        f"^{re.escape(name)}": unusual[name]
        for name in sorted(everywhere([name for name in ranks if ranks[name] != usual]))
    }
    document: dict[str, Any] = {
        "alpha_pattern": pattern,
        "base_model_name_or_path": adapter.base_name,
        "bias": saved.bias,
        "fan_in_fan_out": any(layer.kind is Kind.TRANSPOSED for layer in layers),
        "inference_mode": True,
        # alpha is r everywhere, so that the scale is 1
        "lora_alpha": usual,
        "lora_dropout": 0.0,
        "modules_to_save": everywhere(saved.modules) or None,
        "peft_type": "LORA",
        "r": usual,
        "rank_pattern": pattern,
        "target_modules": everywhere(modules),
        "task_type": _task(adapter, saved, layers),
        "use_rslora": False,
    }
    tables, endings = {*saved.modules, *modules}, tuple(f".{module}" for module in modules)
    optional = {
        "ensure_weight_tying": adapter.tied and any(_last(name) in ENSURED for name in tables),
        # modules that PEFT would adapt too, since it compares the ends of names
        "exclude_modules": sorted(
            name for name in base_modules if name.endswith(endings) and name not in modules
        ),
        "lora_bias": any(layer.has_bias for layer in layers),
        "target_parameters": sorted(parameters),
    }
    # settings that are off are left out: that is PEFT's default for each of them
    document |= {name: setting for name, setting in optional.items() if setting}
    return dict(sorted(document.items()))


def check_layers(adapter: Adapter, layers: Sequence[Outline]) -> None:
    """Refuse an adapter that PEFT would load wrongly, or not at all."""
    names = Counter(layer.module for layer in layers)
    twice = [name for name, count in names.items() if count > 1]
    if not names or twice:
        raise MatrixError(
            f"The adapter adapts '{twice[0]}' twice." if twice else "The adapter adapts no layer.",
            hint="Give each adapted layer once, and at least one.",
            code="layer-twice" if twice else "no-layers",
        )
    _check_biases(adapter, layers)
    _check_tie(adapter, names)


def check_saved(saved: SavedNames, modules: Collection[str]) -> None:
    """Refuse new values of a module if the names of other modules end with its name.

    PEFT replaces every module whose name ends with that of a saved one, and then lacks the values
    of the others.
    """
    for module in saved.modules:
        if not module:
            raise MatrixError(
                "The adapter saves a parameter that belongs to no module.",
                hint="PEFT cannot replace a parameter of the model itself; leave it out.",
                code="saved-by-mistake",
            )
        alike = sorted(m for m in modules if m.endswith(module) and m not in saved.modules)
        if alike:
            raise MatrixError(
                f"The adapter saves '{module}', and PEFT would replace '{alike[0]}' with it.",
                hint=f"Save the values of '{alike[0]}' as well.",
                code="saved-by-mistake",
            )


def check_experts(layers: Sequence[Outline]) -> None:
    """Refuse expert layers that PEFT cannot stack: of other names, incomplete, or of two ranks."""
    blocks: dict[str, dict[int, set[str]]] = {}
    for layer in layers:
        expert = expert_of(layer.module)
        if expert is None:
            continue
        if layer.kind is not Kind.LINEAR or expert.projection not in FUSED:
            raise _refused(f"'{layer.module}' is none of a mixture that PEFT loads")
        blocks.setdefault(expert.block, {}).setdefault(expert.number, set()).add(expert.projection)
    for block, experts in blocks.items():
        _check_complete(block, experts)
    ranks = {layer.module: layer.rank for layer in layers}
    for group in uniform_groups(ranks):
        different = sorted({ranks[module] for module in group})
        if len(different) > 1:
            listed = ", ".join(str(rank) for rank in different)
            raise _refused(f"'{group[0]}' and its kin have the ranks {listed}, not one")


def _check_complete(block: str, experts: Mapping[int, set[str]]) -> None:
    projections = experts[min(experts)]
    if projections not in (*PARTS, *OUTPUTS):
        wanted = next((parts for parts in PARTS if parts >= projections), PARTS[0])
        lacking = " and ".join(sorted(wanted - projections))
        raise _refused(f"the experts of '{block}' lack {lacking}")
    # PEFT stacks all experts, so those that are missing cannot be left out
    for number in range(max(experts) + 1):
        if experts.get(number) != projections:
            raise _refused(f"'{block}.{number}' lacks what other experts of the layer have")


def _refused(what: str) -> MatrixError:
    return MatrixError(
        f"PEFT cannot stack these experts: {what}.",
        hint="Pad the factors of all experts of a layer with zeros to one rank, or leave out all.",
        code="experts-differ",
    )


def has_experts(layers: Sequence[Outline]) -> bool:
    """Whether one of the layers is a part of an expert."""
    return any(expert_of(layer.module) for layer in layers)


def _ranks(layers: Sequence[Outline], *, mixture: bool) -> tuple[dict[str, int], set[str]]:
    """Ranks by the name that PEFT compares, and those names that are parameters and no modules."""
    ranks: dict[str, int] = {}
    parameters: set[str] = set()
    for layer in layers:
        expert, name, rank = expert_of(layer.module), layer.module, layer.rank
        if expert is not None:
            # gate_proj and up_proj of an expert are stacked, each with its own columns of B
            name, rank = expert.parameter, rank * (2 if expert.parameter.endswith(GATE_UP) else 1)
            parameters.add(name)
        elif mixture and is_taken_for_an_expert(name):
            name = f"{live_name(name)}.weight"
            parameters.add(name)
        ranks[name] = rank
    return ranks, parameters


def _task(adapter: Adapter, saved: SavedNames, layers: Sequence[Outline]) -> str | None:
    """The task, unless PEFT would then look for a head that is not completely in the file."""
    heads = HEADS.get(adapter.task_type or "", ())
    touched = [*(layer.module for layer in layers), *(split_parameter(n)[0] for n in saved.keys)]
    beneath = {module for module in touched if not set(heads).isdisjoint(module.split("."))}
    whole = bool(beneath) and all(
        module in saved.modules and _last(module) in heads for module in beneath
    )
    return adapter.task_type if whole or not heads else None


def _check_biases(adapter: Adapter, layers: Sequence[Outline]) -> None:
    """Refuse changed biases if an adapted layer has none, or is an embedding, or in a mixture."""
    changed = [layer for layer in layers if layer.has_bias]
    if not changed:
        return
    mixture = adapter.experts or has_experts(layers)
    for layer in layers:
        if not layer.has_bias or layer.kind is Kind.EMBEDDING or mixture:
            raise MatrixError(
                f"'{changed[0].module}' changes its bias and '{layer.module}' cannot: PEFT merges "
                "changed biases only where every adapted layer has one.",
                hint="Give the changed biases as saved values instead.",
                code="biases-differ",
            )


def _check_tie(adapter: Adapter, adapted: Collection[str]) -> None:
    """Refuse a changed table of a tied model if the module that shares it is not changed alike."""
    if not adapter.tied:
        return
    # PEFT adds the change of a tied table once for each of its names
    factored = [module for module in adapted if _last(module) in TABLES]
    # PEFT ties embed_tokens and lm_head itself, and writes and loads factors of both rightly
    if factored and frozenset(map(_last, factored)) != ENSURED:
        raise MatrixError(
            f"'{factored[0]}' shares its table with another module, so PEFT would add its change "
            "twice when it merges.",
            hint="Save the whole table under both names instead.",
            code="tied",
        )
    alone = [name for name in adapter.saved if name not in adapter.in_place]
    tables = [name for name in alone if _last(split_parameter(name)[0]) in TABLES]
    # a bias is no table, and is not shared
    weights = [name for name in tables if not name.endswith(f".{BIAS}")]
    if len(weights) == 1:
        raise MatrixError(
            f"The adapter saves '{weights[0]}', but not the module that shares its table.",
            hint="Save the whole table under both names.",
            code="tied",
        )


def _last(module: str) -> str:
    return module.rpartition(".")[2]


REASONS: Final = {
    Kind.EMBEDDING: "an embedding",
    Kind.TRANSPOSED: "stored as (inputs, outputs)",
    Kind.CONVOLUTION: "a convolution",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A part of an adapter that the portable profile cannot hold.

    Fields:
        name: Name of the module or the parameter.
        reason: What the part is, as words that follow "is" or "are".
        squared_norm: ‖B·A‖²_F of a layer, or the squared norm of the change of a bias; None for
            saved values, whose change is unknown without the base.
    """

    name: str
    reason: str
    squared_norm: float | None


def portable(adapter: Adapter) -> tuple[Adapter, tuple[LeftOut, ...]]:
    """The linear layers of an adapter with one rank, padded with zeros, and what is left out."""
    kept: list[AdaptedLayer] = []
    left: list[LeftOut] = []
    for layer in adapter.layers:
        reason = REASONS.get(layer.kind)
        if expert_of(layer.module) is not None:
            reason = "an expert"
        if _last(layer.module) in TABLES:
            reason = "a head or a table of the vocabulary"
        if reason is None:
            kept.append(replace(layer, bias=None))
        else:
            norm = layer.factors.squared_norm()
            left.append(LeftOut(name=layer.module, reason=reason, squared_norm=norm))
        if layer.bias is not None and layer.bias.any():
            change = float((layer.bias.astype(float) ** 2).sum())
            name = f"{layer.module}.{BIAS}"
            left.append(LeftOut(name=name, reason="a bias", squared_norm=change))
    left.extend(LeftOut(name=n, reason="saved values", squared_norm=None) for n in adapter.saved)
    if not kept:
        raise MatrixError(
            "Nothing of the adapter is portable: it adapts no linear layer.",
            hint="Use the profile peft.",
            code="nothing-portable",
        )
    # other programs want one rank for all layers; zeros do not change the product
    rank = max(layer.rank for layer in kept)
    layers = tuple(replace(layer, factors=layer.factors.pad(rank)) for layer in kept)
    return replace(adapter, layers=layers, saved={}, in_place=frozenset(), tied=False), tuple(left)
