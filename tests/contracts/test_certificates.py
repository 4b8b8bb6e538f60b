"""Laws of every certificate that is made from products with W alone."""

import itertools
from importlib import import_module

import numpy as np
import pytest

import eckart
import market
from eckart import certificates
from eckart.certificates import certify
from eckart.matrices import Dense
from eckart.solvers import Problem
from eckart.subspaces import FAILURE_PROBABILITY, FailureBudget
from registries import SOLVERS
from tolerances import SETTLED, rounding

SEEDS = range(25)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
shapes = pytest.mark.parametrize("shape", market.SHAPES)
spectra = pytest.mark.parametrize("name", market.SPECTRA)


@pytest.fixture(autouse=True)
def products_only(monkeypatch):
    """Nobody may compute all singular values, however small W is."""
    monkeypatch.setattr(certificates, "SMALL_SIDE", 0)
    monkeypatch.setattr(certificates, "EXACT_SIDE", 0)


def of(name: str, shape: str, dtype: type, seed: int) -> np.ndarray:
    return market.with_spectrum(market.SPECTRA[name], *market.SHAPES[shape], seed).astype(dtype)


def after(tests: int) -> FailureBudget:
    """The state of a run that has made so many tests."""
    probing = FailureBudget()
    probing.tests = tests
    return probing


@spectra
@shapes
@dtypes
def test_the_bound_is_never_above_the_optimum_whatever_the_seed_and_the_factors(name, shape, dtype):
    for seed in SEEDS:
        W = of(name, shape, dtype, seed)
        rank = 1 + seed % 8
        generator = np.random.default_rng(seed)
        B, A = (
            generator.standard_normal((W.shape[0], rank)),
            generator.standard_normal((rank, W.shape[1])),
        )
        proof = certify(W, eckart.Factors(B, A), probing=after(seed % 6))
        best = market.optimum(W, rank)
        assert proof.best_possible_error is None or proof.best_possible_error <= best + rounding(
            W.astype(np.float64)
        ), seed
        assert 0 < proof.failure_probability < FAILURE_PROBABILITY


@spectra
@shapes
@dtypes
def test_the_bound_of_a_krylov_run_is_never_above_the_optimum(name, shape, dtype):
    for seed in SEEDS:
        W = of(name, shape, dtype, seed)
        rank = 1 + seed % 8
        problem = Problem(W=Dense(W), rank=rank, start=None, randomness=np.random.default_rng(seed))
        best = market.optimum(W, rank)
        steps, probing = (
            eckart.BlockKrylov(oversampling=1 + seed % 4).steps(problem),
            FailureBudget(),
        )
        for step in itertools.islice(steps, 6):
            proof = certify(W, step.factors(), evidence=step.evidence(), probing=probing)
            bound = proof.best_possible_error
            assert bound is None or bound <= best + rounding(W.astype(np.float64)), seed
            assert proof.gap is None or proof.gap >= 0


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", ["power law", "exponential", "clustered", "square root law"])
def test_every_solver_is_certified_without_all_singular_values(solver, name, monkeypatch):
    monkeypatch.setattr(import_module("eckart.factorization"), "FAST_SIDE", 0)
    W = market.spectral(name)
    run = eckart.factorize(W, 5, solver=SOLVERS[solver])
    assert run.certificate.best_possible_error <= market.optimum(W, 5) + rounding(W)


@pytest.mark.parametrize("name", ["power law", "exponential", "square root law"])
def test_a_converged_run_is_certified_to_half_a_percent(name):
    # the bound issue 3 asks for where σ_r is clear of the tail; a flat spectrum forbids it
    gaps = []
    for seed in range(20):
        W = market.with_spectrum(market.SPECTRA[name], 60, 30, seed)
        problem = Problem(W=Dense(W), rank=5, start=None, randomness=np.random.default_rng(seed))
        *_, step = itertools.islice(eckart.BlockKrylov().steps(problem), 4)
        gaps.append(certify(W, step.factors(), evidence=step.evidence()).gap)
    assert np.median(gaps) <= 5 * SETTLED


def test_repeated_tests_spend_less_than_what_is_promised():
    W = market.spectral("power law")
    factors = eckart.Factors(np.ones((60, 1)), np.ones((1, 30)))
    spent = [certify(W, factors, probing=after(test)).failure_probability for test in range(29)]
    assert (np.diff(spent) > 0).all()
    assert spent[0] == FAILURE_PROBABILITY / 2
    assert max(spent) < FAILURE_PROBABILITY


def test_exact_factors_are_exact_without_a_test():
    for dtype in (np.float32, np.float64):
        W = of("exact rank 5", "tall", dtype, 0)
        proof = certify(W, eckart.factorize(W, 5, solver=eckart.ExactSVD()).factors)
        assert proof.method == "exact to rounding"
        assert (proof.gap, proof.failure_probability) == (0.0, 0.0)
