"""Gradient descent: the worked example, the gradients, the loss, the cost, the step size."""

import itertools
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from eckart.errors import ArgumentError
from eckart.matrices import Dense
from eckart.solvers import Problem
from eckart.solvers.gradient import safe_learning_rate
from eckart.solvers.starts import GivenStart
from tolerances import CHOSEN_RATE, CONVERGED, SETTLED, agree, close, rounding

ARTICLE = np.array([[4, 3, 2, 1], [2, 2, 2, 2], [1, 3, 4, 2], [0, 1, 2, 3]])


class Counting:
    """A matrix that counts its products, and lets nothing look at its blocks but a certificate."""

    def __init__(self, array: np.ndarray, *, blocks: bool = False) -> None:
        self.inner = Dense(array)
        self.products = 0
        self.blocks = blocks

    shape = property(lambda self: self.inner.shape)
    dtype = property(lambda self: self.inner.dtype)
    namespace = property(lambda self: self.inner.namespace)
    nbytes = property(lambda self: self.inner.nbytes)
    passes = property(lambda self: self.products)

    def times(self, X):
        self.products += 1
        return self.inner.times(X)

    def transposed_times(self, Y):
        self.products += 1
        return self.inner.transposed_times(Y)

    def gram_times(self, X):
        return self.transposed_times(self.times(X))

    def row_blocks(self, rows=None):
        assert self.blocks, "gradient descent needs products only"
        return self.inner.row_blocks(rows)

    def squared_norm(self):
        return self.inner.squared_norm()


def problem(W: np.ndarray, rank: int, seed: int = 0, gaussian: str = "A") -> Problem:
    matrix = Dense(W)
    start = eckart.LoRAStart(gaussian=gaussian)
    first = start.factors(matrix, rank, np.random.default_rng(seed))
    return Problem(W=matrix, rank=rank, start=first)


def test_the_worked_example_to_the_last_printed_digit():
    run = eckart.factorize(
        ARTICLE,
        rank=2,
        solver=eckart.GradientDescent(learning_rate=0.01, epochs=1000, stop_early=False),
        start=(np.random.RandomState(666).randn(4, 2), np.zeros((2, 4))),
    )
    losses = [f"{record.loss:.4f}" for record in run.history[::100]]
    assert losses == ["87.6534", "2.3620"] + ["2.3566"] * 8
    assert str(run.factors.dense()) == (
        "[[ 3.92499196  3.06584542  2.10616302  0.84487308]\n"
        " [ 1.80749375  2.16899061  2.27246474  1.60187065]\n"
        " [ 1.39233235  2.65559308  3.44471033  2.81139716]\n"
        " [-0.31000446  1.27213581  2.43876645  2.35886822]]"
    )
    assert run.outcome is eckart.Outcome.EPOCHS_DONE
    assert run.outcome.grade == "success"
    assert "(σ₃² = 2.35664)" in run.message
    assert "at rank 3 it is 0." in run.message


@pytest.mark.torch
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["power law", "wide", "float32"])
def test_updates_and_losses_are_those_of_autograd(name, momentum):
    import torch

    W = market.MATRICES[name]()
    one = problem(W, 4)
    rate = 0.05
    B = torch.from_numpy(one.start.B.copy()).requires_grad_()
    A = torch.from_numpy(one.start.A.copy()).requires_grad_()
    target = torch.from_numpy(W)
    optimizer = torch.optim.SGD([B, A], lr=rate, momentum=momentum)
    solver = eckart.GradientDescent(learning_rate=rate, momentum=momentum)
    for step in itertools.islice(solver.steps(one), 10):
        optimizer.zero_grad()
        torch.sum((target - B @ A) ** 2).backward()
        optimizer.step()
        ours = step.factors()
        tolerance = rounding(W, 4 * (step.number + 1))
        assert close(ours.B, B.detach().numpy(), tolerance)
        assert close(ours.A, A.detach().numpy(), tolerance)
        left = target.double() - B.detach().double() @ A.detach().double()
        loss = float(torch.sum(left**2))
        assert abs(step.loss - loss) <= np.linalg.norm(W) * tolerance


