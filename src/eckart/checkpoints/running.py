"""What is known of the running model besides its weights, and which adapters fit into it."""

import copy
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final, final

from eckart.checkpoints.folder import JsonObject
from eckart.checkpoints.peft import PREFIX, Kind, unwrap
from eckart.checkpoints.peft.adapter import since

EXPERTS: Final = ".experts."
"""A part of the names that single experts have in a checkpoint."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module of the running model.

    Fields:
        kind: The kind as which PEFT can adapt the module; None if it cannot, or if the adapter
            would have no effect.
        why: The reason if `kind` is None, else empty.
        parameters: Names of its own parameters and buffers that a checkpoint holds.
        is_leaf: Whether the module has no submodules.
        is_single: Whether the model has the module under one name only.
    """

    kind: Kind | None
    why: str
    parameters: frozenset[str]
    is_leaf: bool
    is_single: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Where a tensor of a checkpoint goes in the running model.

    Fields:
        name: Name of its parameter; name of the tensor if it has no parameter of its own.
        why: The reason why the tensor has no parameter of its own, or empty.
    """

    name: str
    why: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A model as transformers builds it.

    Fields:
        source: The library that built the model, such as "transformers 5.23.0".
        network: The model on the meta device, with shapes and without numbers.
        shapes: Shapes of all parameters and buffers that a checkpoint holds, by name.
        modules: The modules that have parameters, by name.
        names: Names of all modules.
        ties: Groups of names of one parameter, the name in the checkpoint first.
        stacks: Whether PEFT stacks the factors of single experts of this model.
        task: Name of the task of the model in PEFT, or None.
        rename: Function that gives for each tensor of a checkpoint its name in the model, and
            whether the parameter is made from several tensors or changed when it is loaded.
    """

    source: str
    network: Any
    shapes: Mapping[str, tuple[int, ...]]
    modules: Mapping[str, Module]
    names: frozenset[str]
    ties: tuple[tuple[str, ...], ...]
    stacks: bool
    task: str | None
    rename: Callable[[Iterable[str]], Mapping[str, tuple[str, bool]]] = field(repr=False)

    def uses(self, stored: Iterable[str]) -> dict[str, Use]:
        """Where each tensor of a checkpoint goes in this model."""
        bare = {name: unwrap(name) for name in stored}
        found = self.rename(bare.values())
        return {name: self._use(own, *found[own]) for name, own in bare.items()}

    def _use(self, own: str, name: str, is_made: bool) -> Use:
        if is_made and self.stacks and EXPERTS in own:
            return Use(name=own)  # PEFT stacks them by their names in the checkpoint
        if is_made:
            return Use(name=own, why=f"transformers makes '{name}' from it")
        if name not in self.shapes:
            return Use(name=name, why="the running model has no such tensor")
        return Use(name=name)


