"""When a loop ends: converged, settled, diverged."""

import numpy as np
import pytest

import eckart
from eckart.arrays import FLOAT32, FLOAT64
from eckart.engine import Record
from eckart.engine.loop import gains_little, has_converged, has_diverged
from eckart.solvers import Step
from eckart.solvers.ritz import is_complete, is_missing, is_near


def history(losses) -> list[Record]:
    return [Record(step=n, loss=float(loss), seconds=0.0) for n, loss in enumerate(losses)]


def test_a_loss_that_still_falls_goes_on():
    assert not has_converged(history(np.exp(-np.arange(100) / 20)), 1.0, FLOAT64)


def test_a_loss_that_falls_like_one_over_the_step_is_not_stopped_by_its_small_steps():
    assert not has_converged(history(1 + 1 / np.arange(1, 2000)), 2.0, FLOAT64)


def test_a_flat_loss_stops():
    assert has_converged(history(1 + np.exp(-np.arange(100.0))), 2.0, FLOAT64)


def test_a_plateau_that_is_being_left_goes_on():
    growing = 1 - 1e-12 * np.exp(np.arange(50) / 5)
    assert not has_converged(history(growing), 1.0, FLOAT64)


def test_a_few_steps_prove_nothing():
    assert not has_converged(history(np.ones(19)), 1.0, FLOAT64)
    assert has_converged(history(np.ones(20)), 1.0, FLOAT64)


def test_what_rounding_can_do_to_the_loss_is_no_progress():
    noise = 1e-9 * (1 + np.arange(100) % 2)  # below eps(float32)·‖W‖², above eps(float64)·‖W‖²
    falling = 1e-9 * np.exp(-np.arange(100) / 5)
    assert has_converged(history(noise), 1.0, FLOAT32)
    assert has_converged(history(falling), 1.0, FLOAT32)
    assert not has_converged(history(falling), 1e-9, FLOAT64)


@pytest.mark.parametrize(("loss", "diverged"), [(np.inf, True), (np.nan, True), (101.0, True),
                                                (99.0, False), (0.0, False)])  # fmt: skip
def test_divergence_is_a_hundred_times_the_highest_sound_loss(loss, diverged):
    assert has_diverged(loss, 1.0) is diverged
    assert has_diverged(None, 1.0) is False


@pytest.mark.parametrize(("loss", "settled"), [(0.0, True), (1e-17, True), (1.0, False),
                                               (None, False)])  # fmt: skip
def test_one_step_foretells_nothing_but_a_loss_that_is_all_rounding_has_settled(loss, settled):
    assert gains_little([(loss, 0.0)], 1.0, FLOAT64) is settled


def test_two_steps_may_mislead():
    assert not gains_little([(1.005, 0.01), (1.0, 1e-9)], 1.0, FLOAT64)


@pytest.mark.parametrize(("first", "settled"), [(0.01, True), (0.4, False)])
def test_gains_whose_share_rises_are_taken_to_fall_slower_still(first, settled):
    # a share of 1/4 after 1/2 stays: 0.5·0.00125/(1 − 1/4); after 1/80 it goes on rising
    losses = [(1.02, first), (1.0025, 0.005), (1.0, 0.00125)]
    assert gains_little(losses, 1.0, FLOAT64) is settled


def step(number=1, excess=None, least=None) -> Step:
    return Step(number=number, loss=1.0, factors=lambda: None, excess=excess, least_excess=least)


def test_an_estimate_rather_too_large_is_enough_by_itself():
    assert is_near(step(excess=0.0009))
    assert not is_near(step(excess=0.0011))


def test_the_least_excess_counts_where_no_more_than_one_percent_is_open():
    assert is_near(step(excess=0.0099, least=0.0007))
    assert not is_near(step(excess=0.0099))
    assert not is_near(step(excess=0.0101, least=0.0007))
    assert not is_near(step(excess=0.0099, least=0.0008))


def test_what_is_known_to_be_missing_keeps_a_run_going_whatever_the_forecast_says():
    assert is_missing(step(excess=1.0, least=0.01))
    assert not is_missing(step(excess=1.0, least=0.0))
    assert not is_missing(step())
    assert not is_complete(step())
    assert is_complete(step(excess=1.0, least=0.0005))


@pytest.mark.parametrize("rank", [4, 11])
def test_a_cluster_wider_than_the_space_is_told_from_a_failure(rank):
    # 85 equal values where the space is restarted at 80 columns: some copies stay outside for ever
    values = np.concatenate([np.ones(85), np.full(65, 0.5)])
    W = np.zeros((150, 300))
    np.fill_diagonal(W, values)
    run = eckart.factorize(W, rank, solver=eckart.BlockKrylov(), certificate=False)
    assert run.outcome.grade == "success"
    assert run.certificate.error <= 1.001 * float(np.linalg.norm(values[rank:]))
