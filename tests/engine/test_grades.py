"""The grade and the sentences of an answer follow what is known of it."""

from importlib import import_module

import numpy as np
import pytest

import eckart
import market
from eckart import certificates
from eckart.engine import Outcome
from eckart.engine.loop import has_stalled


@pytest.fixture
def products_only(monkeypatch):
    """Nobody may compute all singular values, however small W is."""
    monkeypatch.setattr(certificates, "SMALL_SIDE", 0)
    monkeypatch.setattr(certificates, "EXACT_SIDE", 0)
    monkeypatch.setattr(import_module("eckart.factorization"), "FAST_SIDE", 0)


def test_descent_that_stops_at_a_saddle_is_short_of_the_best_and_says_what_to_do():
    W = np.diag([3.0, 2.0, 1.0])
    start = eckart.Factors(np.zeros((3, 1)), np.array([[0.0, 1.0, 0.0]]))
    with pytest.warns(eckart.ConvergenceWarning, match="Begin elsewhere"):
        run = eckart.factorize(W, 1, solver=eckart.GradientDescent(epochs=4000), start=start)
    assert run.outcome is Outcome.FAR
    assert run.outcome.grade == "short"
    assert run.certificate.gap > 0.4


def test_descent_that_reaches_the_best_is_a_success():
    run = eckart.factorize(np.diag([3.0, 2.0, 1.0]), 1, solver=eckart.GradientDescent(epochs=4000))
    assert run.outcome is Outcome.CONVERGED


@pytest.mark.usefixtures("products_only")
@pytest.mark.parametrize("name", market.HARD)
def test_a_sentence_that_nothing_is_better_stands_on_a_bound(name):
    run = eckart.factorize(market.hard(name), market.HARD[name][1], solver=eckart.BlockKrylov())
    assert "can do better" not in run.message
    gap, estimated = run.certificate.gap, run.estimated_gap
    if run.outcome is Outcome.SETTLED:
        assert min(gap or np.inf, estimated) <= 0.01
        assert "estimated to be at most" in run.message
    if gap is None and run.certificate.method != "exact to rounding":
        assert "not proven" in run.message


@pytest.mark.usefixtures("products_only")
def test_a_flat_spectrum_is_said_to_be_too_flat_for_a_proof():
    W = market.with_spectrum(np.linspace(1.0, 0.97, 400), 500, 400)
    run = eckart.factorize(W, 60, solver=eckart.BlockKrylov())
    assert run.outcome in (Outcome.SETTLED, Outcome.UNPROVEN)
    assert run.outcome.grade == "success"
    best = float(np.linalg.norm(np.linspace(1.0, 0.97, 400)[60:]))
    assert np.linalg.norm(W - run.factors.dense()) <= 1.001 * best
    assert run.outcome is not Outcome.UNPROVEN or "too alike" in run.message


@pytest.mark.usefixtures("products_only")
def test_the_estimate_is_made_without_a_certificate_too():
    W = market.with_spectrum(np.arange(1, 301.0) ** -1.0, 400, 300)
    run = eckart.factorize(W, 10, solver=eckart.BlockKrylov(), certificate=False)
    assert run.certificate.gap is None
    assert 0 <= run.estimated_gap <= 0.01
    assert run.to_dict()["estimated_gap"] == run.estimated_gap


def test_an_excess_that_falls_no_more_has_stalled():
    assert has_stalled([1.0, *[0.3] * 11])
    assert not has_stalled([1.0, *[0.3] * 10])
    assert not has_stalled([0.9**n for n in range(40)])
