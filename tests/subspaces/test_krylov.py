"""The Krylov space: orthonormal, with a residual of one block, deflated, restarted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from eckart.errors import ArgumentError
from eckart.matrices import Dense
from eckart.solvers import Problem
from eckart.subspaces import KrylovSpace, hidden
from eckart.subspaces.directions import orthonormal
from tolerances import SETTLED, SQUARE_ROOT_OF_EPS, agree, close, rounding


def slow(rows: int = 300, columns: int = 200, dtype=np.float64) -> np.ndarray:
    places = np.arange(1, min(rows, columns) + 1)
    return market.with_spectrum(places**-0.5, rows, columns).astype(dtype)


@settings(max_examples=60)
@given(
    length=st.integers(12, 60),
    width=st.integers(0, 6),
    count=st.integers(1, 6),
    decades=st.integers(0, 8),
    seed=st.integers(0, 10**6),
)
def test_columns_become_orthonormal_however_dependent_they_are(length, width, count, decades, seed):
    generator = np.random.default_rng(seed)
    V = np.linalg.qr(generator.standard_normal((length, width)))[0]
    X = generator.standard_normal((length, count)) @ np.diag(
        10.0 ** -np.linspace(0, decades, count)
    )
    Q = orthonormal(X, V, noise=1e-13)
    both = np.hstack([V, Q])
    gram = both.T @ both
    assert np.linalg.norm(gram - np.eye(len(gram))) <= rounding(np.eye(length))
    assert Q.shape[1] == count


def test_what_is_noise_is_dropped():
    generator = np.random.default_rng(0)
    V = np.linalg.qr(generator.standard_normal((50, 4)))[0]
    X = V @ generator.standard_normal((4, 3))
    assert orthonormal(X, V, noise=1e-12).shape == (50, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("restarted", [False, True])
def test_the_residual_of_the_space_is_that_of_its_last_block(dtype, restarted):
    W = slow(dtype=dtype)
    space = KrylovSpace(Dense(W), 8, np.random.default_rng(0))
    for _ in range(4):
        space.grow()
    if restarted:
        space.restart(10)
    exact, V = W.astype(np.float64), space.V.astype(np.float64)
    assert np.linalg.norm(V.T @ V - np.eye(space.width)) <= rounding(np.eye(200, dtype=dtype))
    assert np.linalg.norm(exact @ V - space.Y) <= rounding(W, 2)
    S = exact.T @ (exact @ V) - V @ space.H
    scale = rounding(W, 4) * np.linalg.norm(W)
    assert np.linalg.norm(S - space.rest.astype(np.float64) @ space.tail) <= scale
    root = space.evidence().root()
    assert np.linalg.norm(S.T @ S - root.T @ root) <= 2 * scale * np.linalg.norm(S) + scale**2


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(market.SPECTRA)),
    shape=st.sampled_from(sorted(market.SHAPES)),
    dtype=st.sampled_from([np.float32, np.float64]),
    spread=st.sampled_from([0.0, 1.0, 4.0]),
    rank=st.integers(1, 8),
    seed=st.integers(0, 10**6),
)
def test_the_loss_is_right_to_what_rounding_may_hide(name, shape, dtype, spread, rank, seed):
    W = market.with_spectrum(market.SPECTRA[name], *market.SHAPES[shape], seed)
    W = W * np.exp(spread * np.random.default_rng(seed).standard_normal(W.shape[1]))
    matrix = Dense(W.astype(dtype))
    problem = Problem(W=matrix, rank=rank, start=None, randomness=np.random.default_rng(seed))
    for step in itertools.islice(eckart.BlockKrylov(oversampling=2).steps(problem), 4):
        B, A = (X.astype(np.longdouble) for X in (step.factors().B, step.factors().A))
        truth = float(np.square(matrix.array.astype(np.longdouble) - B @ A).sum())
        assert abs(step.loss - truth) <= hidden(matrix)


@pytest.mark.parametrize("name", market.SPECTRA)
def test_the_loss_is_that_of_the_factors_never_rises_and_never_beats_the_optimum(name):
    W = market.spectral(name)
    problem = Problem(W=Dense(W), rank=4, start=None)
    best, blind = market.optimum(W, 4) ** 2, 4 * np.linalg.norm(W) * rounding(W)
    losses = []
    for step in itertools.islice(eckart.BlockKrylov(oversampling=2).steps(problem), 6):
        explicit = np.linalg.norm(W - step.factors().dense()) ** 2
        assert abs(step.loss - explicit) <= blind
        assert explicit >= best - blind
        losses.append(step.loss)
    assert (np.diff(losses) <= blind).all()


def test_a_block_takes_two_passes_and_the_run_one_more():
    W = Dense(slow())
    steps = eckart.BlockKrylov(oversampling=8).steps(Problem(W=W, rank=2, start=None))
    next(steps)
    assert W.passes - 1 == 2 + 1  # the norm; one block of 32 columns makes the first step
    next(steps)
    assert W.passes - 1 == 2 * 2 + 1


def test_a_space_above_its_width_is_restarted_and_goes_on_to_the_optimum():
    W = slow()
    solver = eckart.BlockKrylov(oversampling=2, blocks=60, stop_early=False)
    steps = list(itertools.islice(solver.steps(Problem(W=Dense(W), rank=3, start=None)), 60))
    evidence = [step.evidence().V.shape[1] for step in steps]
    assert max(evidence) <= 6 * 5 + 3  # restarts kept it from growing to the 200 columns
    error = np.linalg.norm(W - steps[-1].factors().dense())
    assert error <= market.optimum(W, 3) + SQUARE_ROOT_OF_EPS * np.linalg.norm(W)


@pytest.mark.parametrize("rank", [5, 7, 12])
def test_a_matrix_of_exact_rank_is_explored_to_its_end(rank):
    W = market.with_spectrum(np.repeat([3.0, 1.0], 3), 80, 60)
    run = eckart.factorize(W, rank, solver=eckart.BlockKrylov(oversampling=1))
    assert abs(run.certificate.error - market.optimum(W, rank)) <= 4 * SQUARE_ROOT_OF_EPS * 6


@pytest.mark.parametrize("settings_", [{"oversampling": 0}, {"blocks": 0}, {"memory": "much"}])
def test_settings_out_of_range_are_refused(settings_):
    with pytest.raises(ArgumentError):
        eckart.BlockKrylov(**settings_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_large_matrix_is_factored_by_it_and_proven(dtype):
    places = np.arange(1, 1101)
    W = market.with_spectrum(1.0 / places, 1300, 1100).astype(dtype)
    run = eckart.factorize(W, 10)
    assert run.recipe.solver["name"] == "krylov"
    best = float(np.linalg.norm(1.0 / places[10:]))
    assert best * (1 - 1e-4) <= run.certificate.error <= 1.001 * best
    assert run.certificate.best_possible_error <= best * (1 + 1e-6)
    assert run.certificate.gap <= 5e-3
    assert 0 < run.certificate.failure_probability <= 1e-6


@settings(max_examples=40)
@given(decades=st.integers(0, 12), noise=st.booleans(), seed=st.integers(0, 10**6))
def test_columns_far_shorter_than_the_longest_are_made_orthonormal_without_losing_them(
    decades, noise, seed
):
    """A Gram matrix tells lengths down to √eps of the longest; the next turn tells the rest."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((60, 8)) @ np.diag(10.0 ** -np.linspace(0, decades, 8))
    X = X @ np.linalg.qr(generator.standard_normal((8, 8)))[0] if noise else X
    Q = orthonormal(X, np.zeros((60, 0)), noise=0.0)
    assert Q.shape[1] == 8
    assert np.linalg.norm(Q.T @ Q - np.eye(8)) <= rounding(np.eye(60))
    # what X holds is held, each direction to the rounding of the longest
    assert np.linalg.norm(X - Q @ (Q.T @ X)) <= rounding(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_block_may_be_narrower_than_the_rest_and_the_residual_stays_that_of_the_rest(dtype):
    W = slow(dtype=dtype)
    space = KrylovSpace(Dense(W), 24, np.random.default_rng(0))
    for block in (None, 8, 10, 6):
        space.grow(block, rank=12)
    exact, V = W.astype(np.float64), space.V.astype(np.float64)
    assert space.width == 24 + 8 + 10 + 6
    S = exact.T @ (exact @ V) - V @ space.H
    scale = rounding(W, 4) * np.linalg.norm(W)
    assert np.linalg.norm(S - space.rest.astype(np.float64) @ space.tail) <= scale


def test_random_directions_join_a_block_where_they_are_asked_for():
    space = KrylovSpace(Dense(slow()), 8, np.random.default_rng(0))
    space.grow()
    space.grow(8, fresh=5)
    assert space.width == 8 + 8 + 5
    assert np.linalg.norm(space.V.T @ space.V - np.eye(21)) <= rounding(np.eye(200))


@pytest.mark.parametrize("scale", [1e-30, 1e-21, 1e19, 1e30])
def test_a_scale_that_leaves_no_room_for_squares_changes_no_digit(scale):
    W = slow().astype(np.float32)
    near = eckart.factorize(W, 5, solver=eckart.BlockKrylov())
    seen = []
    factor = 2.0 ** np.round(np.log2(scale))
    far = eckart.factorize(
        (W * factor).astype(np.float32), 5, solver=eckart.BlockKrylov(), on_step=seen.append
    )
    assert agree(far.certificate.error / factor, near.certificate.error, SETTLED)
    assert far.certificate.best_possible_error <= far.certificate.error
    assert agree(seen[-1].loss, far.history[-1].loss)
    assert agree(far.history[-1].loss / factor**2, near.history[-1].loss, SETTLED)


def test_the_residual_is_known_after_random_directions_joined_and_a_restart_dropped_others():
    W = Dense(market.with_spectrum(np.arange(1, 121) ** -0.3, 150, 120))  # σ₁ = 1
    space = KrylovSpace(W, 24, np.random.default_rng(0), tall=False)
    for block, fresh in ((None, 0), (12, 0), (12, 6), (12, 6)):
        space.grow(block, fresh, rank=8)
    space.restart(30)
    V = space.V
    product = W.array.T @ (W.array @ V)
    residual = product - V @ (V.T @ product)
    # a product with W and one with Wᵀ, for each of the four blocks and for the restart
    assert close(space.rest @ space.tail, residual, rounding(W.array, 10))
