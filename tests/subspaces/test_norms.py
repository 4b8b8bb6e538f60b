"""The estimate of the largest singular value: never above it, and close."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import market
from eckart.matrices import Dense, Sparse
from eckart.subspaces import largest_singular_value
from tolerances import POWER_ITERATION, rounding


@pytest.mark.parametrize("name", market.SPECTRA)
@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_of_the_norm_is_a_lower_bound_and_close(name, seed):
    W = market.spectral(name, seed=seed)
    estimate = largest_singular_value(Dense(W))
    largest = float(np.linalg.norm(W, 2))
    assert estimate <= largest + rounding(W)
    assert estimate >= POWER_ITERATION * largest


@pytest.mark.parametrize("name", market.MATRICES)
def test_it_holds_for_every_named_matrix(name):
    W = market.MATRICES[name]()
    estimate = largest_singular_value(Dense(W))
    largest = float(np.linalg.norm(W.astype(np.float64), 2))
    assert POWER_ITERATION * largest <= estimate <= largest + rounding(W)


@settings(max_examples=60)
@given(rows=st.integers(1, 30), columns=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_it_holds_for_noise_of_any_shape(rows, columns, seed):
    W = np.random.default_rng(seed).standard_normal((rows, columns))
    estimate = largest_singular_value(Dense(W))
    largest = float(np.linalg.norm(W, 2))
    assert POWER_ITERATION * largest <= estimate <= largest + rounding(W)


def test_it_depends_on_the_matrix_alone():
    W = market.spectral("power law")
    assert largest_singular_value(Dense(W)) == largest_singular_value(Dense(W.copy()))


def test_a_matrix_without_entries_has_norm_zero():
    assert largest_singular_value(Dense(np.zeros((4, 3)))) == 0.0
    assert largest_singular_value(Sparse(scipy.sparse.csr_array((4, 3)))) == 0.0


def test_its_cost_is_eight_products_with_the_gram():
    W = Dense(market.spectral("power law"))
    W.squared_norm()
    before = W.passes
    largest_singular_value(W)
    assert W.passes == before + 2 * 8
