"""The error of the answers: whitened, decomposed, and taken back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from eckart.errors import ArgumentError, MatrixError
from eckart.matrices import Dense, Product
from eckart.matrices.derived import dense
from tolerances import SIX_DIGITS, agree, close, rounding


def inputs(columns: int, count: int = 200, seed: int = 0) -> np.ndarray:
    """Inputs whose directions differ a hundredfold in size."""
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((columns, columns)) * np.logspace(0, -2, columns)
    return generator.standard_normal((count, columns)) @ mixed.T


@settings(max_examples=30)
@given(rows=st.integers(1, 20), columns=st.integers(1, 15), seed=st.integers(0, 99))
def test_a_product_is_that_of_its_two(rows, columns, seed):
    generator = np.random.default_rng(seed)
    W, R = generator.standard_normal((rows, columns)), generator.standard_normal((columns, columns))
    product = Product(Dense(W), R)
    X, Y = generator.standard_normal((columns, 3)), generator.standard_normal((rows, 2))
    scale = rounding(W, 4) * float(np.linalg.norm(R)) * 10
    assert close(dense(product), W @ R, scale)
    assert close(product.times(X), W @ R @ X, scale * float(np.linalg.norm(X)))
    assert close(product.transposed_times(Y), R.T @ W.T @ Y, scale * float(np.linalg.norm(Y)))
    assert agree(product.squared_norm(), float(np.sum((W @ R) ** 2)), 1e-9)


@pytest.mark.parametrize("rank", [1, 4, 9])
@pytest.mark.parametrize("solver", [None, eckart.BlockKrylov()])
def test_no_factors_answer_the_inputs_better(rank, solver):
    """By Eckart and Young in the coordinates of X: ‖(W − B·A)Xᵀ‖ is at least the tail of W·Xᵀ."""
    W = market.spectral("power law")
    X = inputs(W.shape[1])
    objective = eckart.Weighted(moments=X.T @ X, damping=1e-12)
    run = eckart.factorize(W, rank, objective=objective, solver=solver)
    reached = np.linalg.norm((W - run.factors.dense()) @ X.T)
    best = np.linalg.norm(np.linalg.svd(W @ X.T, compute_uv=False)[rank:])
    plain = np.linalg.norm((W - eckart.factorize(W, rank).factors.dense()) @ X.T)
    # the damping of 1e-12 of the mean moves the tail by less than its root, one part in a million
    assert agree(float(reached), float(best), 1e-3 if solver else 1e-5)
    assert agree(run.certificate.error, float(reached), 1e-5)
    assert reached < plain


def test_equal_moments_change_nothing():
    W = market.spectral("exponential")
    weighted = eckart.factorize(W, 4, objective=eckart.Weighted(moments=np.eye(W.shape[1])))
    plain = eckart.factorize(W, 4)
    assert close(weighted.factors.dense(), plain.factors.dense(), rounding(W, 64))


def test_a_given_start_is_one_of_the_factors_of_the_matrix():
    W = market.spectral("exponential")
    X = inputs(W.shape[1])
    objective = eckart.Weighted(moments=X.T @ X)
    best = eckart.factorize(W, 4, objective=objective).factors
    solver = eckart.ScaledGradientDescent(epochs=2, stop_early=False)
    run = eckart.factorize(W, 4, objective=objective, solver=solver, start=best)
    assert close(run.factors.dense(), best.dense(), 1e6 * rounding(W))


def test_directions_without_inputs_do_not_blow_up():
    W = market.spectral("power law")
    X = inputs(W.shape[1], count=5)
    run = eckart.factorize(W, 3, objective=eckart.Weighted(moments=X.T @ X))
    assert np.linalg.norm(run.factors.dense()) <= 3 * np.linalg.norm(W)


@pytest.mark.parametrize(
    "moments",
    [
        np.ones((2, 3)),
        np.array([[1.0, 2.0], [0.0, 1.0]]),
        np.full((2, 2), np.nan),
        np.zeros((2, 2)),
        np.array([[-1.0, 0.0], [0.0, 2.0]]),
    ],
)
def test_moments_that_are_none_are_refused(moments):
    with pytest.raises(ArgumentError):
        eckart.Weighted(moments=moments)
    with pytest.raises(ArgumentError):
        eckart.Weighted(moments=np.eye(2), damping=0.0)


def test_moments_that_some_inputs_would_have_negative_squares_by_are_refused():
    objective = eckart.Weighted(moments=np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ArgumentError, match="negative squares"):
        eckart.factorize(np.eye(2), 1, objective=objective)


def test_moments_that_were_summed_in_float32_are_taken_as_they_are():
    W, X = market.spectral("power law"), inputs(30, count=8).astype(np.float32)
    exact = eckart.factorize(W, 4, objective=eckart.Weighted(moments=X.T @ X))
    moments = (X.T.copy() @ X.copy()).astype(np.float64)  # no symmetric product, kept in float64
    moments[2, 3] += float(np.finfo(np.float32).eps) * moments.max()
    run = eckart.factorize(W, 4, objective=eckart.Weighted(moments=moments))
    assert agree(run.certificate.error, exact.certificate.error, SIX_DIGITS)


@pytest.mark.parametrize("power", [-90, 90])
def test_moments_whose_roots_leave_the_range_are_refused(power):
    objective = eckart.Weighted(moments=np.eye(3) * 10.0**power)
    with pytest.raises(MatrixError, match="leave the range of float32"):
        eckart.factorize(np.eye(3, dtype=np.float32), 1, objective=objective)
    assert eckart.factorize(np.eye(3), 1, objective=objective).certificate.gap is not None
