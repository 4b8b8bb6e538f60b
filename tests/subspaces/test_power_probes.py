"""Probes multiplied along: a bound never below the truth, an estimate near it, a least below it."""

import numpy as np
import pytest

import market
from eckart.matrices import Dense
from eckart.subspaces import FAILURE_PROBABILITY, KrylovSpace, PowerProbes
from tolerances import rounding

SPECTRA = ["power law", "square root law", "exponential", "clustered", "exact rank 5"]


def outside(X, V):
    left = X - X @ V @ V.T
    return float(np.linalg.norm(left, 2)) ** 2


def grown(X, seed, power, restart=None, *, tall=False):
    """(bound, estimate, least, truth) after every block of a space of X, and its probes."""
    drawn = np.random.default_rng(100 + seed).standard_normal((X.shape[1], 16))
    probes = PowerProbes(X.T @ (X @ drawn) if power else drawn, power)
    space = KrylovSpace(Dense(X), 3, np.random.default_rng(seed), tall=tall, probes=probes)
    found = []
    for block in range(5):
        space.grow()
        if block == restart:
            space.restart(4)
        evidence = space.evidence()
        found.append((evidence.outside, evidence.likely, probes.least(), outside(X, space.V)))
    return found, probes


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("power", [0, 1])
@pytest.mark.parametrize("restart", [None, 2])
@pytest.mark.parametrize("tall", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_above_what_lies_outside_every_space(spectrum, power, restart, tall, seed):
    X = market.spectral(spectrum)
    found, _ = grown(X, seed, power, restart, tall=tall)
    noise = rounding(X) * np.linalg.norm(X)
    for block, (bound, _, least, truth) in enumerate(found):
        assert bound >= truth - noise
        assert least <= truth + noise
        assert np.isinf(bound) == (block == restart and not power)


@pytest.mark.parametrize("spectrum", ["power law", "square root law", "clustered"])
def test_the_estimate_is_seldom_below_the_truth_and_never_far(spectrum):
    """A mean of squares of 16 normal numbers is below 1/4 with a probability of 1.1·10⁻³."""
    X = market.spectral(spectrum)
    shares = [
        (likely / truth) ** (2 * (block + 1))
        for seed in range(20)
        for block, (_, likely, _, truth) in enumerate(grown(X, seed, 0)[0])
    ]
    assert min(shares) >= 1 / 4
    assert np.mean(np.array(shares) >= 1) >= 1 / 2


def test_the_bound_of_more_factors_is_closer():
    found, _ = grown(market.spectral("square root law"), 0, 1)
    looseness = [bound / truth for bound, _, _, truth in found]
    assert looseness[-1] < looseness[0]


def test_all_bounds_of_a_run_fail_with_a_probability_of_half_of_one_in_a_million():
    assert 0 < grown(market.spectral("power law"), 0, 1)[1].failure < FAILURE_PROBABILITY / 2


def test_a_part_along_a_long_direction_of_the_space_is_taken_off_twice():
    """What rounding leaves of σ₁² = 10¹⁰ beside 1 is no direction outside the space."""
    X = market.with_spectrum(np.r_[1e5, np.ones(9), 0.1 * np.ones(40)], 90, 60).astype(np.float32)
    drawn = np.random.default_rng(0).standard_normal((60, 16)).astype(np.float32)
    probes = PowerProbes(drawn)
    space = KrylovSpace(Dense(X), 14, np.random.default_rng(0), probes=probes)
    for _ in range(3):
        space.grow()
    exact = X.astype(np.float64)
    assert probes.least() <= outside(exact, space.V.astype(np.float64)) * (1 + 1e-2) + 1e-2


@pytest.mark.parametrize("seed", range(20))
def test_a_product_over_nested_spaces_is_as_long_as_that_over_the_last(seed):
    """‖A_k···A₁·M‖ ≥ ‖A_k‖^(k+1) for A_j = Π_j·M·Π_j, which the bound stands on."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((12, 9)) * 2.0 ** -np.arange(9)
    M, basis = X.T @ X, np.linalg.qr(generator.standard_normal((9, 9)))[0]
    product = M
    for count in range(1, 8):
        away = np.eye(9) - basis[:, :count] @ basis[:, :count].T
        last = away @ M @ away
        product = last @ product
        power = np.linalg.norm(last, 2) ** (count + 1)
        assert np.linalg.norm(product, 2) >= power - rounding(product, 9)
