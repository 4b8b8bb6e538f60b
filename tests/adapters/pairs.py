"""A tiny base model and its fine-tune on disk, without PyTorch."""

import json
from pathlib import Path

import numpy as np

from checkpoints import write
from eckart.jobs.extract import extract_adapter

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
