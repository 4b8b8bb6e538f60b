"""Pairs of checkpoints with the shapes of a Llama: a base, and a fine-tune with a planted change.

Each weight of the base is Gaussian. The change of a weight is P + T: P has rank 16 and singular
values that fall evenly from 1 to ¼, and is what training is taken to have done; T is a tail whose
singular values are ⅛·i^-½ for i = 1 … 128. Both have random singular vectors, and together they are
scaled to 2 % of the norm of the weight. What is stored is rounded to the dtype, which in bfloat16
adds noise in every direction: a further tail, flat. Every tensor has a seed of its own, so that any
of them can be made again without the files.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eckart.checkpoints import CheckpointWriter, SafetensorsDtype, TensorLayout
from eckart.files import whole_file

Array: TypeAlias = npt.NDArray[np.float32]

PLANTED = 16
"""Rank of the change that is looked for."""
TAIL = 128
SIZE = 0.02
"""‖ΔW‖/‖W‖, before rounding."""
SPREAD = 0.02
"""Standard deviation of the entries of the base."""
ROWS = 8192
"""That are made at a time."""
SHARD_BYTES = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama:
    """The shapes of a model; those of Llama 3.2 1B where nothing else is said.

    Fields:
        hidden, intermediate, layers, heads, kv_heads, vocabulary: As `config.json` has them.
        dtype: Of all tensors, as PyTorch calls it.
        seed: Of both checkpoints.
    """

    hidden: int = 2048
    intermediate: int = 8192
    layers: int = 16
    heads: int = 32
    kv_heads: int = 8
    vocabulary: int = 128256
    dtype: str = "bfloat16"
    seed: int = 0

    @property
    def name(self) -> str:
        """Of its folder."""
        sizes = (self.hidden, self.intermediate, self.layers, self.kv_heads, self.vocabulary)
        return f"llama-{'x'.join(map(str, sizes))}-{self.dtype}-{self.seed}"

    @property
    def stored(self) -> SafetensorsDtype:
        """The dtype, as files call it."""
        return SafetensorsDtype.BF16 if self.dtype == "bfloat16" else SafetensorsDtype.F32

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all tensors by name."""
        hidden, keys = self.hidden, self.hidden // self.heads * self.kv_heads
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, hidden),
        }
        for number in range(self.layers):
            stem = f"model.layers.{number}"
            shapes |= {
                f"{stem}.self_attn.q_proj.weight": (hidden, hidden),
                f"{stem}.self_attn.k_proj.weight": (keys, hidden),
                f"{stem}.self_attn.v_proj.weight": (keys, hidden),
                f"{stem}.self_attn.o_proj.weight": (hidden, hidden),
                f"{stem}.mlp.gate_proj.weight": (self.intermediate, hidden),
                f"{stem}.mlp.up_proj.weight": (self.intermediate, hidden),
                f"{stem}.mlp.down_proj.weight": (hidden, self.intermediate),
                f"{stem}.input_layernorm.weight": (hidden,),
                f"{stem}.post_attention_layernorm.weight": (hidden,),
            }
        return shapes | {
            "model.norm.weight": (hidden,),
            "lm_head.weight": (self.vocabulary, hidden),
        }

    def config(self) -> dict[str, Any]:
        """What `config.json` says."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.hidden // self.heads,
            "vocab_size": self.vocabulary,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "dtype": self.dtype,
            "torch_dtype": self.dtype,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a weight before it is rounded; the first 16 directions are the planted ones.

    Fields:
        B: Array of shape (rows, 16 + 128), with the singular values in it.
        A: Array of shape (16 + 128, columns), its rows orthonormal.
    """

    B: Array
    A: Array

    @property
    def planted(self) -> "Change":
        """The part of rank 16."""
        return Change(self.B[:, :PLANTED], self.A[:PLANTED])


def change(llama: Llama, name: str) -> Change:
    """The change of a weight, the same each time."""
    rows, columns = llama.shapes()[name]
    generator = _generator(llama, name, "change")
    count = min(TAIL, rows - PLANTED, columns - PLANTED)
    values = np.concatenate(
        [np.linspace(1.0, 0.25, PLANTED), 0.125 * np.arange(1, count + 1) ** -0.5]
    )
    values *= SIZE * SPREAD * math.sqrt(rows * columns) / np.linalg.norm(values)
    left, right = (
        np.linalg.qr(generator.standard_normal((size, values.size), np.float32))[0]
        for size in (rows, columns)
    )
    return Change(left * values.astype(np.float32), np.ascontiguousarray(right.T))


def make_pair(llama: Llama, cache: Path) -> tuple[Path, Path]:
    """The folders of a base and of its fine-tune, made if they are not there."""
    folder = cache / llama.name
    base, tuned = folder / "base", folder / "tuned"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with whole_file(folder) as temporary:
            temporary.mkdir()
            _write(llama, temporary / base.name, tuned=False)
            _write(llama, temporary / tuned.name, tuned=True)
    return base, tuned


def drop_pair(llama: Llama, cache: Path) -> None:
    """Remove what `make_pair` made."""
    shutil.rmtree(cache / llama.name, ignore_errors=True)


def _write(llama: Llama, folder: Path, *, tuned: bool) -> None:
    shapes = llama.shapes()
    layout = {name: TensorLayout(dtype=llama.stored, shape=shapes[name]) for name in shapes}
    with CheckpointWriter(folder, layout, shard_bytes=SHARD_BYTES) as writer:
        for name in writer.order:
            writer.write(name, _tensor(llama, name, tuned=tuned))
    (folder / "config.json").write_text(json.dumps(llama.config(), indent=1))


def _tensor(llama: Llama, name: str, *, tuned: bool) -> npt.NDArray[Any]:
    shape, dtype = llama.shapes()[name], llama.stored.numpy
    if len(shape) == 1:
        return np.full(shape, 1.0 + (0.01 if tuned else 0.0), np.float32).astype(dtype)
    moved = change(llama, name) if tuned else None
    tensor = np.empty(shape, dtype)
    for start, block in _blocks(llama, name, shape):
        stop = start + len(block)
        if moved is None:
            tensor[start:stop] = block
        else:  # training starts from the base as it is stored
            tensor[start:stop] = block.astype(dtype).astype(np.float32) + (
                moved.B[start:stop] @ moved.A
            )
    return tensor


def _blocks(llama: Llama, name: str, shape: tuple[int, ...]) -> Iterator[tuple[int, Array]]:
    generator = _generator(llama, name, "base")
    for start in range(0, shape[0], ROWS):
        size = (min(ROWS, shape[0] - start), shape[1])
        yield start, SPREAD * generator.standard_normal(size, np.float32)


def _generator(llama: Llama, name: str, what: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{llama.name} {name} {what}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
