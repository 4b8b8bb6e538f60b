"""What other tools write and PEFT loads wrongly, each as PEFT loads it from here."""

import json

import numpy as np
import pytest

from adapters.loading import difference, load, merged
from adapters.models import full_rank, gpt2_with_head, llama, qwen2_attention, tied, tune

from adapters.models import Pair, plain_llama  # isort: skip
from eckart.checkpoints.peft import Adapter, Kind, round_factors, write_adapter
from tolerances import LOGITS, close, rounding

pytestmark = pytest.mark.torch
pytest.importorskip("peft")


def written(pair, folder, **settings):
    """The adapter of a pair, written, and as PEFT loads it."""
    adapter = pair.adapter(folder, **settings)
    write_adapter(folder / "adapter", adapter, base_modules=pair.modules())
    return adapter, load(pair.base, folder / "adapter")


def layers_of(model, kind="lora_A"):
    prefix = "base_model.model."
    return {n.removeprefix(prefix): m for n, m in model.named_modules() if hasattr(m, kind)}


def test_only_the_norm_that_changed_is_replaced(tmp_path):
    base = llama()
    pair = Pair(base, tune(base, r"q_proj|model\.norm"))
    _, loaded = written(pair, tmp_path)
    assert loaded.unexpected == []
    replaced = layers_of(loaded.model.base_model, "modules_to_save")
    assert [name for name in replaced if name.endswith("norm")] == ["model.model.norm"]
    assert difference(pair.logits(loaded.model), pair.logits(pair.tuned)) < LOGITS


def test_every_layer_has_its_own_rank_and_the_scale_one(tmp_path):
    base = llama(num_hidden_layers=12)
    pair = Pair(base, tune(base, "q_proj|down_proj"))
    ranks = {f"model.layers.{i}.self_attn.q_proj": 1 + i for i in range(12)}
    adapter, loaded = written(pair, tmp_path, rank=lambda name: ranks.get(name, 2))
    found = layers_of(loaded.model)
    assert {layer.module: layer.rank for layer in adapter.layers} == {
        name: module.r["default"] for name, module in found.items()
    }
    assert {module.scaling["default"] for module in found.values()} == {1.0}


def test_a_name_that_ends_like_another_is_not_taken_for_it(tmp_path):
    import torch
    from torch import nn

    def tower():
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Linear(6, 6))

    torch.manual_seed(0)
    base = nn.ModuleDict({"model": tower(), "vision": nn.ModuleDict({"model": tower()})})
    change = np.random.default_rng(0).standard_normal((6, 6))
    layers = [
        full_rank("model.2", Kind.LINEAR, change, 2),
        full_rank("vision.model.1", Kind.LINEAR, np.ones((6, 192)), 3),
    ]
    names = [name for name, _ in base.named_modules()]
    write_adapter(tmp_path, Adapter(layers=layers), base_modules=names)
    loaded = load(base, tmp_path)
    assert loaded.missing == loaded.unexpected == loaded.warnings == []
    ranks = {name: module.r["default"] for name, module in layers_of(loaded.model).items()}
    assert ranks == {"model.2": 2, "vision.model.1": 3}
    layers.append(full_rank("vision.model.2", Kind.LINEAR, change, 4))
    write_adapter(tmp_path, Adapter(layers=layers), base_modules=names)
    ranks = {n: m.r["default"] for n, m in layers_of(load(base, tmp_path).model).items()}
    assert ranks == {"model.2": 2, "vision.model.1": 3, "vision.model.2": 4}


def test_tied_tables_are_right_and_still_tied_after_merging(tmp_path):
    pair = tied()
    _, loaded = written(pair, tmp_path)
    model = merged(loaded)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert difference(pair.logits(model), pair.logits(pair.tuned)) < LOGITS


def test_changes_of_biases_are_switched_on(tmp_path):
    pair = qwen2_attention()
    adapter, loaded = written(pair, tmp_path)
    assert all(layer.bias is not None for layer in adapter.layers)
    assert all(module.lora_bias["default"] for module in layers_of(loaded.model).values())
    with loaded.model.disable_adapter():
        assert difference(pair.logits(loaded.model), pair.logits(pair.base)) < LOGITS


def test_linear_layers_beside_transposed_ones_are_right_though_peft_warns(tmp_path):
    pair = gpt2_with_head()
    _, loaded = written(pair, tmp_path)
    assert all("fan_in_fan_out is set to" in text for text in loaded.warnings)
    assert loaded.missing == loaded.unexpected == []
    expected = pair.logits(pair.tuned)
    assert difference(pair.logits(loaded.model), expected) < LOGITS
    assert difference(pair.logits(merged(loaded)), expected) < LOGITS


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_rounded_factors_are_those_that_peft_uses(dtype, tmp_path):
    pair = plain_llama()
    adapter = pair.adapter(tmp_path, rank=lambda _: 3)
    write_adapter(tmp_path / "adapter", adapter, dtype)
    found = layers_of(load(pair.base, tmp_path / "adapter").model)
    for layer in adapter.layers:
        W = round_factors(layer, dtype).dense()
        used = found[layer.module].get_delta_weight("default").detach().numpy()
        assert close(used, W, rounding(W))


def test_nothing_is_written_that_older_versions_of_peft_do_not_know(tmp_path):
    pair = plain_llama()
    write_adapter(tmp_path, pair.adapter(tmp_path / "models"))
    keys = set(json.loads((tmp_path / "adapter_config.json").read_text("utf-8")))
    # the keys of PEFT 0.6, of November 2023
    assert keys == {
        "alpha_pattern", "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode",
        "lora_alpha", "lora_dropout", "modules_to_save", "peft_type", "r", "rank_pattern",
        "target_modules", "task_type", "use_rslora",
    }  # fmt: skip