TRANSPOSED_IN: Final = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""`model_type` of models whose layers are the Conv1D of transformers, with transposed weights."""
CONV1D: Final = frozenset({"c_attn", "c_proj", "c_fc", "q_attn"})
"""Last names of the layers that are a Conv1D in these models."""
PREFIXES: Final = {
    **{same: same for same in ("albert", "bert", "deberta", "distilbert", "electra", "gpt_neox")},
    **{same: same for same in ("mpnet", "roberta", "vit")},
    **dict.fromkeys(("bloom", "falcon", "gpt2", "gpt_neo", "gptj", "mpt"), "transformer"),
    **dict.fromkeys(("camembert", "xlm-roberta"), "roberta"),
    "bart": "model",
    "deberta-v2": "deberta",
    "openai-gpt": "transformer",
}
"""Name of the module that holds the headless model in a model with a head, by `model_type`."""
PATCHED: Final = frozenset(
    {"vit", "deit", "beit", "audio-spectrogram-transformer", "ijepa", "vit_msn", "vivit"}
)
"""`model_type` of models over patches, whose layers transformers 5 renamed as `PATCHES` says."""
PATCHES: Final = (
    ("encoder.layer.", "layers."),
    ("attention.query", "q_proj"),
    ("attention.key", "k_proj"),
    ("attention.value", "v_proj"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),  # after the longer "attention.output.dense"
)

REFUSED: Final = {
    model_type: frozenset({"out_proj", "conv1d"})
    for model_type in ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")
}
"""Last names of modules that PEFT refuses to adapt, because kernels read their weights."""
HEADS: Final = ("lm_head.", "classifier.", "score.", "cls.", "qa_outputs.")
"""Beginnings of the names of heads, which stand beside the headless model."""
RENAMED: Final = ((re.compile(r"\.gamma$"), ".weight"), (re.compile(r"\.beta$"), ".bias"))
"""Names of the parameters of a normalisation in old checkpoints, and their names in the model."""
TIED: Final = re.compile(
    r"embed_tokens|wte|embed_in|shared|tokens_embed|word_embeddings|embeddings|embed_tokens\.\d+"
)
"""Last names of embedding tables that a model may use under another name too."""
WITH_HEAD: Final = (
    "ForCausalLM",
    "ForConditionalGeneration",
    "ForMaskedLM",
    "ForPreTraining",
    "LMHeadModel",
)
"""Endings of the names of architectures with a head over the vocabulary."""
_TABLE: Final = re.compile(
    r"embed(?!ding_hidden_mapping).*|.*embeddings?|tokens_embed|positions_embed|wte|wpe|shared|"
    r"relative_attention_bias"
)
_READ: Final = re.compile(
    r".*embed_positions|.*position_embeddings?|.*rel_embeddings|.*dt_proj|"
    r".*entity_embeddings|.*x_proj|.*mixer\.(?:out_proj|conv1d)|.*encoder\.conv[12]|.*router"
)
"""Modules whose weight other modules read, or whose output is not that of their kind."""


def rename(stored: Iterable[str], config: JsonObject) -> dict[str, Use]:
    """Where each tensor of a checkpoint goes, by fixed rules, without transformers."""
    names = list(stored)
    kind = str(config.get("model_type", ""))
    architecture = str((config.get("architectures") or [""])[0])
    bare = {name: unwrap(name) for name in names}
    for pattern, replacement in RENAMED:
        bare = {name: pattern.sub(replacement, own) for name, own in bare.items()}
    # a model of text and images keeps its language model under another name since transformers 5
    sees = "text_config" in config
    if sees and any(own.startswith("language_model.model.") for own in bare.values()):
        bare = {name: since(own) for name, own in bare.items()}
    if kind in PATCHED:
        for old, new in PATCHES:
            bare = {name: own.replace(old, new, 1) for name, own in bare.items()}
    if kind == "gpt_neox":
        bare = {n: re.sub(r"^embed_out\.", "lm_head.", own) for n, own in bare.items()}
    prefix = PREFIXES.get(kind)
    # a headless checkpoint of a model that will run with a head: its names lack the prefix
    headless = prefix is not None and not any(x.startswith(f"{prefix}.") for x in bare.values())
    if headless and ("For" in architecture or architecture.endswith("LMHeadModel")):
        bare = {
            name: own if own.startswith(HEADS) else f"{prefix}.{own}" for name, own in bare.items()
        }
    return {name: Use(name=own) for name, own in bare.items()}


def kind_of(module: str, shape: tuple[int, ...], model_type: str) -> Kind:
    """The kind of a module whose weight has two axes, by its name and the type of its model."""
    last = module.rpartition(".")[2]
    if is_table(module):
        return Kind.EMBEDDING
    # without a model type: query, key and value side by side are outputs of a transposed weight
    wide = last == "c_attn" and shape[1] == 3 * shape[0]
    if last in CONV1D and (model_type in TRANSPOSED_IN or (not model_type and wide)):
        return Kind.TRANSPOSED
    return Kind.LINEAR


def is_table(module: str) -> bool:
    """Whether a module is an embedding table, by its name.

    Example:
        >>> is_table("model.embed_tokens"), is_table("model.layers.0.mlp.up_proj")
        (True, False)
    """
    return _TABLE.fullmatch(module.rpartition(".")[2]) is not None


def may_be_tied(module: str, config: JsonObject, names: Collection[str]) -> bool:
    """Whether the model may use a table under another name too, so that factors would be wrong."""
    if not TIED.fullmatch(module.rpartition(".")[2]) or config.get("tie_word_embeddings") is False:
        return False
    architecture = str((config.get("architectures") or [""])[0])
    shares = architecture.endswith(WITH_HEAD) or module.rpartition(".")[2] == "shared"
    return shares and "lm_head.weight" not in names


def is_read(module: str, names: Collection[str], model_type: str) -> bool:
    """Whether other modules read the weight of a module instead of calling it."""
    parent, _, last = module.rpartition(".")
    # PyTorch's MultiheadAttention reads the weight of out_proj and never calls it
    attends = last == "out_proj" and f"{parent}.in_proj_weight" in names
    refused = last in REFUSED.get(model_type, ())
    return attends or refused or _READ.fullmatch(module) is not None


def convolves(name: str, shapes: Mapping[str, tuple[int, ...]], config: JsonObject) -> bool:
    """Whether a weight of three or more axes belongs to a plain convolution.

    The weight of a transposed convolution has its outputs on the second axis, which shows in a bias
    of another length. The weight of a convolution in groups has fewer inputs, which shows if it has
    a single one. The shape alone does not decide, so a model whose class is named but unknown is
    assumed to have no plain convolutions.
    """
    shape = shapes[name]
    bias = shapes.get(name.removesuffix("weight") + "bias")
    fits = bias is None or bias == shape[:1]
    return fits and (shape[1] > 1 or shape[0] == 1) and not config.get("architectures")


# what an adapter adds to the names of a model, and the ends of such names
_OWN: Final = re.compile(r"lora_|modules_to_save")
_REST: Final = re.compile(r"\.(?:lora_(?:embedding_)?[AB]|base_layer|modules_to_save)\b.*$")


def can_attach() -> bool:
    """Whether PEFT and PyTorch are installed."""
    return all(map(find_spec, ("torch", "peft")))


def unattached(
    running: Running, document: JsonObject, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """The modules of an adapter that PEFT would not load as intended, each with the reason.

    The adapter is attached to the model on the meta device: every tensor has to find its place,
    and every adapted module its tensors.

    Returns:
        Reasons by module; {} if PEFT loads everything. The name "" stands for the whole adapter.

    Cost:
        A copy of the model without its numbers; if PEFT refuses, one more for each group of modules
        whose names differ only by numbers.
    """
    try:
        return _lost(running, document, shapes)
    except Exception as error:  # PEFT refuses a module with errors of any kind
        said = sentence_of(error)
    found: dict[str, str] = {}
    alike: dict[str, list[str]] = {}
    for name in sorted(document["target_modules"]):
        alike.setdefault(re.sub(r"\d+", "0", name), []).append(name)
    for names in alike.values():
        # one module stands for all whose names differ only by numbers
        alone = {**document, "target_modules": names[:1], "modules_to_save": None}
        alone.pop("target_parameters", None)
        try:
            _lost(running, alone, {})
        except Exception as error:
            found |= dict.fromkeys(names, sentence_of(error))
    return found or {"": said}


def _lost(
    running: Running, document: JsonObject, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Attach an adapter to a copy of the model, and return the modules with misplaced tensors."""
    import torch
    from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, LoraConfig, PeftModel
    from peft.utils import set_peft_model_state_dict

    settings = {key: value for key, value in document.items() if key != "peft_type"}
    # an adapter that was attached changes the network, so each attempt has a copy of its own
    network = copy.deepcopy(running.network)
    with warnings.catch_warnings(action="ignore"), torch.device("meta"):
        config = LoraConfig(**settings)
        attach = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(str(document["task_type"]), PeftModel)
        attached = attach(network, config)
        # without shapes only the question is asked whether PEFT adapts these modules
        if not shapes:
            return {}
        tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
        result = set_peft_model_state_dict(attached, tensors)
    missing = [key for key in result.missing_keys if _OWN.search(key)]  # not those of the base
    return {
        **{_module(key): "PEFT finds no tensors for it" for key in missing},
        **{_module(key): "PEFT finds no place for it" for key in result.unexpected_keys},
    }


def _module(key: str) -> str:
    """The name of the module to which a tensor of an adapter belongs."""
    return _REST.sub("", key.removeprefix(PREFIX))


def sentence_of(error: Exception) -> str:
    """The text of an error in one line, or its class if it has no text."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
