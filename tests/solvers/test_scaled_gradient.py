"""Scaled gradient descent: fast whatever the spectrum."""

import numpy as np
import pytest

import eckart
import market
from eckart.errors import ArgumentError
from eckart.matrices import Dense
from tolerances import close, rounding

ILL_CONDITIONED = np.concatenate([np.logspace(0, -6, 20), 1e-7 * np.arange(1, 781) ** -0.5])


@pytest.mark.parametrize("gaussian", ["A", "B"])
def test_a_hundred_epochs_are_enough_for_a_condition_number_of_a_million(gaussian):
    W = market.with_spectrum(ILL_CONDITIONED, 1000, 800)
    optimum = np.linalg.norm(ILL_CONDITIONED[20:])
    run = eckart.factorize(
        W, 20, solver=eckart.ScaledGradientDescent(), start=eckart.LoRAStart(gaussian=gaussian)
    )
    assert len(run.history) <= 100
    # one part in ten thousand above the optimum, on the residual by direct products
    assert np.linalg.norm(W - run.factors.dense()) <= 1.0001 * optimum


def test_the_updates_are_those_of_the_normal_equations():
    W = market.spectral("power law")
    generator = np.random.default_rng(0)
    B, A = generator.standard_normal((60, 3)), generator.standard_normal((3, 30))
    solver = eckart.ScaledGradientDescent(learning_rate=0.3, epochs=1, stop_early=False)
    got = eckart.factorize(W, 3, solver=solver, start=(B, A)).factors
    R = W - B @ A
    left = B + 0.3 * R @ A.T @ np.linalg.inv(A @ A.T)
    right = A + 0.3 * np.linalg.inv(B.T @ B) @ B.T @ R
    assert close(got.B, left, rounding(left, 4))
    assert close(got.A, right, rounding(right, 4))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_spectral_start_is_balanced_and_already_near_the_optimum(dtype):
    W = market.spectral("exponential").astype(dtype)
    seen = []
    run = eckart.factorize(
        W,
        5,
        solver=eckart.ScaledGradientDescent(),
        start=eckart.SpectralStart(),
        on_step=lambda step: seen.append(step.loss),
    )
    assert run.recipe.start == {"name": "spectral"}
    assert seen[0] <= 2 * market.optimum(W, 5) ** 2
    start = eckart.SpectralStart().factors(Dense(W), 5, np.random.default_rng(0))
    gram = start.B.T @ start.B
    assert close(gram, start.A @ start.A.T, rounding(gram, 8))


@pytest.mark.parametrize("settings", [{"learning_rate": 1.0}, {"learning_rate": 0}, {"epochs": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ArgumentError):
        eckart.ScaledGradientDescent(**settings)
