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
from tolerances import SUM_OF_256, agree, close, rounding


@settings(max_examples=40)
@given(rows=st.integers(1, 30), columns=st.integers(1, 20), seed=st.integers(0, 999),
       sparse=st.booleans(), offset=st.sampled_from([0.0, 1.0, 1e6]))  # fmt: skip
def test_it_is_the_matrix_less_the_means_of_its_columns(rows, columns, seed, sparse, offset):
    W = offset + np.random.default_rng(seed).standard_normal((rows, columns))
    W[np.random.default_rng(seed + 1).random(W.shape) < 0.5] = 0.0
    truth = W - W.mean(axis=0)
    given = scipy.sparse.csr_array(W) if sparse else W
    found = eckart.centred(given)
    assert close(dense(found), truth, rounding(W))
    assert abs(np.sqrt(found.squared_norm()) - np.linalg.norm(truth)) <= rounding(W, 2)
    X, Y = (np.random.default_rng(2).standard_normal((n, 3)) for n in (columns, rows))
    assert close(found.times(X), truth @ X, rounding(W, 4) * float(np.linalg.norm(X)))
    assert close(found.transposed_times(Y), truth.T @ Y, rounding(W, 4) * float(np.linalg.norm(Y)))


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


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_is_that_of_what_is_subtracted_in_the_dtype_of_w(sparse, dtype):
    W = (1e4 + np.random.default_rng(0).standard_normal((500, 30))).astype(dtype)
    W[np.random.default_rng(1).random(W.shape) < 0.5] = 0.0
    found = eckart.centred(scipy.sparse.csr_array(W) if sparse else W)
    exact = W.astype(np.float64) - found.means.astype(np.float64)
    # a subtraction is wrong by half an eps, and sums of 256 of a dense W are made in its dtype
    share = (1 + SUM_OF_256) * float(np.finfo(dtype).eps)
    assert agree(np.sqrt(found.squared_norm()), np.linalg.norm(exact), share)


def test_it_reads_the_matrix_once_for_the_means_and_once_for_the_norm():
    W = eckart.as_matrix(np.random.default_rng(0).standard_normal((50, 4)))
    found = eckart.centred(W)
    assert W.passes == 1
    found.squared_norm()
    assert found.passes == W.passes == 2


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_entry_that_is_no_number_is_named_by_its_place(sparse, bad):
    W = np.ones((6, 4))
    W[4, 2], W[5, 2] = bad, -bad
    with pytest.raises(MatrixError, match="row 4, column 2"):
        eckart.centred(scipy.sparse.csr_array(W) if sparse else W)


def test_shapes_have_to_agree_still():
    with pytest.raises(MatrixError):
        eckart.centred(np.zeros((0, 3)))