@settings(max_examples=60)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    seed=st.integers(0, 10**6),
    momentum=st.sampled_from([0.0, 0.7]),
)
def test_updates_are_those_of_the_residual_formed_in_full(rows, columns, seed, momentum):
    W = np.random.default_rng(seed).standard_normal((rows, columns))
    rank = 1 + seed % min(rows, columns)
    one = problem(W, rank, seed, "AB"[seed % 2])
    B, A = one.start.B, one.start.A
    V_B, V_A = np.zeros_like(B), np.zeros_like(A)
    size = float(np.linalg.norm(B) + np.linalg.norm(A))
    solver = eckart.GradientDescent(
        learning_rate=0.1 / (size**2 + float(np.linalg.norm(W))), momentum=momentum
    )
    for step in itertools.islice(solver.steps(one), 5):
        E = W - B @ A
        V_B = momentum * V_B + 2 * solver.learning_rate * E @ A.T
        V_A = momentum * V_A + 2 * solver.learning_rate * B.T @ E
        B, A = B + V_B, A + V_A
        ours = step.factors()
        # the rounding of a product with W, times a rate and a factor: 0.1·‖W‖ / size
        tolerance = rounding(W, 5) * (0.1 / size) + rounding(np.hstack([B.T, A]), 5)
        assert close(ours.B, B, tolerance)
        assert close(ours.A, A, tolerance)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_update_goes_down_the_slope_that_finite_differences_see(seed):
    generator = np.random.default_rng(seed)
    W = generator.standard_normal((5, 4))
    start = eckart.Factors(generator.standard_normal((5, 2)), generator.standard_normal((2, 4)))
    rate = 2.0**-10
    solver = eckart.GradientDescent(learning_rate=rate)
    step = next(solver.steps(Problem(W=Dense(W), rank=2, start=start))).factors()

    def loss(B: np.ndarray, A: np.ndarray) -> float:
        return float(np.sum((W - B @ A) ** 2))

    # f is quadratic in one entry, so the central difference is exact up to rounding at any width
    width = 0.5
    for place in np.ndindex(start.B.shape):
        away = np.zeros_like(start.B)
        away[place] = width
        slope = (loss(start.B + away, start.A) - loss(start.B - away, start.A)) / (2 * width)
        taken = (start.B[place] - step.B[place]) / rate
        assert abs(taken - slope) <= rounding(np.array([[loss(start.B, start.A) + 1]])) / rate
    for place in np.ndindex(start.A.shape):
        away = np.zeros_like(start.A)
        away[place] = width
        slope = (loss(start.B, start.A + away) - loss(start.B, start.A - away)) / (2 * width)
        taken = (start.A[place] - step.A[place]) / rate
        assert abs(taken - slope) <= rounding(np.array([[loss(start.B, start.A) + 1]])) / rate


@settings(max_examples=60)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_the_loss_of_a_step_is_that_of_its_factors(rows, columns, seed, dtype):
    W = np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)
    rank = 1 + seed % min(rows, columns)
    for step in itertools.islice(eckart.GradientDescent().steps(problem(W, rank, seed)), 5):
        exact = W.astype(np.float64) - step.factors().astype(np.float64).dense()
        floor = 4 * np.linalg.norm(W) * rounding(W)  # the expanded loss is blind below it
        assert abs(step.loss - np.sum(exact**2)) <= floor


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_an_epoch_makes_two_products_with_w_and_the_run_one_more(epochs):
    W = Counting(market.spectral("power law"))
    start = problem(market.spectral("power law"), 3).start
    solver = eckart.GradientDescent(learning_rate=0.01)
    steps = solver.steps(Problem(W=W, rank=3, start=start))
    for _ in range(epochs):
        next(steps)
    assert W.products == 2 * epochs + 1


@pytest.mark.parametrize("epochs", [1, 7])
def test_a_whole_run_makes_no_product_beside_those_of_its_epochs(epochs):
    W = Counting(market.spectral("power law"), blocks=True)
    seen = []
    run = eckart.factorize(
        W,
        3,
        solver=eckart.GradientDescent(learning_rate=0.01, epochs=epochs, stop_early=False),
        start=eckart.LoRAStart(sigma=1.0),
        on_step=lambda _: seen.append(W.products),
    )
    assert W.products == 2 * epochs + 1
    assert seen == [2 * epoch + 3 for epoch in range(epochs)]
    assert len(run.history) == epochs


