"""Sparse matrices of users × items, added as they are fitted."""

import numpy as np
import pytest
import scipy.sparse

import eckart
from eckart.errors import EckartError
from eckart.recommend import add_interactions, read_interactions
from recommend.samples import bits, fitted, ratings


def matrix(table, shape):
    """The same ratings as a sparse matrix, of which the users begin at 1000."""
    items = [int(item.removeprefix("item ")) for item in table["item"]]
    return scipy.sparse.coo_array(
        (table["rating"], (np.asarray(table["user"]) - 1000, items)), shape=shape
    )


def test_a_sparse_matrix_is_added_like_a_table():
    model = fitted()
    new = {"user": [1000, 1061, 1061], "item": ["item 1", "item 2", "item 41"]}
    new["rating"] = [1.0, 5.0, 4.0]
    by_table = add_interactions(model, new).model
    W = matrix(new, (62, 42))
    ids = {
        "user_ids": np.arange(62) + 1000,
        "item_ids": [f"item {number}" for number in range(42)],
    }
    by_matrix = add_interactions(model, W, **ids).model
    assert len(by_matrix.data) == len(by_table.data)
    assert bits(by_matrix) == bits(by_table)


@pytest.mark.parametrize("implicit", [False, True], ids=["ratings", "clicks"])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok"])
def test_partial_fit_takes_every_sparse_matrix_that_fit_takes(kind, implicit):
    W = matrix(ratings(), (60, 40))
    first = scipy.sparse.csr_array(W)[:50]
    later = scipy.sparse.vstack([scipy.sparse.csr_array((50, 40)), scipy.sparse.csr_array(W)[50:]])
    made = eckart.LowRankRecommender(rank=3, regularization=0.1, implicit=implicit)
    made.fit(first.asformat(kind)).partial_fit(later.asformat(kind))
    assert made.model.data.users.to_list() == list(range(60))
    assert len(made.model.data) == W.nnz
    assert made.model.explicit is not implicit
    assert not made.recommend(59).popular


def test_a_sparse_matrix_without_ids_is_refused_where_the_model_has_names():
    with pytest.raises(EckartError, match="knows items by name") as caught:
        add_interactions(fitted(), matrix(ratings(), (60, 40)), user_ids=np.arange(60) + 1000)
    assert "item_ids" in caught.value.hint


def test_a_transposed_matrix_is_noticed_when_it_is_added():
    W = scipy.sparse.coo_array(matrix(ratings(), (60, 40)))
    model = fitted()
    ids = {"user_ids": model.data.items.to_list(), "item_ids": model.data.users.to_list()}
    with pytest.raises(EckartError, match="exchanged"):
        add_interactions(model, W.T, **ids)


def test_a_matrix_of_very_many_empty_rows_takes_memory_for_its_entries_only():
    W = scipy.sparse.coo_array(([5.0, 4.0], ([3, 2**40], [0, 2**41])), shape=(2**50, 2**50))
    read = read_interactions(W)
    assert (read.users.to_list(), read.items.to_list()) == ([3, 2**40], [0, 2**41])
