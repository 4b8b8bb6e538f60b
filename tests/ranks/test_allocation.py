"""One budget for many layers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart.errors import ArgumentError
from eckart.ranks import tail_errors
from eckart.ranks.allocation import allocate

SEEDS = st.integers(0, 10**6)


def drawn(seed, layers, longest):
    """Spectra of whole numbers, so that sums are exact, some of them zero or equal."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest + 1, layers)
    return [-np.sort(-generator.integers(0, 9, n)).astype(float) for n in lengths]


def lost(spectra, ranks, weights=None):
    weights = weights or [1.0] * len(spectra)
    return sum(
        w * float(np.sum(s[r:] ** 2)) for s, r, w in zip(spectra, ranks, weights, strict=True)
    )


def every_choice(spectra, costs, budget, multiple=1):
    """All ranks within a budget."""
    steps = [sorted({*range(0, len(s), multiple), len(s)}) for s in spectra]
    for ranks in itertools.product(*steps):
        if spent(ranks, costs) <= budget:
            yield ranks


def spent(ranks, costs):
    return sum(r * c for r, c in zip(ranks, costs, strict=True))


@settings(max_examples=100)
@given(seed=SEEDS, layers=st.integers(1, 4), budget=st.integers(0, 14))
def test_at_equal_costs_no_other_ranks_lose_less(seed, layers, budget):
    spectra = drawn(seed, layers, 4)
    costs = [1] * layers
    ranks = allocate(spectra, costs, budget)
    assert spent(ranks, costs) <= budget
    best = min(lost(spectra, other) for other in every_choice(spectra, costs, budget))
    assert lost(spectra, ranks) == best


@settings(max_examples=100)
@given(seed=SEEDS, layers=st.integers(1, 3), budget=st.integers(0, 60), multiple=st.integers(1, 3))
def test_no_other_ranks_lose_less_by_more_than_one_block(seed, layers, budget, multiple):
    spectra = drawn(seed, layers, 5)
    costs = [int(c) for c in np.random.default_rng(seed).integers(1, 9, layers)]
    ranks = allocate(spectra, costs, budget, multiple=multiple)
    assert spent(ranks, costs) <= budget
    assert all(r % multiple == 0 or r == len(s) for r, s in zip(ranks, spectra, strict=True))
    choices = every_choice(spectra, costs, budget, multiple)
    block = max(float(np.sum(s[:multiple] ** 2)) for s in spectra)
    assert lost(spectra, ranks) <= min(lost(spectra, other) for other in choices) + block


@settings(max_examples=50)
@given(seed=SEEDS, layers=st.integers(1, 6), rank=st.integers(0, 5))
def test_the_bytes_of_a_uniform_rank_are_never_spent_worse(seed, layers, rank):
    # at equal costs; the layers of one shape of a model
    spectra = drawn(seed, layers, 6)
    uniform = [min(rank, len(s)) for s in spectra]
    costs = [7] * layers
    ranks = allocate(spectra, costs, spent(uniform, costs))
    assert lost(spectra, ranks) <= lost(spectra, uniform)


@settings(max_examples=50)
@given(seed=SEEDS, layers=st.integers(1, 6), taken=st.integers(0, 20))
def test_budgets_that_are_spent_to_the_last_byte_are_spent_best(seed, layers, taken):
    spectra = drawn(seed, layers, 6)
    generator = np.random.default_rng(seed)
    costs = [int(c) for c in generator.integers(1, 9, layers)]
    densities = sorted(
        ((v * v / c, c) for s, c in zip(spectra, costs, strict=True) for v in s if v), reverse=True
    )
    budget = sum(cost for _, cost in densities[:taken])
    ranks = allocate(spectra, costs, budget)
    for rank in range(7):
        uniform = [min(rank, len(s)) for s in spectra]
        if spent(uniform, costs) <= budget and spent(ranks, costs) == budget:
            assert lost(spectra, ranks) <= lost(spectra, uniform)


def test_real_spectra_lose_less_than_every_uniform_rank_of_the_same_bytes():
    generator = np.random.default_rng(0)
    spectra = [generator.uniform(0.1, 3) * np.arange(1, 65) ** -generator.uniform(0.3, 2)
               for _ in range(40)]  # fmt: skip
    costs = [256] * 40
    for rank in (1, 4, 16, 48):
        ranks = allocate(spectra, costs, rank * 40 * 256)
        assert sum(ranks) == 40 * rank
        assert lost(spectra, ranks) < lost(spectra, [rank] * 40)


def test_weights_change_the_order():
    spectra = [np.array([2.0]), np.array([1.0])]
    assert allocate(spectra, [1, 1], 1) == (1, 0)
    assert allocate(spectra, [1, 1], 1, weights=[0.1, 1.0]) == (0, 1)


def test_least_and_most_are_kept():
    spectra = [np.array([9.0, 8.0, 7.0]), np.array([1.0, 1.0]), np.array([5.0])]
    assert allocate(spectra, [1, 1, 1], 4, least=1) == (2, 1, 1)
    assert allocate(spectra, [1, 1, 1], 4, most=[1, 2, 1]) == (1, 2, 1)
    assert allocate(spectra, [1, 1, 1], 3, least=[0, 2, 5]) == (0, 2, 1)
    assert allocate(spectra, [1, 1, 1], 5, least=1, multiple=2) == (2, 2, 1)


def test_blocks_end_with_all_that_a_layer_has():
    spectra = [np.array([3.0, 3.0, 3.0]), np.array([2.0, 2.0])]
    assert allocate(spectra, [1, 1], 4, multiple=2) == (3, 0)
    assert allocate(spectra, [1, 1], 5, multiple=2) == (3, 2)
    assert allocate(spectra, [1, 1], 3, multiple=[2, 1]) == (3, 0)


def test_what_is_left_goes_to_smaller_blocks():
    spectra = [np.array([10.0]), np.array([9.0]), np.array([1.0])]
    assert allocate(spectra, [10, 10, 1], 12) == (1, 0, 1)


def test_nothing_is_spent_on_zeros():
    assert allocate([np.array([1.0, 0.0, 0.0])], [1], 3) == (1,)
    assert allocate([np.zeros(3)], [1], 3) == (0,)
    assert allocate([], [], 3) == ()


def test_equal_layers_are_served_in_order_and_always_alike():
    spectra = [np.full(3, 0.1)] * 4
    assert allocate(spectra, [3] * 4, 15, multiple=3) == (3, 0, 0, 0)
    assert allocate(spectra, [1] * 4, 7) == (3, 3, 1, 0)


def test_a_budget_below_the_least_ranks_is_refused():
    with pytest.raises(ArgumentError, match="30 bytes") as error:
        allocate([np.ones(3)], [10], 29, least=3)
    assert error.value.code == "budget-too-small"


@pytest.mark.parametrize("settings", [{"weights": [1.0]}, {"multiple": [1, 1, 1]}, {"least": []}])
def test_lists_of_another_length_are_refused(settings):
    with pytest.raises(ArgumentError) as error:
        allocate([np.ones(1), np.ones(1)], [1, 1], 1, **settings)
    assert error.value.code == "lengths-differ"


def test_the_loss_is_that_of_the_tails():
    spectra = drawn(3, 3, 5)
    ranks = allocate(spectra, [1, 2, 3], 6)
    tails = [tail_errors(s)[r] for s, r in zip(spectra, ranks, strict=True)]
    assert round(sum(t * t for t in tails), 6) == lost(spectra, ranks)
