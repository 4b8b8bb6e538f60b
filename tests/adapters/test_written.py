"""Adapters made from others on disk: the dtype, the names and the rest are kept."""

import json

import numpy as np
import pytest

from adapters.samples import experts, layer, mixed
from eckart.adapters.join_and_truncate import join_adapters, truncate_adapter
from eckart.checkpoints.peft import Adapter, factor_dtype, read_adapter, write_adapter
from eckart.errors import ArgumentError
from tolerances import MEASURED, agree, close, rounding

DTYPES = ("float32", "float16", "bfloat16")


def settings(folder):
    return json.loads((folder / "adapter_config.json").read_text("utf-8"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_of_the_factors_is_kept(dtype, tmp_path):
    write_adapter(tmp_path / "a", Adapter(layers=[layer(rank=3)]), dtype)
    assert factor_dtype(tmp_path / "a") == dtype
    truncate_adapter(tmp_path / "a", tmp_path / "b", rank=2)
    join_adapters([tmp_path / "a", tmp_path / "a"], tmp_path / "c", weights=[0.5, 0.5])
    assert factor_dtype(tmp_path / "b") == factor_dtype(tmp_path / "c") == dtype
    truncate_adapter(tmp_path / "a", tmp_path / "d", rank=2, dtype="float32")
    assert factor_dtype(tmp_path / "d") == "float32"


def test_different_dtypes_are_joined_in_float32(tmp_path):
    for dtype in DTYPES[1:]:
        write_adapter(tmp_path / dtype, Adapter(layers=[layer()]), dtype)
    join_adapters([tmp_path / dtype for dtype in DTYPES[1:]], tmp_path / "out", weights=[1.0, 1.0])
    assert factor_dtype(tmp_path / "out") == "float32"


def test_what_was_lost_is_what_dense_algebra_finds(tmp_path):
    write_adapter(tmp_path / "a", mixed(), base_modules=())
    result = truncate_adapter(tmp_path / "a", tmp_path / "b", rank=2)
    lost = total = 0.0
    pairs = zip(read_adapter(tmp_path / "a").layers, read_adapter(tmp_path / "b").layers,
                strict=True)  # fmt: skip
    for before, after in pairs:
        W = before.factors.dense().astype(float)
        lost += np.linalg.norm(W - after.factors.dense()) ** 2
        total += np.linalg.norm(W) ** 2
    assert agree(result.relative_change, np.sqrt(lost / total), MEASURED)
    assert result.ranks == (2, 2)


def test_the_rest_of_an_adapter_is_kept(tmp_path):
    write_adapter(tmp_path / "a", mixed(), base_modules=["tower.model.layers.1.fc"])
    truncate_adapter(tmp_path / "a", tmp_path / "b", rank=2)
    join_adapters([tmp_path / "b"], tmp_path / "c", weights=[1.0])
    wanted = {**settings(tmp_path / "a"), "r": 2, "lora_alpha": 2}
    wanted |= {"rank_pattern": {}, "alpha_pattern": {}}
    assert wanted["exclude_modules"] == ["tower.model.layers.1.fc"]
    for name in "bc":
        assert settings(tmp_path / name) == wanted
        adapter = read_adapter(tmp_path / name)
        for parameter, values in mixed().saved.items():
            np.testing.assert_array_equal(adapter.saved[parameter], values)
    once, twice = read_adapter(tmp_path / "b"), read_adapter(tmp_path / "c")
    for one, other in zip(once.layers, twice.layers, strict=True):
        W = one.factors.dense()
        assert close(other.factors.dense(), W, rounding(W, 8))


def test_a_budget_in_halves_buys_twice_the_columns(tmp_path):
    layers = [layer(f"q{number}", (40, 30), 8) for number in range(4)]
    for dtype in DTYPES[:2]:
        write_adapter(tmp_path / dtype, Adapter(layers=layers), dtype)
        truncate_adapter(tmp_path / dtype, tmp_path / f"{dtype}.cut", budget=4480)
    columns = {
        dtype: sum(one.rank for one in read_adapter(tmp_path / f"{dtype}.cut").layers)
        for dtype in DTYPES[:2]
    }
    assert columns == {"float32": 16, "float16": 32}


def test_layers_that_are_not_worth_a_column_are_named(tmp_path):
    small = layer("small", (40, 30), 2)
    small.factors.B[:] *= 1e-3
    write_adapter(tmp_path / "a", Adapter(layers=[layer("large", (40, 30), 2), small]))
    result = truncate_adapter(tmp_path / "a", tmp_path / "b", budget=600)
    assert result.left_out == ("small",)
    assert result.layers == 1


def test_experts_stay_of_one_rank(tmp_path):
    write_adapter(tmp_path / "a", Adapter(layers=[*experts(rank=3), layer("q", rank=2)]))
    result = truncate_adapter(tmp_path / "a", tmp_path / "b", rank=1)
    assert result.ranks == (1, 1)
    assert "mlp.experts" in settings(tmp_path / "b")["target_parameters"][0]


def test_an_input_is_not_overwritten_by_the_output(tmp_path):
    write_adapter(tmp_path / "a", Adapter(layers=[layer()]))
    for make in (
        lambda: truncate_adapter(tmp_path / "a", tmp_path / "a", rank=1, force=True),
        lambda: join_adapters([tmp_path / "a"], tmp_path, weights=[1.0], force=True),
    ):
        with pytest.raises(ArgumentError) as error:
            make()
        assert error.value.code == "output-is-input"
