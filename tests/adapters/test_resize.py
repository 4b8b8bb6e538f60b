"""Adapters cut to a rank or to a budget."""

from dataclasses import replace

import numpy as np
import pytest

import market
from adapters.samples import experts, layer, mixed
from eckart import Factors
from eckart.adapters.join_and_truncate import resize_adapter
from eckart.checkpoints.peft import Adapter, adapter_bytes, write_adapter
from eckart.errors import ArgumentError
from tolerances import rounding


def layer_bytes(adapter, dtype="float32"):
    return sum(adapter_bytes(one.shape, one.rank, dtype) for one in adapter.layers)


def lost(adapter, smaller):
    """‖change − smaller change‖² over all layers."""
    kept = {one.module: one.factors.dense() for one in smaller.layers}
    return sum(
        float(np.linalg.norm(one.factors.dense() - kept.get(one.module, 0.0)) ** 2)
        for one in adapter.layers
    )


def graded(name, rank=8, scale=1.0):
    """A layer whose singular values fall by halves."""
    one = layer(name, (40, 30), rank)
    U, S, Vt = np.linalg.svd(one.factors.dense(), full_matrices=False)
    del S
    values = scale * 0.5 ** np.arange(rank)
    return replace(one, factors=Factors(U[:, :rank] * values, Vt[:rank]))


def test_a_rank_is_the_best_of_each_layer():
    adapter = mixed()
    smaller = resize_adapter(adapter, rank=2)
    assert {one.rank for one in smaller.layers} == {2}
    for before, after in zip(adapter.layers, smaller.layers, strict=True):
        W = before.factors.dense()
        error = np.linalg.norm(W - after.factors.dense())
        assert error <= market.optimum(W, 2) + rounding(W, 4)
    assert smaller.saved == adapter.saved


def test_a_budget_goes_to_the_layers_that_need_it():
    adapter = Adapter(layers=[graded("a", scale=8.0), graded("b", scale=1.0), graded("c", 8, 1e-3)])
    column = adapter_bytes((40, 30), 1)
    smaller = resize_adapter(adapter, budget=9 * column)
    assert {one.module: one.rank for one in smaller.layers} == {"a": 6, "b": 3}
    uniform = resize_adapter(adapter, rank=3)
    assert layer_bytes(smaller) == layer_bytes(uniform) == 9 * column
    assert lost(adapter, smaller) < lost(adapter, uniform)


def test_saved_values_and_biases_are_counted():
    one = layer("a", (6, 5), 3, bias=True)
    adapter = Adapter(layers=[one], saved={"norm.weight": np.ones(5, np.float16)})
    fixed = 5 * 2 + 6 * 4
    column = adapter_bytes((6, 5), 1, "float16")
    smaller = resize_adapter(adapter, budget=fixed + 2 * column + 1, dtype="float16")
    assert smaller.layers[0].rank == 2
    with pytest.raises(ArgumentError) as error:
        resize_adapter(adapter, budget=fixed + column - 1, dtype="float16")
    assert error.value.code == "budget-too-small"


def test_experts_of_a_group_shrink_together(tmp_path):
    layers = [*experts(rank=3), *experts("layers.1.mlp.experts", rank=2), layer("q", rank=4)]
    adapter = Adapter(layers=layers)
    smaller = resize_adapter(adapter, budget=layer_bytes(adapter) // 2)
    assert layer_bytes(smaller) <= layer_bytes(adapter) // 2
    write_adapter(tmp_path, smaller)
    assert len(smaller.layers) >= 12


def test_a_budget_for_everything_keeps_everything():
    adapter = mixed()
    smaller = resize_adapter(adapter, budget=10**6)
    assert [one.rank for one in smaller.layers] == [one.rank for one in adapter.layers]


@pytest.mark.parametrize(
    ("settings", "code"),
    [({}, "rank-not-chosen"), ({"rank": 1, "budget": 1}, "rank-chosen-twice"),
     ({"rank": 0}, "rank-too-small"), ({"budget": 10}, "budget-too-small")],
)  # fmt: skip
def test_wrong_sizes_are_refused(settings, code):
    with pytest.raises(ArgumentError) as error:
        resize_adapter(Adapter(layers=[layer()]), **settings)
    assert error.value.code == code
