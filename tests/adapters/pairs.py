"""A tiny base model and its fine-tune on disk, without PyTorch."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from checkpoints import write
from eckart.adapters import extract_adapter

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "tie_word_embeddings": False,
    "vocab_size": 40,
}
SHAPES = {
    "model.embed_tokens.weight": (40, 16),
    "model.layers.0.self_attn.q_proj.weight": (16, 16),
    "model.layers.0.mlp.up_proj.weight": (24, 16),
    "model.layers.0.input_layernorm.weight": (16,),
    "model.layers.1.self_attn.q_proj.weight": (16, 16),
    "model.layers.1.mlp.up_proj.weight": (24, 16),
    "model.norm.weight": (16,),
    "lm_head.weight": (40, 16),
}
CHANGED = ("q_proj", "up_proj", "model.norm")


def weights(dtype: object = np.float32) -> dict[str, np.ndarray]:
    """Of the base."""
    generator = np.random.default_rng(0)
    return {n: generator.standard_normal(s).astype(dtype) for n, s in SHAPES.items()}


def tuned_weights(base: dict[str, np.ndarray], seed: int = 1) -> dict[str, np.ndarray]:
    """Changes of a few large directions over a small tail, and a new norm."""
    generator = np.random.default_rng(seed)
    tuned = dict(base)
    for name, W in base.items():
        if not any(part in name for part in CHANGED):
            continue
        change = 0.01 * generator.standard_normal(W.shape)
        if W.ndim == 2:
            rows, columns = W.shape
            change += generator.standard_normal((rows, 3)) @ generator.standard_normal((3, columns))
        tuned[name] = (W.astype(np.float64) + 0.1 * change).astype(W.dtype)
    return tuned


def save(folder: Path, tensors: dict[str, np.ndarray], **config: object) -> Path:
    """A folder that holds a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    write(folder / "model.safetensors", tensors)
    return folder


def saved_pair(folder: Path, dtype: object = np.float32) -> tuple[Path, Path]:
    """The base and its fine-tune, in two folders."""
    base = weights(dtype)
    return save(folder / "base", base), save(folder / "tuned", tuned_weights(base))


def extracted(folder: Path) -> Path:
    """The folder with a base, its fine-tune and the adapter of rank 4 that eckart extracted."""
    base, tuned = saved_pair(folder)
    extract_adapter(base, tuned, folder / "adapter", rank=4)
    return folder


NETWORK = {
    **CONFIG,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
WORDS = {word: number for number, word in enumerate(["<unk>", *"abcdefghij", "text"])}
SQUARE = ("q_proj", "k_proj", "v_proj", "o_proj")
WIDE = ("gate_proj", "up_proj")


def network_weights() -> dict[str, np.ndarray]:
    """Of a Llama of one layer, all of them."""
    block = "model.layers.0"
    shapes = {
        "model.embed_tokens.weight": (40, 16),
        **{f"{block}.self_attn.{name}.weight": (16, 16) for name in SQUARE},
        **{f"{block}.mlp.{name}.weight": (24, 16) for name in WIDE},
        f"{block}.mlp.down_proj.weight": (16, 24),
        "lm_head.weight": (40, 16),
    }
    norms = (f"{block}.input_layernorm", f"{block}.post_attention_layernorm", "model.norm")
    generator = np.random.default_rng(0)
    drawn = {n: 0.3 * generator.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    return {**drawn, **{f"{name}.weight": np.ones(16, np.float32) for name in norms}}


def can_run() -> bool:
    """Whether what runs a model is installed."""
    return all(map(find_spec, ("torch", "transformers")))


def save_network(folder: Path, **config: object) -> Path:
    """A folder with a model that transformers runs, and a tokenizer of single letters."""
    save(folder, network_weights(), **{**NETWORK, **config})
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "<unk>"},
    }
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    for name, document in (("tokenizer", tokenizer), ("tokenizer_config", named)):
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder
