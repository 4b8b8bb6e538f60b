"""Laws of every solver."""

import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from registries import SOLVERS
from tolerances import CONVERGED, SETTLED, SQUARE_ROOT_OF_EPS, agree, close, rounding

solvers = pytest.mark.parametrize("solver", SOLVERS)


def factor(W, solver: str, rank: int, **arguments) -> eckart.Factorization:
    """Factor without the warning that gradient descent ran out of epochs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eckart.ConvergenceWarning)
        return eckart.factorize(W, rank, solver=SOLVERS[solver], **arguments)


@solvers
@pytest.mark.parametrize("name", market.MATRICES)
def test_no_answer_beats_eckart_and_young_and_every_certificate_holds(solver, name):
    W = market.MATRICES[name]()
    rank = min(3, *W.shape)
    run = factor(W, solver, rank)
    exact = W.astype(np.float64)
    error = float(np.linalg.norm(exact - run.factors.astype(np.float64).dense()))
    best = market.optimum(W, rank)
    slack = rounding(exact, 2)
    assert error >= best - slack
    assert abs(run.certificate.error - error) <= slack
    assert run.certificate.best_possible_error <= best + slack
    assert run.certificate.best_possible_error <= run.certificate.error


@solvers
@pytest.mark.parametrize("shape", market.SHAPES)
def test_an_exact_low_rank_matrix_is_recovered(solver, shape):
    W = market.spectral("exact rank 5", shape)
    run = factor(W, solver, market.RANK)
    # gradient descent stops where its expanded loss sees nothing: √eps·‖W‖ in the error
    tolerance = rounding(W) if solver == "svd" else 4 * SQUARE_ROOT_OF_EPS * np.linalg.norm(W)
    assert close(run.factors.dense(), W, tolerance)


@solvers
@pytest.mark.parametrize("name", ["exponential", "clustered", "exact rank 5", "flat"])
def test_the_optimum_is_reached_to_a_tenth_of_a_percent(solver, name):
    W = market.spectral(name)
    rank = 10 if name == "clustered" else market.RANK
    run = factor(W, solver, rank)
    best = market.optimum(W, rank)
    assert run.certificate.error <= (1 + SETTLED) * best + 4 * SQUARE_ROOT_OF_EPS * np.linalg.norm(
        W
    )


@solvers
def test_a_power_of_four_scales_the_answer_and_changes_no_digit(solver):
    W = market.spectral("exponential")
    plain, scaled = factor(W, solver, 4), factor(W * 4.0**20, solver, 4)
    np.testing.assert_array_equal(plain.factors.dense() * 4.0**20, scaled.factors.dense())


@solvers
def test_the_same_seed_gives_the_same_bits(solver):
    W = market.spectral("power law")
    first, second = (factor(W, solver, 4, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.factors.B, second.factors.B)
    np.testing.assert_array_equal(first.factors.A, second.factors.A)


@pytest.mark.parametrize("solver", [name for name in SOLVERS if name.startswith("gd")])
@pytest.mark.parametrize("gaussian", ["A", "B"])
def test_either_factor_may_be_the_random_one(solver, gaussian):
    W = market.spectral("exponential")
    run = factor(W, solver, 4, start=eckart.LoRAStart(gaussian=gaussian))
    assert run.certificate.error <= (1 + SETTLED) * market.optimum(W, 4)


@solvers
def test_the_full_rank_leaves_no_error(solver):
    W = market.with_spectrum(np.array([5.0, 4.0, 3.0]), 7, 3)
    assert close(factor(W, solver, 3).factors.dense(), W, 4 * SQUARE_ROOT_OF_EPS * 50**0.5)


@solvers
def test_a_matrix_of_zeros_is_factored_without_error(solver):
    run = factor(np.zeros((6, 4)), solver, 2)
    assert run.factors.rank == 2
    assert (run.certificate.error, run.certificate.relative_error) == (0.0, 0.0)
    assert run.certificate.gap == 0.0


@solvers
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_the_input_is_left_as_it_was(solver, kind):
    W = market.sparse().toarray()
    given_ = kind(W.copy())
    factor(given_, solver, 2)
    np.testing.assert_array_equal(scipy.sparse.csr_array(given_).toarray(), W)


@solvers
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(solver, dtype):
    assert factor(market.spectral("exponential").astype(dtype), solver, 3).factors.dtype == dtype


@solvers
def test_dense_and_sparse_input_give_the_same_error(solver):
    W = market.sparse()
    thin, thick = factor(W, solver, 4), factor(W.toarray(), solver, 4)
    # the two runs round differently, and stop within one part in a million of the loss
    assert agree(thin.certificate.error, thick.certificate.error, CONVERGED)


@settings(max_examples=40)
@given(rows=st.integers(1, 15), columns=st.integers(1, 15), seed=st.integers(0, 10**6))
def test_the_exact_solver_agrees_with_lapack_for_every_rank(rows, columns, seed):
    W = np.random.default_rng(seed).standard_normal((rows, columns))
    U, S, Vt = scipy.linalg.svd(W, full_matrices=False, lapack_driver="gesvd")
    for rank in range(1, min(rows, columns) + 1):
        run = eckart.factorize(W, rank)
        relative_gap = (S[rank - 1] - S[rank]) / S[0] if rank < len(S) else 1.0
        truncated = (U[:, :rank] * S[:rank]) @ Vt[:rank]
        assert close(run.factors.dense(), truncated, rounding(W, 2) / relative_gap)
        assert abs(run.certificate.error - np.linalg.norm(S[rank:])) <= rounding(W, 2)
        assert run.certificate.error - run.certificate.best_possible_error <= rounding(W, 4)
        if rank == len(S):
            assert run.certificate.gap == 0


def test_the_exact_solver_does_not_care_about_transposition_and_permutation():
    W = market.spectral("power law")
    shuffle = np.random.default_rng(0).permutation(len(W))
    plain = eckart.factorize(W, 4).factors.dense()
    assert close(eckart.factorize(W.T, 4).factors.dense().T, plain, rounding(W, 8))
    assert close(eckart.factorize(W[shuffle], 4).factors.dense(), plain[shuffle], rounding(W, 8))
    across = np.random.default_rng(1).permutation(W.shape[1])
    by_columns = eckart.factorize(W[:, across], 4).factors.dense()
    assert close(by_columns, plain[:, across], rounding(W, 8))


def test_the_exact_factors_are_orthogonal_descending_and_signed():
    factors = eckart.factorize(market.spectral("power law"), 6).factors
    assert close(factors.A @ factors.A.T, np.eye(6), rounding(np.eye(30)))
    gram = factors.B.T @ factors.B
    assert close(gram, np.diag(np.diag(gram)), rounding(factors.B, 4) * np.linalg.norm(factors.B))
    assert (np.diff(np.diag(gram)) < 0).all()
    assert (factors.A[np.arange(6), np.abs(factors.A).argmax(axis=1)] > 0).all()
