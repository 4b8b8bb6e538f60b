"""Probes that ride along: their bound is never below the truth, and near it after some products."""

import numpy as np
import pytest

import market
from eckart.matrices import Dense
from eckart.subspaces import KrylovSpace, Riding
from tolerances import rounding

SPECTRA = ["power law", "square root law", "exponential", "clustered", "exact rank 5"]


def outside(X, V):
    left = X - X @ V @ V.T
    return float(np.linalg.norm(left, 2)) ** 2


def ridden(X, seed, power, restart=None):
    """(bound, truth) after every block of a space of X, and the last space."""
    drawn = np.random.default_rng(100 + seed).standard_normal((X.shape[1], 8))
    riding = Riding(X.T @ (X @ drawn) if power else drawn, power)
    space = KrylovSpace(Dense(X), 3, np.random.default_rng(seed), tall=False, riding=riding)
    pairs = []
    for block in range(5):
        space.grow()
        if block == restart:
            space.restart(4)
            continue
        pairs.append((space.evidence().outside, outside(X, space.V)))
    return pairs, riding


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("power", [0, 1])
@pytest.mark.parametrize("restart", [None, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_above_what_lies_outside_every_space(spectrum, power, restart, seed):
    pairs, _ = ridden(market.spectral(spectrum), seed, power, restart)
    assert all(bound >= truth for bound, truth in pairs)


def test_the_bound_of_more_factors_is_closer():
    pairs, _ = ridden(market.spectral("square root law"), 0, 1)
    looseness = [bound / truth for bound, truth in pairs]
    assert looseness[-1] < looseness[0]


def test_all_bounds_of_a_run_fail_with_a_probability_of_one_in_a_million():
    assert ridden(market.spectral("power law"), 0, 1)[1].failure < 1e-6


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
