"""Centring that is never formed: as subtracting the means, at the cost of a product of rank one."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

import eckart
from eckart.errors import MatrixError
from eckart.matrices.derived import dense
from tolerances import agree, close, rounding


@settings(max_examples=40)
@given(rows=st.integers(1, 30), columns=st.integers(1, 20), seed=st.integers(0, 999),
       sparse=st.booleans(), offset=st.sampled_from([0.0, 1.0, 1e4]))  # fmt: skip
def test_it_is_the_matrix_less_the_means_of_its_columns(rows, columns, seed, sparse, offset):
    W = offset + np.random.default_rng(seed).standard_normal((rows, columns))
    W[np.random.default_rng(seed + 1).random(W.shape) < 0.5] = 0.0
    truth = W - W.mean(axis=0)
    given = scipy.sparse.csr_array(W) if sparse else W
    found = eckart.centred(given)
    assert close(dense(found), truth, rounding(W))
    assert agree(found.squared_norm(), float(np.sum(truth**2)), rounding(W, 4) * np.sum(W**2))
    X = np.random.default_rng(2).standard_normal((columns, 3))
    assert close(found.times(X), truth @ X, rounding(W, 4) * float(np.linalg.norm(X)))


@pytest.mark.parametrize("sparse", [False, True])
def test_its_factors_are_the_principal_components(sparse):
    stored = scipy.sparse.random_array((300, 40), density=0.2, rng=np.random.default_rng(0))
    table = stored.toarray()
    run = eckart.factorize(eckart.centred(stored if sparse else table), 5)
    reference = PCA(5, svd_solver="full").fit(table)
    lost = np.linalg.norm(table - reference.inverse_transform(reference.transform(table)))
    assert agree(run.certificate.error, float(lost), rounding(table))
    found = np.linalg.norm(run.factors.B, axis=0)
    assert close(found, reference.singular_values_, rounding(table))


def test_a_large_sparse_matrix_is_never_made_dense():
    W = scipy.sparse.random_array((20_000, 5_000), density=0.001, rng=np.random.default_rng(0))
    tracemalloc.start()
    eckart.factorize(eckart.centred(W.tocsr()), 3, certificate=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * 8 * 20_000 * 5_000


def test_shapes_have_to_agree_still():
    with pytest.raises(MatrixError):
        eckart.centred(np.zeros((0, 3)))
