"""Merged models against PEFT's `merge_and_unload`, and adapters of PEFT held against both."""

import copy
import warnings

import numpy as np
import pytest

from adapters import models
from adapters.loading import difference, load, merged
from adapters.models import PAIRS
from adapters.test_reading_peft import saved_by_peft
from adapters.test_traps import layers_of
from eckart.adapters.join_and_truncate import join_adapters
from eckart.adapters.merge import merge_adapters
from eckart.adapters.verify import verify_adapter
from eckart.checkpoints.peft import Kind, pad_experts, read_adapter, write_adapter
from tolerances import LOGITS, MERGED, close, rounding

pytestmark = pytest.mark.torch
pytest.importorskip("peft")


def saved(model, folder):
    """A model of transformers, or the weights of any other."""
    if hasattr(model, "save_pretrained"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save_pretrained(folder)
    else:
        from safetensors.torch import save_file

        folder.mkdir()
        save_file(model.state_dict(), folder / "model.safetensors")
    return folder


def loaded(like, folder):
    """A model of the class of another with the weights of a folder."""
    if hasattr(like, "from_pretrained"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return type(like).from_pretrained(folder, dtype=like.dtype).eval()
    from safetensors.torch import load_file

    model = copy.deepcopy(like)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


@pytest.mark.parametrize("name", PAIRS)
def test_the_merged_model_is_the_one_that_peft_merges(name, tmp_path):
    pair = PAIRS[name]()
    adapter = pad_experts(pair.adapter(tmp_path))
    write_adapter(tmp_path / "adapter", adapter, base_modules=pair.modules())
    base = saved(pair.base, tmp_path / "base")
    merge_adapters(base, [tmp_path / "adapter"], tmp_path / "out", shard_bytes=20_000)
    if not hasattr(pair.base, "from_pretrained"):
        merge_adapters(base, [tmp_path / "adapter"], tmp_path / "out", force=True)
    ours = pair.logits(loaded(pair.base, tmp_path / "out"))
    theirs = pair.logits(merged(load(pair.base, tmp_path / "adapter")))
    assert difference(ours, theirs) < LOGITS
    assert difference(ours, pair.logits(pair.tuned)) < LOGITS
    tuned = saved(pair.tuned, tmp_path / "tuned")
    result = verify_adapter(tmp_path / "adapter", base, tuned, tolerance=LOGITS)
    assert result.grade == "success", result
    assert result.uncovered == ()


TRAINED = {
    "Llama": (models.plain_llama, {"target_modules": ["q_proj", "down_proj", "embed_tokens"],
                                   "lora_alpha": 4, "modules_to_save": ["lm_head"], "r": 3}),
    "GPT-2": (models.gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "biases": (models.qwen2_attention, {"target_modules": ["q_proj"], "lora_bias": True}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TRAINED)
def test_an_adapter_that_peft_trained_merges_to_the_same_weights(name, dtype, tmp_path):
    import torch

    make, settings = TRAINED[name]
    pair = make()
    model = pair.base.to(getattr(torch, dtype))
    base = saved(model, tmp_path / "base")
    saved_by_peft(copy.deepcopy(model), settings, tmp_path / "adapter")
    merge_adapters(base, [tmp_path / "adapter"], tmp_path / "out")
    theirs = merged(load(model, tmp_path / "adapter"))
    ours = loaded(theirs, tmp_path / "out").state_dict()
    eps = torch.finfo(model.dtype).eps
    for key, W in theirs.state_dict().items():
        wide = W.double()
        assert (ours[key].double() - wide).norm() <= MERGED * eps * wide.norm(), key
    result = verify_adapter(
        tmp_path / "adapter", base, saved(theirs, tmp_path / "tuned"), tolerance=2 * MERGED * eps
    )
    assert result.grade == "success", result
    assert np.isfinite(result.relative_error)


@pytest.mark.parametrize(("way", "rank"), [("cat", None), ("svd", 4)])
def test_joined_adapters_are_those_that_peft_weights(way, rank, tmp_path):
    pair, names = models.plain_llama(), ("a", "b")
    for seed, name in enumerate(names):
        settings = {"target_modules": ["q_proj", "up_proj"], "r": 3 + seed, "lora_alpha": 5}
        saved_by_peft(copy.deepcopy(pair.base), settings, tmp_path / name, seed=seed)
    theirs = load(pair.base, tmp_path / "a").model
    theirs.load_adapter(tmp_path / "b", adapter_name="b")
    theirs.add_weighted_adapter(["default", "b"], [0.7, -0.3], "both", way, svd_rank=rank)
    folders = [tmp_path / name for name in names]
    result = join_adapters(folders, tmp_path / "joined", weights=[0.7, -0.3], rank=rank)
    modules = layers_of(theirs)
    joined = read_adapter(tmp_path / "joined")
    assert {layer.module for layer in joined.layers} == modules.keys()
    for layer in joined.layers:
        W = modules[layer.module].get_delta_weight("both").detach().numpy()
        assert layer.rank == (rank or 7)
        assert layer.kind is Kind.LINEAR
        assert close(layer.factors.dense(), W, rounding(W, 8))
    assert (result.relative_change > 0) is (rank is not None)
    assert load(pair.base, tmp_path / "joined").unexpected == []
