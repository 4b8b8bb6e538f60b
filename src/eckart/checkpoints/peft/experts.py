"""Names of experts, of renamed and of wrapped modules, in a checkpoint and in the running model."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from eckart.checkpoints.peft.adapter import Adapter, Kind, Outline
from eckart.errors import MatrixError

PREFIX: Final = "base_model.model."
"""The prefix that PEFT adds to the names of a model."""

_WRAPPER: Final = r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
"""Parts of names from torch.compile, FSDP and activation checkpointing, which wrap modules."""
# torch.compile, FSDP and PEFT may wrap one another, in any order
_WRAPPED: Final = re.compile(
    rf"^(?:{_WRAPPER}|module\.)*(?:{re.escape(PREFIX)})*|(?<=\.){_WRAPPER}"
)


def unwrapped(name: str) -> str:
    """The name of a tensor or a module without the parts that wrappers add.

    Example:
        >>> unwrapped("module.base_model.model.layers.0._orig_mod.q_proj.weight")
        'layers.0.q_proj.weight'
        >>> unwrapped("_orig_mod._fsdp_wrapped_module.module.norm.weight")
        'norm.weight'
    """
    return _WRAPPED.sub("", name)


SEEING: Final = (
    (re.compile(r"^language_model\.lm_head\b"), "lm_head"),
    (re.compile(r"^language_model\.model\b"), "model.language_model"),
    (re.compile(r"^(?=(?:vision_tower|multi_modal_projector|vision_embed_tokens)\b)"), "model."),
)
"""Names of models with images in transformers 4, and their names since transformers 5."""


def since(name: str) -> str:
    """The name that a module or parameter has since transformers 5.

    Example:
        >>> since("language_model.model.layers.0.self_attn.q_proj")
        'model.language_model.layers.0.self_attn.q_proj'
    """
    for pattern, replacement in SEEING:
        name = pattern.sub(replacement, name)
    return name


def also(names: Iterable[str]) -> list[str]:
    """The names, and for a model with images also their names since transformers 5.

    Example:
        >>> also(["model.layers.0.self_attn.q_proj"])
        ['model.layers.0.self_attn.q_proj']
    """
    known = list(names)
    # only names of transformers 4 begin so
    if not any(name.startswith("language_model.model.") for name in known):
        return known
    return sorted({*known, *map(since, known)})


GATE_UP: Final = "gate_up_proj"
DOWN: Final = "down_proj"
FUSED: Final = {
    "gate_proj": GATE_UP,
    "up_proj": GATE_UP,
    "down_proj": DOWN,
    # names of Mixtral: w1 is gate_proj, w3 is up_proj and w2 is down_proj
    "w1": GATE_UP,
    "w3": GATE_UP,
    "w2": DOWN,
}
"""Projections of an expert in a checkpoint, and the parameters that hold them in the model."""
ROUTER: Final = "gate"
"""Last name of the layer that chooses the experts."""
PARTS: Final = ({"gate_proj", "up_proj", "down_proj"}, {"w1", "w3", "w2"})
"""All projections of an expert, in both layouts of names."""
OUTPUTS: Final = ({"down_proj"}, {"w2"})
"""The projection that is a parameter of its own in the model, so it may be adapted alone."""

_EXPERT: Final = re.compile(r"(?P<block>.+\.experts)\.(?P<number>\d+)\.(?P<projection>[^.]+)")


@final
@dataclass(frozen=True, slots=True)
class Expert:
    """The parts of the name of one projection of one expert.

    Fields:
        block: Name of the module that holds the experts, in the checkpoint.
        number: Number of the expert, counted from 0.
        projection: Name of the projection, such as `gate_proj`.
    """

    block: str
    number: int
    projection: str

    @property
    def parameter(self) -> str:
        """Full name of the parameter of the running model that holds this projection."""
        return f"{live_name(self.block)}.{FUSED.get(self.projection, self.projection)}"


def expert_of(module: str) -> Expert | None:
    """The expert to which a module of a checkpoint belongs; None if it belongs to none.

    Example:
        >>> expert_of("model.layers.0.block_sparse_moe.experts.7.w1").parameter
        'model.layers.0.mlp.experts.gate_up_proj'
        >>> expert_of("model.layers.0.mlp.gate_proj")
    """
    match = _EXPERT.fullmatch(module)
    return match and Expert(match["block"], int(match["number"]), match["projection"])


def live_name(module: str) -> str:
    """The name of a module in the running model: blocks of Mixtral have another name on disk."""
    return module.replace(".block_sparse_moe.", ".mlp.")


def is_taken_for_an_expert(module: str) -> bool:
    """Whether PEFT would mistake a layer for a part of an expert because of its name."""
    name = module.rpartition(".")[2]
    return expert_of(module) is None and (name == ROUTER or name in FUSED)


def uniform_groups(modules: Iterable[str]) -> list[tuple[str, ...]]:
    """The groups of expert layers that must share one rank, sorted.

    All `gate_proj` and `up_proj` of a layer form one group, and all its `down_proj` another; the
    ranks of different layers may differ.

    Example:
        >>> uniform_groups(["mlp.experts.0.up_proj", "mlp.experts.0.gate_proj", "q_proj"])
        [('mlp.experts.0.gate_proj', 'mlp.experts.0.up_proj')]
    """
    groups: dict[str, list[str]] = {}
    for module in sorted(modules):
        expert = expert_of(module)
        if expert is not None:
            groups.setdefault(expert.parameter, []).append(module)
    return [tuple(group) for _, group in sorted(groups.items())]


def pad_experts(adapter: Adapter) -> Adapter:
    """The adapter with its experts padded with zeros, where they must share a rank."""
    ranks = {layer.module: layer.rank for layer in adapter.layers}
    for group in uniform_groups(ranks):
        most = max(ranks[module] for module in group)
        ranks |= dict.fromkeys(group, most)
    layers = tuple(
        # padded with zeros: the product B·A stays what it is
        replace(layer, factors=layer.factors.pad(ranks[layer.module]))
        for layer in adapter.layers
    )
    return replace(adapter, layers=layers)


def check_experts(layers: Sequence[Outline]) -> None:
    """Refuse expert layers that PEFT cannot stack."""
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


def _check_complete(block: str, experts: dict[int, set[str]]) -> None:
    """Refuse a block in which experts or projections are missing: PEFT stacks all of them."""
    projections: Collection[str] = experts[min(experts)]
    if projections not in (*PARTS, *OUTPUTS):
        wanted = next((parts for parts in PARTS if parts >= projections), PARTS[0])
        raise _refused(
            f"the experts of '{block}' lack {' and '.join(sorted(wanted - set(projections)))}"
        )
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
