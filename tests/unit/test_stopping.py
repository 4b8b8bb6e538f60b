"""When a loop ends: converged, settled, diverged."""

import numpy as np
import pytest

from eckart.arrays import FLOAT32, FLOAT64
from eckart.factorization import Record
from eckart.factorization.stopping import has_converged, has_diverged, has_settled


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


@pytest.mark.parametrize(
    ("loss", "gain", "settled"),
    [(1.0, 0.00051, False), (1.0, 0.00049, True), (0.0, 0.0, True), (1e-17, 1.0, True),
     (None, 0.0, False), (1.0, None, False)],
)  # fmt: skip
def test_a_first_step_that_lowered_the_loss_by_a_quarter_of_what_is_wanted_was_the_last(
    loss, gain, settled
):
    assert has_settled([(loss, gain)], 1.0, FLOAT64) is settled


@pytest.mark.parametrize(("gain", "settled"), [(0.0026, False), (0.0024, True)])
def test_all_later_gains_are_foretold_by_what_the_last_two_brought(gain, settled):
    # the last block brought 0.005 after a gain of 0.01, so 1.2·0.5·g/(1 − g/0.01) is still to come,
    # which is 0.002, 0.1 % of the error, at g = 0.0025
    assert has_settled([(1.005, 0.01), (1.0, gain)], 1.0, FLOAT64) is settled


@pytest.mark.parametrize(("first", "settled"), [(0.01, True), (0.4, False)])
def test_gains_whose_share_rises_are_taken_to_fall_slower_still(first, settled):
    # a share of 1/4 after 1/2 stays: 0.5·0.00125/(1 − 1/4); after 1/80 it goes on rising
    losses = [(1.02, first), (1.0025, 0.005), (1.0, 0.00125)]
    assert has_settled(losses, 1.0, FLOAT64) is settled


@pytest.mark.parametrize(("foreseen", "settled"), [(0.009, True), (0.011, False)])
def test_a_solver_that_foresees_five_times_what_is_wanted_goes_on(foreseen, settled):
    assert has_settled([(1.005, 0.01), (1.0, 0.0)], 1.0, FLOAT64, foreseen) is settled
