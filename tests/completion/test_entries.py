"""Known entries: any order, two ways to look at them, and no surprises."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import eckart


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_both_orders_are_those_of_scipy(rows, columns, seed):
    generator = np.random.default_rng(seed)
    W = scipy.sparse.random_array((rows, columns), density=0.4, rng=generator)
    entries = eckart.Entries.of_sparse(W)
    for order, reference in ((entries.by_rows, W.tocsr()), (entries.by_columns, W.tocsc())):
        reference.sort_indices()
        np.testing.assert_array_equal(order.starts, reference.indptr)
        np.testing.assert_array_equal(order.indices, reference.indices)
        np.testing.assert_array_equal(order.values, reference.data.astype(np.float32))


def test_the_order_of_the_entries_does_not_matter():
    generator = np.random.default_rng(0)
    row, column = np.nonzero(generator.random((20, 15)) < 0.3)
    values, weights = generator.random((2, len(row)))
    shuffled = generator.permutation(len(row))
    first = eckart.Entries.of(row, column, values, weights)
    second = eckart.Entries.of(*(part[shuffled] for part in (row, column, values, weights)))
    for name in ("rows", "columns", "values", "weights"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(first.rows, row)


@pytest.mark.parametrize("weighted", [False, True])
def test_an_entry_takes_at_most_three_times_twelve_bytes(weighted):
    row, column = np.divmod(np.arange(10_000), 100)
    values = np.ones(10_000)
    entries = eckart.Entries.of(row, column, values, values if weighted else None)
    assert entries.by_columns.indices.dtype == np.int32
    assert entries.nbytes <= 36 * len(entries)


def test_a_row_is_looked_up():
    entries = eckart.Entries.of([2, 0, 2], [1, 0, 0], [5, 6, 7], shape=(4, 2))
    columns, values = entries.row(2)
    assert (columns.tolist(), values.tolist()) == ([0, 1], [7.0, 5.0])
    assert entries.row(3)[0].size == 0
    assert repr(entries) == "Entries(3 of 4 × 2)"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("duplicate-entry", ([0, 0], [1, 1], [1, 2])),
        ("bad-index", ([-1], [0], [1])),
        ("bad-index", ([0.5], [0], [1])),
        ("bad-index", (["a"], [0], [1])),
        ("bad-index", ([0], [5], [1], None, (1, 5))),
        ("shapes-differ", ([0, 1], [0], [1])),
        ("not-finite", ([0], [0], [np.nan])),
        ("out-of-range", ([0], [0], [1e300])),
        ("not-numbers", ([0], [0], ["five"])),
        ("bad-weight", ([0], [0], [1], [-1])),
        ("empty", ([], [], [])),
    ],
)
def test_what_is_not_entries_is_refused_by_name(code, arguments):
    with pytest.raises(eckart.EckartError) as caught:
        eckart.Entries.of(*arguments)
    assert caught.value.code == code


def test_no_entry_is_known_is_refused_by_factorize():
    with pytest.raises(eckart.EckartError, match="No entry is known"):
        eckart.factorize(eckart.Entries.of([], [], [], shape=(3, 2)), 1)


def ordered(weighted):
    generator = np.random.default_rng(1)
    row, column = np.nonzero(generator.random((20, 15)) < 0.3)
    values, weights = generator.random((2, len(row))).astype(np.float32)
    return row, column.astype(np.int32), values, weights if weighted else None


@pytest.mark.parametrize("weighted", [False, True])
def test_entries_in_order_share_their_memory_and_are_the_same(weighted):
    row, column, values, weights = ordered(weighted)
    shared = eckart.Entries.of_rows(np.bincount(row), column, values, weights, (20, 15))
    sorted_anew = eckart.Entries.of(row, column, values, weights, (20, 15))
    assert np.shares_memory(shared.columns, column)
    assert np.shares_memory(shared.values, values)
    for order in ("by_rows", "by_columns"):
        for part in ("starts", "indices", "values", "weights"):
            one, other = (getattr(getattr(made, order), part) for made in (shared, sorted_anew))
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("code", "columns"), [("not-in-order", [1, 0]), ("not-in-order", [1, 1]), ("bad-index", [0, 2])]
)
def test_entries_that_are_not_in_order_are_refused(code, columns):
    ones = np.ones(2, np.float32)
    with pytest.raises(eckart.errors.EckartError) as caught:
        eckart.Entries.of_rows(np.array([2]), np.array(columns), ones, None, (1, 2))
    assert caught.value.code == code


@pytest.mark.parametrize("largest", [2**23, 2**40, 2**62])
def test_ids_in_the_place_of_numbers_are_refused_before_they_take_memory(largest):
    for rows, columns in (([0, largest], [0, 1]), ([0, 1], [0, largest])):
        with pytest.raises(eckart.EckartError, match=f"{largest:,}, and there are 2 entries"):
            eckart.Entries.of(rows, columns, [1.0, 2.0])
    assert eckart.Entries.of([0, 2**20], [0, 1], [1.0, 2.0]).shape == (2**20 + 1, 2)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_weights_that_are_all_zero_are_said(alpha):
    entries = eckart.Entries.of([0, 1], [0, 1], [1.0, 2.0], [0.0, 0.0])
    with pytest.raises(eckart.EckartError, match="All weights are 0"):
        eckart.factorize(entries, 1, objective=eckart.Observed(unobserved_weight=alpha))
