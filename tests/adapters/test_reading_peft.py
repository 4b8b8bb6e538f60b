"""Adapters that PEFT itself saved: read, each layer is what PEFT computes with."""

import warnings

import numpy as np
import pytest

from adapters import models
from adapters.loading import load
from adapters.test_traps import layers_of
from eckart.checkpoints.peft import Kind, read_adapter, write_adapter
from eckart.errors import FormatError
from tolerances import close, rounding

pytestmark = pytest.mark.torch
peft = pytest.importorskip("peft")


SETTINGS = {
    "plain": ("Llama", {"target_modules": ["q_proj", "down_proj"], "r": 4, "lora_alpha": 8}),
    "defaults": ("Llama", {"target_modules": ["q_proj"]}),
    "one over the root of the rank": (
        "Llama",
        {"target_modules": ["q_proj"], "r": 4, "lora_alpha": 3, "use_rslora": True},
    ),
    "patterns, the first match wins": (
        "Llama",
        {
            "target_modules": ["q_proj", "k_proj", "up_proj"],
            "r": 2,
            "rank_pattern": {"layers.1.self_attn.q_proj": 3, "q_proj": 5, "^up_proj": 7},
            "alpha_pattern": {".*_proj": 11, "layers.1.self_attn.q_proj": 13},
        },
    ),
    "embedding and saved modules": (
        "Llama",
        {"target_modules": ["embed_tokens", "q_proj"], "modules_to_save": ["lm_head"], "r": 3},
    ),
    "biases": ("Qwen2", {"target_modules": ["q_proj"], "lora_bias": True, "lora_alpha": 4}),
    "new biases": ("Qwen2", {"target_modules": ["q_proj"], "bias": "lora_only"}),
    "Conv1D": ("GPT-2", {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True, "r": 3}),
    "convolutions": ("convolutions", {"target_modules": ["0", "2", "4", "6"], "r": 2}),
}
BASES = {
    "Llama": models.plain_llama,
    "Qwen2": models.qwen2_attention,
    "GPT-2": models.gpt2,
    "convolutions": models.convolutions,
}


def saved_by_peft(base, settings, folder, seed=1):
    """A PEFT model whose adapter is random, and saved."""
    import torch

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(base, peft.LoraConfig(**settings))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name or "modules_to_save" in name or parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape))
        model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("name", SETTINGS)
def test_layers_are_those_that_peft_computes_with(name, tmp_path):
    base, settings = SETTINGS[name]
    pair = BASES[base]()
    model = saved_by_peft(pair.base, settings, tmp_path)
    adapter = read_adapter(tmp_path)
    found = {**layers_of(model)}
    assert {layer.module for layer in adapter.layers} == set(found)
    for layer in adapter.layers:
        module = found[layer.module]
        expected = module.get_delta_weight("default").detach().numpy()
        W = layer.factors.dense().reshape(layer.shape)
        assert close(W, expected, rounding(expected.reshape(expected.shape[0], -1), 4))
        if layer.bias is not None:
            change = module.lora_B["default"].bias.detach().numpy() * module.scaling["default"]
            np.testing.assert_array_equal(layer.bias, change)


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_read_and_written_again_answers_the_same(name, tmp_path):
    base, settings = SETTINGS[name]
    model = saved_by_peft(BASES[base]().base, settings, tmp_path / "peft")
    pair = BASES[base]()
    write_adapter(tmp_path / "again", read_adapter(tmp_path / "peft"))
    loaded = load(pair.base, tmp_path / "again")
    assert loaded.missing == loaded.unexpected == []
    expected = pair.logits(model)
    assert close(pair.logits(loaded.model), expected, 10 * rounding(expected.reshape(1, -1)))


def test_kinds_are_told_from_names_axes_and_settings(tmp_path):
    settings = SETTINGS["embedding and saved modules"][1]
    saved_by_peft(models.llama(), settings, tmp_path / "embedding")
    kinds = {layer.module: layer.kind for layer in read_adapter(tmp_path / "embedding").layers}
    assert kinds["model.embed_tokens"] is Kind.EMBEDDING
    assert kinds["model.layers.0.self_attn.q_proj"] is Kind.LINEAR
    saved_by_peft(models.gpt2().base, SETTINGS["Conv1D"][1], tmp_path / "gpt2")
    assert {layer.kind for layer in read_adapter(tmp_path / "gpt2").layers} == {Kind.TRANSPOSED}
    linear = read_adapter(tmp_path / "gpt2", transposed=())
    assert {layer.kind for layer in linear.layers} == {Kind.LINEAR}


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"use_dora": True}, "DoRA"), ({"init_lora_weights": "pissa"}, "pissa")],
)
def test_what_is_no_plain_lora_is_refused_by_name(settings, name, tmp_path):
    saved_by_peft(models.llama(), {"target_modules": ["q_proj"], "r": 2, **settings}, tmp_path)
    with pytest.raises(FormatError, match=name) as error:
        read_adapter(tmp_path)
    assert error.value.code == "not-lora"


def test_factors_of_all_experts_in_one_tensor_are_refused(tmp_path):
    settings = {"target_parameters": ["experts.down_proj"], "target_modules": [], "r": 2}
    saved_by_peft(models.mixtral().base, settings, tmp_path)
    with pytest.raises(FormatError, match="experts"):
        read_adapter(tmp_path)
