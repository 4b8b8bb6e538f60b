"""What is known of the model that runs apart from its numbers, and what finds a place in it."""

import copy
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final, final

from eckart.checkpoints.peft import PREFIX, Kind, unwrapped
from eckart.checkpoints.peft.experts import since

EXPERTS: Final = ".experts."
"""What the names of single experts hold in a checkpoint."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What a module of the running model is.

    Fields:
        kind: What PEFT can adapt it as; None where it cannot, or where the adapter would not act.
        why: The reason, where it cannot.
        parameters: Names of its own parameters and buffers that a checkpoint holds.
        is_leaf: Whether there is nothing beneath it.
        is_single: Whether it is known by one name only.
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
        name: Of the parameter; of the tensor where it has none of its own.
        why: Why it has no parameter of its own, or empty.
    """

    name: str
    why: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A model as transformers builds it.

    Fields:
        source: What it is known from, such as "transformers 5.23.0".
        network: The model on the meta device: shapes, and no numbers.
        shapes: Of all parameters and buffers that a checkpoint holds, by name.
        modules: Those with parameters, by name.
        names: Of all modules.
        ties: Names of one parameter each, that of the checkpoint first.
        stacks: Whether PEFT stacks the factors of single experts of this model.
        task: PEFT's name of what it is for, or None.
        rename: The name in the model of a tensor of a checkpoint, and whether it is made from
            several or is changed on the way.
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
        """Where each tensor of a checkpoint goes."""
        bare = {name: unwrapped(name) for name in stored}
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
"""`model_type` of models whose layers are transformers' Conv1D."""
CONV1D: Final = frozenset({"c_attn", "c_proj", "c_fc", "q_attn"})

PREFIXES: Final = {
    "albert": "albert",
    "bart": "model",
    "bert": "bert",
    "bloom": "transformer",
    "camembert": "roberta",
    "deberta": "deberta",
    "deberta-v2": "deberta",
    "distilbert": "distilbert",
    "electra": "electra",
    "falcon": "transformer",
    "gpt2": "transformer",
    "gpt_neo": "transformer",
    "gpt_neox": "gpt_neox",
    "gptj": "transformer",
    "mpt": "transformer",
    "mpnet": "mpnet",
    "openai-gpt": "transformer",
    "roberta": "roberta",
    "vit": "vit",
    "xlm-roberta": "roberta",
}
"""Where a model with a head keeps the model without one, by `model_type`."""

