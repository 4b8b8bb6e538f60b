"""Ranks that are found while the space grows, on matrices too large for their whole spectrum."""

from importlib import import_module

import numpy as np
import pytest

import eckart
import market
from eckart import certificates
from eckart.errors import MatrixError
from eckart.ranks import tail_errors
from eckart.subspaces import FAILURE_PROBABILITY
from tolerances import SETTLED

PLACES = np.arange(1, 301)


@pytest.fixture(autouse=True)
def no_spectrum(monkeypatch):
    """Nobody may compute all singular values, however small W is."""
    monkeypatch.setattr(certificates, "SMALL_SIDE", 0)
    monkeypatch.setattr(certificates, "EXACT_SIDE", 0)
    monkeypatch.setattr(import_module("eckart.factorization"), "FAST_SIDE", 0)


@pytest.mark.parametrize("tolerance", [0.5, 0.2, 0.1, 0.05])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tolerance_is_met_by_the_smallest_rank_or_the_next(tolerance, dtype):
    values = 1.0 / PLACES
    run = eckart.factorize(
        market.with_spectrum(values, 400, 300).astype(dtype), tolerance=tolerance
    )
    errors = tail_errors(values)
    smallest = int(np.flatnonzero(errors <= tolerance * errors[0])[0])
    assert run.certificate.relative_error <= tolerance
    assert 0 < run.certificate.failure_probability < FAILURE_PROBABILITY
    assert smallest <= run.factors.rank <= smallest + 1
    assert f"smallest rank within {tolerance:.2%}" in run.message or (
        run.factors.rank == smallest and "is the smallest within" in run.message
    )


@pytest.mark.parametrize("strength", [3.0, 10.0])
def test_what_is_above_the_noise_is_counted(strength):
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((400, 300)) / np.sqrt(400)
    W = market.with_spectrum(np.full(7, strength), 400, 300) + noise
    run = eckart.factorize(W, "auto")
    assert run.factors.rank == 7
    assert "noise alone would reach" in run.message


def test_a_solver_that_cannot_widen_cannot_find_the_rank():
    with pytest.raises(MatrixError, match="too large to choose the rank"):
        eckart.factorize(np.eye(30), tolerance=0.1, solver=eckart.GradientDescent())


def test_memory_bounds_the_space_and_too_little_is_refused():
    W = market.with_spectrum(PLACES**-0.5, 400, 300)
    column = 700 * W.itemsize
    solver = eckart.BlockKrylov(memory=90 * column, oversampling=4)
    widths = []
    run = eckart.factorize(
        W, 20, solver=solver, on_step=lambda step: widths.append(step.evidence().V.shape[1])
    )
    assert max(widths) <= 90
    assert run.certificate.error <= (1 + 10 * SETTLED) * market.optimum(W, 20)
    with pytest.raises(MatrixError, match="takes a space of at least"):
        eckart.factorize(W, 80, solver=eckart.BlockKrylov(memory=90 * column))


@pytest.mark.parametrize(
    ("dtype", "tail"),
    [*((np.float32, tail) for tail in (1e-3, 1e-4, 1e-5)),
     *((np.float64, tail) for tail in (1e-4, 1e-8, 1e-10, 1e-12))],
)  # fmt: skip
def test_an_error_that_squares_hide_is_found_at_its_own_rank(dtype, tail):
    rank, values = 12, np.concatenate([np.linspace(2, 1, 12), np.full(188, tail)])
    W = market.with_spectrum(values, 240, 200).astype(dtype)
    wanted = 1.5 * float(np.linalg.norm(values[rank:]) / np.linalg.norm(values))
    found = eckart.factorize(W, tolerance=wanted, solver=eckart.BlockKrylov())
    assert found.factors.rank == rank
    assert found.certificate.relative_error <= wanted
