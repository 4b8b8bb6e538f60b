"""Small checkpoints made with NumPy: a base, and a fine-tune of a known change."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
LAYERS = {
    f"model.layers.{depth}.{kind}.weight": shape
    for depth in range(3)
    for kind, shape in (
        ("self_attn.q_proj", (48, 40)),
        ("self_attn.k_proj", (24, 40)),
        ("mlp.up_proj", (96, 40)),
        ("mlp.down_proj", (40, 96)),
    )
}
NORMS = {"model.norm.weight": (40,)}


def tensors(seed: int = 0, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Random weights."""
    generator = np.random.default_rng(seed)
    shapes = {**LAYERS, **NORMS}
    return {
        name: (0.05 * generator.standard_normal(shape)).astype(dtype)
        for name, shape in shapes.items()
    }


def change(
    shape: tuple[int, ...], decay: float, size: float, generator: np.random.Generator
) -> np.ndarray:
    """A matrix with singular values size·decay^i."""
    least = min(shape)
    left = np.linalg.qr(generator.standard_normal((shape[0], least)))[0]
    right = np.linalg.qr(generator.standard_normal((shape[1], least)))[0]
    return (left * (size * decay ** np.arange(least))) @ right.T


def tuned(base: Mapping[str, np.ndarray], seed: int = 1, decay: float = 0.7) -> dict[str, Any]:
    """Every layer changed by a decaying spectrum of its own size, and the norm a little."""
    generator = np.random.default_rng(seed)
    found = {}
    for number, (name, W) in enumerate(base.items()):
        if W.ndim == 2:
            delta = change(W.shape, decay, 0.2 * (1 + number % 3), generator)
        else:
            delta = 0.01 * generator.standard_normal(W.shape)
        found[name] = (W.astype(np.float64) + delta).astype(W.dtype)
    return found


def write(folder: Path, weights: Mapping[str, np.ndarray], **config: Any) -> Path:
    """A checkpoint of one file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), folder / "model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def pair(folder: Path, dtype: Any = np.float32, **settings: Any) -> tuple[Path, Path]:
    """A base and its fine-tune on disk."""
    before = tensors(dtype=dtype)
    return write(folder / "base", before), write(folder / "tuned", tuned(before, **settings))