PATCHED: Final = frozenset(
    {"vit", "deit", "beit", "audio-spectrogram-transformer", "ijepa", "vit_msn", "vivit"}
)
"""`model_type` of transformers over patches, whose layers transformers 5 calls as PATCHES says."""
PATCHES: Final = (
    ("encoder.layer.", "layers."),
    ("attention.query", "q_proj"),
    ("attention.key", "k_proj"),
    ("attention.value", "v_proj"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
)

REFUSED: Final = {
    model_type: frozenset({"out_proj", "conv1d"})
    for model_type in ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")
}
"""Last names of modules that PEFT refuses to adapt, by `model_type`: their kernels read them."""

HEADS: Final = ("lm_head.", "classifier.", "score.", "cls.", "qa_outputs.")
"""What begins the names of heads, which stand beside the model."""

RENAMED: Final = (
    (re.compile(r"\.gamma$"), ".weight"),
    (re.compile(r"\.beta$"), ".bias"),
)
TIED: Final = re.compile(
    r"embed_tokens|wte|embed_in|shared|tokens_embed|word_embeddings|embeddings|embed_tokens\.\d+"
)
"""Last names of tables that a model may use under another name too."""

WITH_HEAD: Final = (
    "ForCausalLM",
    "ForConditionalGeneration",
    "ForMaskedLM",
    "ForPreTraining",
    "LMHeadModel",
)
"""What the names of architectures with a head of the vocabulary end in."""

_TABLE: Final = re.compile(
    r"embed(?!ding_hidden_mapping).*|.*embeddings?|tokens_embed|positions_embed|wte|wpe|shared|"
    r"relative_attention_bias"
)
_READ: Final = re.compile(
    r".*embed_positions|.*position_embeddings?|.*rel_embeddings|.*dt_proj|"
    r".*entity_embeddings|.*x_proj|.*mixer\.(?:out_proj|conv1d)|.*encoder\.conv[12]|.*router"
)
"""Modules whose weight other modules read, or whose answer is not that of their kind."""


def rename(stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Use]:
    """Where each tensor of a checkpoint goes, by rules."""
    names = list(stored)
    kind = str(config.get("model_type", ""))
    architecture = str((config.get("architectures") or [""])[0])
    bare = {name: unwrapped(name) for name in names}
    for pattern, replacement in RENAMED:
        bare = {name: pattern.sub(replacement, own) for name, own in bare.items()}
    sees = "text_config" in config
    if sees and any(own.startswith("language_model.model.") for own in bare.values()):
        bare = {name: since(own) for name, own in bare.items()}
    if kind in PATCHED:
        for old, new in PATCHES:
            bare = {name: own.replace(old, new, 1) for name, own in bare.items()}
    if kind == "gpt_neox":
        bare = {n: re.sub(r"^embed_out\.", "lm_head.", own) for n, own in bare.items()}
    prefix = PREFIXES.get(kind)
    headless = prefix is not None and not any(x.startswith(f"{prefix}.") for x in bare.values())
    if headless and ("For" in architecture or architecture.endswith("LMHeadModel")):
        bare = {
            name: own if own.startswith(HEADS) else f"{prefix}.{own}" for name, own in bare.items()
        }
    return {name: Use(name=own) for name, own in bare.items()}


def kind_of(module: str, shape: tuple[int, ...], model_type: str) -> Kind:
    """What a module does with its weight of two axes, by its name and the model it is in."""
    last = module.rpartition(".")[2]
    if is_table(module):
        return Kind.EMBEDDING
    wide = last == "c_attn" and shape[1] == 3 * shape[0]
    if last in CONV1D and (model_type in TRANSPOSED_IN or (not model_type and wide)):
        return Kind.TRANSPOSED
    return Kind.LINEAR


def is_table(module: str) -> bool:
    """Whether a module is an embedding, by its name.

    Example:
        >>> is_table("model.embed_tokens"), is_table("model.layers.0.mlp.up_proj")
        (True, False)
    """
    return _TABLE.fullmatch(module.rpartition(".")[2]) is not None


def may_be_tied(module: str, config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether the model may use a table under another name too: then no factors of it are right."""
    if not TIED.fullmatch(module.rpartition(".")[2]) or config.get("tie_word_embeddings") is False:
        return False
    architecture = str((config.get("architectures") or [""])[0])
    shares = architecture.endswith(WITH_HEAD) or module.rpartition(".")[2] == "shared"
    return shares and "lm_head.weight" not in names


def is_read(module: str, names: Collection[str], model_type: str) -> bool:
    """Whether other modules read the weight of a module instead of calling it."""
    parent, _, last = module.rpartition(".")
    attends = last == "out_proj" and f"{parent}.in_proj_weight" in names
    refused = last in REFUSED.get(model_type, ())
    return attends or refused or _READ.fullmatch(module) is not None


def convolves(name: str, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> bool:
    """Whether a weight of three axes or more is that of a plain convolution.

    A transposed one has its outputs on the second axis and one in groups fewer inputs than there
    are; a bias of another length tells the first, a single input the second. The shape alone does
    not, so a model whose class is named and not known is not believed to have plain ones.
    """
    shape = shapes[name]
    bias = shapes.get(name.removesuffix("weight") + "bias")
    fits = bias is None or bias == shape[:1]
    return fits and (shape[1] > 1 or shape[0] == 1) and not config.get("architectures")


_OWN: Final = re.compile(r"lora_|modules_to_save")
_REST: Final = re.compile(r"\.(?:lora_(?:embedding_)?[AB]|base_layer|modules_to_save)\b.*$")


def can_attach() -> bool:
    """Whether PEFT is installed."""
    return all(map(find_spec, ("torch", "peft")))


def unattached(
    running: Running, document: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """The modules of an adapter that PEFT would not load as they are meant, each with the reason.

    The adapter is attached to the model on the meta device: every tensor has to find its place,
    and every adapted module its tensors.

    Args:
        running: The model.
        document: The configuration of the adapter.
        shapes: Of the tensors of its file.

    Cost:
        A copy of the model without its numbers; where PEFT refuses, one more for each kind of
        module.
    """
    try:
        return _lost(running, document, shapes)
    except Exception as error:  # PEFT refuses a module with any error of its own
        said = _sentence(error)
    found: dict[str, str] = {}
    for names in _alike(document["target_modules"]).values():
        alone = {**document, "target_modules": names[:1], "modules_to_save": None}
        alone.pop("target_parameters", None)
        try:
            _lost(running, alone, {})
        except Exception as error:
            found |= dict.fromkeys(names, _sentence(error))
    return found or {"": said}


def _lost(
    running: Running, document: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    import torch
    from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, LoraConfig, PeftModel
    from peft.utils import set_peft_model_state_dict

    settings = {key: value for key, value in document.items() if key != "peft_type"}
    network = copy.deepcopy(running.network)
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        config = LoraConfig(**settings)
        attach = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(str(document["task_type"]), PeftModel)
        attached = attach(network, config)
        if not shapes:
            return {}
        tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
        result = set_peft_model_state_dict(attached, tensors)
    return {
        **{_module(key): "PEFT finds no tensors for it" for key in _own(result.missing_keys)},
        **{_module(key): "PEFT finds no place for it" for key in result.unexpected_keys},
    }


def _own(keys: Collection[str]) -> list[str]:
    return [key for key in keys if _OWN.search(key)]


def _module(key: str) -> str:
    return _REST.sub("", key.removeprefix(PREFIX))


def _alike(names: Collection[str]) -> dict[str, list[str]]:
    """Names that differ by numbers only."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(re.sub(r"\d+", "0", name), []).append(name)
    return groups


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