def test_the_losses_of_the_history_are_those_of_the_factors_at_every_step():
    W, seen = market.spectral("power law"), []
    run = eckart.factorize(
        W,
        4,
        solver=eckart.GradientDescent(epochs=30, stop_early=False),
        on_step=lambda step: seen.append(step.factors().dense()),
    )
    floor = 4 * np.linalg.norm(W) * rounding(W)
    for record, product in zip(run.history, seen, strict=True):
        assert abs(record.loss - np.sum((W - product) ** 2)) <= floor


def test_no_temporary_of_the_size_of_w_is_made():
    W = np.random.default_rng(0).standard_normal((1500, 1200)).astype(np.float32)
    steps = eckart.GradientDescent(learning_rate=1e-4).steps(problem(W, 4))
    next(steps)
    tracemalloc.start()
    next(steps)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < W.nbytes / 20


@settings(max_examples=80)
@given(
    rows=st.integers(1, 25),
    columns=st.integers(1, 25),
    seed=st.integers(0, 10**6),
    gaussian=st.sampled_from(["A", "B"]),
    kind=st.sampled_from(["noise", "decaying", "mean", "low rank", "large start"]),
)
def test_the_chosen_rate_never_raises_the_loss(rows, columns, seed, gaussian, kind):
    generator = np.random.default_rng(seed)
    W = generator.standard_normal((rows, columns)) * 10.0 ** generator.integers(-4, 5)
    rank = 1 + seed % min(rows, columns)
    if kind == "decaying":
        W = W * np.exp(-np.arange(columns) / 3)
    elif kind == "mean":
        W = W + 10 * np.abs(W).max()
    elif kind == "low rank":
        W = W[:, :1] @ generator.standard_normal((1, columns))
    one = problem(W, rank, seed, gaussian)
    if kind == "large start":
        big = eckart.Factors(5 * generator.standard_normal((rows, rank)),
                             5 * generator.standard_normal((rank, columns)))  # fmt: skip
        one = Problem(W=one.W, rank=rank, start=big)
    steps = list(itertools.islice(eckart.GradientDescent().steps(one), 60))
    # large factors of a small product cancel in the loss, which is a sum of squares of their size
    factors = [step.factors() for step in steps]
    sizes = np.array([np.linalg.norm(F.B) * np.linalg.norm(F.A) for F in factors])
    scale = np.linalg.norm(W)
    blind = 4 * rounding(W) / scale * (scale + np.maximum(sizes[1:], sizes[:-1])) ** 2
    assert (np.diff([step.loss for step in steps]) <= blind).all()


def test_the_rate_is_at_the_curvature_that_the_mathematics_gives():
    W = np.diag([5.0, 1.0])
    start = eckart.Factors(np.zeros((2, 1)), np.array([[2.0, 0.0]]))
    at_minimum, at_start = np.hypot(4.0, 2 * 5.0), 4.0 + 5.0
    rate = safe_learning_rate(Dense(W), start)
    assert agree(rate, 0.75 / max(at_minimum, at_start), CHOSEN_RATE)


@pytest.mark.parametrize("name", ["power law", "wide", "float32", "huge entries", "tiny float32"])
def test_a_rate_that_diverges_is_stopped_at_once_and_one_that_works_is_named(name):
    W = market.MATRICES[name]()
    good = eckart.GradientDescent().resolved(problem(W, 3)).learning_rate
    with pytest.raises(eckart.Diverged) as error:
        eckart.factorize(W, 3, solver=eckart.GradientDescent(learning_rate=100 * good))
    partial = error.value.partial
    assert len(partial.history) < 20
    assert np.isfinite(partial.factors.dense()).all()
    assert partial.outcome is eckart.Outcome.DIVERGED
    named = float(re.search(r"rate of (\S+) works", error.value.hint).group(1))
    run = eckart.factorize(
        W, 3, solver=eckart.GradientDescent(learning_rate=named, epochs=200, stop_early=False)
    )
    assert run.history[-1].loss <= run.history[0].loss


