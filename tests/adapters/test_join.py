"""Joined adapters: the sum of their changes, exactly."""

from dataclasses import replace

import numpy as np
import pytest

import market
from adapters.samples import experts, layer, mixed
from eckart.adapters.join_and_truncate import check_weights, combine, resize_adapter
from eckart.checkpoints.peft import Adapter, Kind, write_adapter
from eckart.errors import ArgumentError, EckartError, MatrixError
from tolerances import close, rounding


def dense(adapter):
    return {one.module: one.factors.dense() for one in adapter.layers}


def test_every_layer_is_the_weighted_sum():
    one, other = (replace(mixed(seed), saved={}) for seed in (1, 2))
    joined = combine([one, other], [0.5, -2.0])
    for left, right in zip(one.layers, other.layers, strict=True):
        found = next(x for x in joined.layers if x.module == left.module)
        expected = 0.5 * left.factors.dense() - 2.0 * right.factors.dense()
        assert close(found.factors.dense(), expected, rounding(expected, 8))
        assert (found.kind, found.shape) == (left.kind, left.shape)
        assert found.rank == min(left.rank + right.rank, *left.factors.shape)


def test_layers_of_one_adapter_only_are_kept():
    joined = combine([Adapter(layers=[layer("a")]), Adapter(layers=[layer("b")])], [2.0, 3.0])
    assert [one.module for one in joined.layers] == ["a", "b"]
    W = 3.0 * layer("b").factors.dense()
    assert close(dense(joined)["b"], W, rounding(W, 8))


def test_a_smaller_rank_is_the_best_of_the_sum():
    adapters = [Adapter(layers=[layer("a", (30, 20), 6, seed=seed)]) for seed in range(3)]
    W = sum(one.layers[0].factors.dense().astype(float) for one in adapters)
    joined = resize_adapter(combine(adapters, [1.0, 1.0, 1.0]), rank=4)
    assert joined.layers[0].rank == 4
    error = np.linalg.norm(W - joined.layers[0].factors.dense())
    assert error <= market.optimum(W, 4) + rounding(W, 8, np.float32)


def test_the_sum_of_ranks_is_no_more_than_rows_and_columns():
    adapters = [Adapter(layers=[layer("a", (6, 5), 4, seed=seed)]) for seed in range(3)]
    assert combine(adapters, [1, 1, 1]).layers[0].rank == 5


def test_an_adapter_of_weight_zero_is_not_looked_at():
    adapters = [Adapter(layers=[layer("a")]), Adapter(layers=[layer("b")], base_name="other")]
    assert [one.module for one in combine(adapters, [1.0, 0.0]).layers] == ["a"]


def test_changes_of_biases_add():
    adapters = [Adapter(layers=[layer("a", bias=True, seed=seed)]) for seed in (1, 2)]
    joined = combine(adapters, [2.0, 3.0])
    first, second = (one.layers[0].bias for one in adapters)
    np.testing.assert_array_equal(joined.layers[0].bias, 2.0 * first + 3.0 * second)


def test_saved_values_that_agree_are_kept_where_the_weights_add_up_to_one():
    one = Adapter(layers=[layer()], saved={"norm.weight": np.ones(3)}, base_name="m")
    joined = combine([one, one], [0.3, 0.7])
    np.testing.assert_array_equal(joined.saved["norm.weight"], np.ones(3))
    assert joined.base_name == "m"


@pytest.mark.parametrize(
    ("second", "weights", "code", "words"),
    [
        ({"saved": {"norm.weight": np.zeros(3)}}, [0.5, 0.5], "saved-differ", "different values"),
        ({"saved": {"norm.weight": np.ones(3)}}, [1.0, 1.0], "saved-differ", "add up to 2"),
        ({}, [0.5, 1.0], "saved-differ", "add up to 0.5"),
        (
            {"base_name": "other"},
            [1.0, 1.0],
            "bases-differ",
            "base_model_name_or_path: m and other",
        ),
        ({"layers": [layer("q", (5, 5))]}, [1.0, 1.0], "shapes-differ", "'q' is linear"),
        ({"layers": [layer("q", kind=Kind.EMBEDDING)]}, [1.0, 1.0], "shapes-differ", "embedding"),
    ],
)
def test_what_cannot_be_joined_is_refused(second, weights, code, words):
    one = Adapter(layers=[layer()], saved={"norm.weight": np.ones(3)}, base_name="m")
    other = replace(Adapter(layers=[layer()], base_name="m"), **second)
    with pytest.raises(EckartError, match=words) as error:
        combine([one, other], weights)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("weights", "code", "words"),
    [
        ([1.0], "lengths-differ", "1 weights for 2"),
        ([1.0, np.nan], "bad-weights", "nan"),
        ([0.0, 0.0], "bad-weights", "0, 0"),
    ],
)
def test_weights_are_finite_and_one_for_each_adapter(weights, code, words):
    with pytest.raises(ArgumentError, match=words) as error:
        check_weights(2, weights)
    assert error.value.code == code


def test_a_rank_below_one_is_refused():
    with pytest.raises(ArgumentError):
        resize_adapter(combine([Adapter(layers=[layer()])], [1.0]), rank=0)


def test_joined_experts_can_be_stacked(tmp_path):
    one = Adapter(layers=experts(rank=2))
    other = Adapter(layers=[layer("q")])
    joined = combine([one, other, one], [1.0, 1.0, 1.0])
    write_adapter(tmp_path, joined)
    assert isinstance(joined, Adapter)
    with pytest.raises(MatrixError):
        write_adapter(tmp_path, replace(joined, layers=joined.layers[1:]))
