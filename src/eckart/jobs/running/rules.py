"""What is known of a model without transformers: its names, kinds and ties by rules.

`tests/adapters/test_running.py` holds them against transformers.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from eckart.jobs.running.model import Use
from eckart.storage.adapters import Kind, unwrapped
from eckart.storage.adapters.renamed import since

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