def test_momentum_lowers_the_chosen_rate_by_the_root_of_what_it_multiplies_a_step_with():
    W = market.spectral("power law")
    plain = eckart.GradientDescent().resolved(problem(W, 4)).learning_rate
    heavy = eckart.GradientDescent(momentum=0.5).resolved(problem(W, 4)).learning_rate
    assert agree(heavy, plain * 0.5**0.5)


@pytest.mark.parametrize("name", ["power law", "square root law", "exponential", "clustered"])
def test_momentum_at_its_chosen_rate_comes_as_low_as_without(name):
    W = market.spectral(name)
    plain, heavy = (
        eckart.factorize(
            W, 4, solver=eckart.GradientDescent(epochs=1500, momentum=momentum, stop_early=False)
        )
        for momentum in (0.0, 0.9)
    )
    assert heavy.history[-1].loss <= plain.history[-1].loss * (1 + CONVERGED)


def test_momentum_makes_more_of_the_same_given_rate():
    W = market.with_spectrum(np.array([1.0, 0.1, 0.001]), 40, 30)
    rate = eckart.GradientDescent(momentum=0.9).resolved(problem(W, 2)).learning_rate
    plain, heavy = (
        eckart.factorize(
            W,
            2,
            solver=eckart.GradientDescent(
                learning_rate=rate, epochs=1500, momentum=momentum, stop_early=False
            ),
        )
        for momentum in (0.0, 0.9)
    )
    assert heavy.history[-1].loss < plain.history[-1].loss / 2


def test_stopping_early_saves_epochs_and_loses_nothing():
    W = market.spectral("exponential")
    early = eckart.factorize(W, 4, solver=eckart.GradientDescent())
    assert early.outcome is eckart.Outcome.CONVERGED
    assert len(early.history) < 1000
    assert early.certificate.gap < CONVERGED
    whole = eckart.factorize(W, 4, solver=eckart.GradientDescent(stop_early=False))
    assert len(whole.history) == 1000
    assert whole.outcome is eckart.Outcome.EPOCHS_DONE


@pytest.mark.parametrize("sigma", [1e-8, 1e-3])
def test_a_start_beside_the_saddle_is_left_and_not_taken_for_converged(sigma):
    run = eckart.factorize(
        ARTICLE, 2, solver=eckart.GradientDescent(), start=eckart.LoRAStart(sigma=sigma)
    )
    assert run.certificate.gap < SETTLED


def test_epochs_used_up_while_the_loss_still_falls_is_short_of_the_target():
    with pytest.warns(eckart.ConvergenceWarning, match="still falling after 3 epochs"):
        run = eckart.factorize(ARTICLE, 2, solver=eckart.GradientDescent(epochs=3))
    assert run.outcome is eckart.Outcome.EPOCH_LIMIT
    assert run.outcome.grade == "short"


def test_a_zero_matrix_is_factored_by_zeros():
    run = eckart.factorize(np.zeros((4, 3)), 2, solver=eckart.GradientDescent())
    assert run.certificate.error == 0
    assert run.certificate.gap == 0


@pytest.mark.parametrize(
    ("settings_", "code"),
    [({"learning_rate": 0.0}, "bad-learning-rate"),
     ({"learning_rate": np.inf}, "bad-learning-rate"),
     ({"learning_rate": np.nan}, "bad-learning-rate"), ({"epochs": 0}, "bad-epochs"),
     ({"momentum": 1.0}, "bad-momentum"), ({"momentum": -0.1}, "bad-momentum")],
)  # fmt: skip
def test_settings_out_of_range_are_refused_at_once(settings_, code):
    with pytest.raises(ArgumentError) as error:
        eckart.GradientDescent(**settings_)
    assert error.value.code == code


def test_no_start_is_an_error_and_not_a_guess():
    with pytest.raises(ArgumentError, match="start"):
        next(eckart.GradientDescent().steps(Problem(W=Dense(ARTICLE), rank=1, start=None)))
    assert GivenStart(given=eckart.Factors(np.ones((4, 1)), np.ones((1, 4)))).settings() == {
        "name": "given"
    }
