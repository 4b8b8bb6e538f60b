"""The profile for other programs than PEFT."""

import json

import numpy as np
import pytest

from adapters.samples import experts, layer, mixed
from eckart.checkpoints.peft import Adapter, Kind, portable, write_adapter
from eckart.errors import MatrixError
from tolerances import agree


def test_linear_layers_of_one_rank_are_left(tmp_path):
    layers = [layer("a", rank=2, bias=True), layer("b", rank=4, bias=True)]
    adapter, left = portable(Adapter(layers=layers))
    assert [one.rank for one in adapter.layers] == [4, 4]
    for before, after in zip(layers, adapter.layers, strict=True):
        np.testing.assert_array_equal(before.factors.dense(), after.factors.dense())
    assert [(one.name, one.reason) for one in left] == [("a.bias", "a bias"), ("b.bias", "a bias")]
    write_adapter(tmp_path, adapter)
    document = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    assert document["rank_pattern"] == document["alpha_pattern"] == {}
    assert (document["r"], document["lora_alpha"], document["bias"]) == (4, 4, "none")
    assert document["modules_to_save"] is None
    assert "lora_bias" not in document


def test_what_was_left_out_is_named_with_its_size():
    whole = mixed()
    adapter, left = portable(whole)
    assert [one.module for one in adapter.layers] == ["model.layers.1.fc", "model.layers.11.fc"]
    assert adapter.saved == {}
    reasons = {one.name: one.reason for one in left}
    assert reasons == {
        "model.c_attn": "stored as (inputs, outputs)",
        "model.table": "an embedding",
        "model.conv": "a convolution",
        "model.norm.weight": "saved values",
        "model.norm.bias": "saved values",
        "model.layers.1.fc.bias": "saved values",
    }
    sizes = {one.name: one.squared_norm for one in left}
    table = next(one for one in whole.layers if one.kind is Kind.EMBEDDING)
    assert agree(sizes["model.table"], np.linalg.norm(table.factors.dense()) ** 2, 1e-6)
    assert sizes["model.norm.weight"] is None


def test_heads_and_experts_are_left_out():
    adapter, left = portable(Adapter(layers=[layer("q"), layer("lm_head"), *experts()], tied=False))
    assert [one.module for one in adapter.layers] == ["q"]
    assert {one.reason for one in left} == {"a head or a table of the vocabulary", "an expert"}


def test_an_adapter_of_nothing_portable_is_refused():
    with pytest.raises(MatrixError) as error:
        portable(Adapter(layers=[layer("c", (4, 9), kind=Kind.TRANSPOSED)]))
    assert error.value.code == "nothing-portable"
