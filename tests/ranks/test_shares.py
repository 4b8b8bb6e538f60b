"""One budget for the layers of an adapter."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart.adapters.budget import LayerDemand, share_out
from eckart.checkpoints.peft import adapter_bytes
from eckart.errors import ArgumentError

EXPERTS = [
    f"mlp.experts.{number}.{kind}" for number in range(2) for kind in ("gate_proj", "up_proj")
]


def claims(modules, seed=0, **settings):
    generator = np.random.default_rng(seed)
    return [
        LayerDemand(
            module=module,
            shape=(4, 4),
            gains=np.sort(generator.random(4))[::-1],
            **settings,
        )
        for module in modules
    ]


@settings(max_examples=30)
@given(seed=st.integers(0, 999), columns=st.integers(1, 8))
def test_no_other_ranks_of_equal_layers_gain_more(seed, columns):
    layers = claims(["a", "b"], seed)
    cost = adapter_bytes((4, 4), 1)
    chosen = share_out(layers, columns * cost, "float32")

    def gained(ranks):
        return sum(float(one.gains[:rank].sum()) for one, rank in zip(layers, ranks, strict=True))

    best = max(
        gained(ranks) for ranks in itertools.product(range(5), repeat=2) if sum(ranks) <= columns
    )
    assert gained(chosen.values()) == best


def test_experts_of_a_kind_get_one_rank_and_all_of_them_are_paid():
    layers = [*claims(EXPERTS[:3]), LayerDemand(module=EXPERTS[3], shape=(4, 4), gains=np.zeros(0))]
    cost = adapter_bytes((4, 4), 1)
    chosen = share_out([*layers, *claims(["q"], seed=1)], 9 * cost, "float32")
    assert len({chosen[module] for module in EXPERTS}) == 1
    assert sum(rank * cost for rank in chosen.values()) <= 9 * cost


def test_fixed_ranks_are_paid_first_and_have_to_fit():
    fixed = LayerDemand(module="a", shape=(4, 4), gains=np.ones(4), fixed=3)
    cost = adapter_bytes((4, 4), 1)
    assert share_out([fixed, *claims(["b"])], 4 * cost, "float32") == {"a": 3, "b": 1}
    with pytest.raises(ArgumentError, match="fixed"):
        share_out([fixed], 2 * cost, "float32")


def test_least_ranks_hold_and_have_to_fit():
    layers = claims(["a", "b"], least=2)
    cost = adapter_bytes((4, 4), 1)
    assert min(share_out(layers, 4 * cost, "float32").values()) == 2
    with pytest.raises(ArgumentError):
        share_out(layers, 3 * cost, "float32")


def test_a_budget_that_buys_no_column_is_refused_with_what_is_missing():
    cost = adapter_bytes((4, 4), 1)
    with pytest.raises(ArgumentError, match=r"not reach .* at least 1 bytes more"):
        share_out(claims(["a", "b"]), cost - 1, "float32")
