"""Adapters that are edited as others may have written them, and all that reads one."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.samples import layer
from eckart.adapters.join_and_truncate import join_adapters, truncate_adapter
from eckart.adapters.merge import merge_adapters
from eckart.checkpoints.peft import Adapter, write_adapter
from eckart.errors import EckartError

Q = "model.layers.0.self_attn.q_proj"
TABLE = "model.embed_tokens.weight"


def adapter(folder: Path, **saved: np.ndarray) -> Path:
    """An adapter of one layer of the base of `saved_pair`."""
    write_adapter(folder, Adapter(layers=(layer(Q, (16, 16)),), saved=saved))
    return folder


def edited(folder: Path, **settings) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def rewritten(folder: Path, change) -> Path:
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)
    return folder


def calls(folder: Path, out: Path):
    """Each way to use an adapter."""
    base = out / "base"
    return [
        lambda: merge_adapters(base, [folder], out / "merged"),
        lambda: truncate_adapter(folder, out / "small", rank=1),
        lambda: join_adapters([folder], out / "joined", weights=[1.0]),
    ]


def refusal(call) -> EckartError:
    with pytest.raises(EckartError) as caught:
        call()
    return caught.value
