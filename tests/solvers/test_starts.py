"""First factors: their shape, their law, their settings, their seed."""

import json

import numpy as np
import pytest

import eckart
import market
from eckart.arrays import as_randomness
from eckart.errors import ArgumentError, MatrixError
from eckart.matrices import Dense
from eckart.solvers.starts import GivenStart, LoRAStart, as_start, default_sigma
from registries import STARTS
from tolerances import CHOSEN_RATE, agree

starts = pytest.mark.parametrize("start", STARTS)


@starts
@pytest.mark.parametrize(
    "name", ["power law", "float32", "wide", "one row", "zero", "huge float32"]
)
def test_the_first_factors_have_the_shape_rank_and_dtype_asked_for(start, name):
    W = Dense(market.MATRICES[name]())
    rank = min(3, *W.shape)
    factors = STARTS[start](W, rank).factors(W, rank, np.random.default_rng(0))
    assert (factors.shape, factors.rank, factors.dtype) == (W.shape, rank, W.dtype)


@starts
def test_the_same_seed_gives_the_same_bits_and_settling_changes_none(start):
    W = Dense(market.spectral("power law"))
    one = STARTS[start](W, 3)
    first = one.factors(W, 3, as_randomness(4))
    for again in (
        one.factors(W, 3, as_randomness(4)),
        one.resolved(W).factors(W, 3, as_randomness(4)),
    ):
        np.testing.assert_array_equal(first.B, again.B)
        np.testing.assert_array_equal(first.A, again.A)


@starts
def test_a_settled_start_has_nothing_left_to_choose_and_is_strict_json(start):
    W = Dense(market.spectral("power law"))
    settings = STARTS[start](W, 3).resolved(W).settings()
    assert None not in settings.values()
    assert json.loads(json.dumps(settings, allow_nan=False)) == settings


@starts
def test_a_start_is_a_start_of_its_own(start):
    one = STARTS[start](Dense(market.spectral("flat")), 2)
    assert as_start(one) is one


@pytest.mark.parametrize("gaussian", ["A", "B"])
def test_one_factor_is_zero_and_the_other_has_the_given_deviation(gaussian):
    W = Dense(np.ones((300, 200)))
    start = LoRAStart(gaussian=gaussian, sigma=0.5)
    factors = start.factors(W, 50, np.random.default_rng(0))
    drawn, zero = (factors.A, factors.B) if gaussian == "A" else (factors.B, factors.A)
    assert not zero.any()
    # the deviation of n draws is within 5/√(2n) of σ with a failure probability below 10⁻⁶
    assert abs(drawn.std() / 0.5 - 1) < 5 / np.sqrt(2 * drawn.size)
    assert abs(drawn.mean()) < 5 * 0.5 / np.sqrt(drawn.size)


def test_a_smaller_rank_begins_with_the_same_rows():
    W = Dense(market.spectral("power law"))
    three, five = (LoRAStart().factors(W, rank, as_randomness(1)).A for rank in (3, 5))
    np.testing.assert_array_equal(three, five[:3])


def test_the_default_deviation_makes_the_gram_as_large_as_the_leading_singular_value():
    W = market.with_spectrum(np.array([20.0, 1.0]), 500, 400)
    assert agree(default_sigma(Dense(W)), np.sqrt(20 / 400), CHOSEN_RATE)
    assert agree(default_sigma(Dense(W), "B"), np.sqrt(20 / 500), CHOSEN_RATE)


def test_a_zero_matrix_has_a_deviation_of_one():
    assert default_sigma(Dense(np.zeros((3, 3)))) == 1.0


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"sigma": 0.0}, "bad-sigma"), ({"sigma": -1.0}, "bad-sigma"),
     ({"sigma": np.nan}, "bad-sigma"),
     ({"sigma": np.inf}, "bad-sigma"), ({"gaussian": "C"}, "bad-gaussian")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings, code):
    with pytest.raises(ArgumentError) as error:
        LoRAStart(**settings)
    assert error.value.code == code


def test_given_factors_that_do_not_fit_are_refused_with_the_shapes_that_would():
    start = GivenStart(given=eckart.Factors(np.ones((4, 2)), np.ones((2, 3))))
    for shape, rank in (((4, 4), 2), ((4, 3), 1)):
        with pytest.raises(MatrixError, match=rf"A of shape \({rank}, {shape[1]}\)") as error:
            start.factors(Dense(np.ones(shape)), rank, np.random.default_rng(0))
        assert error.value.code == "start-does-not-fit"


def test_a_pair_and_factors_are_a_given_start_and_nothing_is_the_start_of_adapters():
    B, A = np.ones((4, 1)), np.ones((1, 3))
    for given in ((B, A), [B, A], eckart.Factors(B, A), ([[1], [1], [1], [1]], [[1, 1, 1]])):
        start = as_start(given)
        assert isinstance(start, GivenStart)
        np.testing.assert_array_equal(start.given.B, B)
    solver = eckart.GradientDescent(epochs=2, stop_early=False)
    recipe = eckart.factorize(np.ones((4, 3)), 1, solver=solver).recipe
    assert recipe.start is not None
    assert recipe.start["name"] == "lora"


@pytest.mark.parametrize(
    ("bad", "code"),
    [(3, "bad-start"), ("B", "bad-start"), (np.ones((4, 1)), "bad-start"),
     ((1, 2, 3), "bad-factors")],
)  # fmt: skip
def test_what_is_no_start_is_refused(bad, code):
    with pytest.raises(ArgumentError) as error:
        as_start(bad)
    assert error.value.code == code


def test_a_generator_and_a_random_state_are_used_as_they_are():
    for randomness in (np.random.default_rng(0), np.random.RandomState(0)):
        assert as_randomness(randomness) is randomness
    assert as_randomness(np.int64(3)).standard_normal() == as_randomness(3).standard_normal()


@pytest.mark.parametrize("bad", [-1, 1.5, "x", None])
def test_what_is_no_seed_is_refused(bad):
    with pytest.raises(ArgumentError) as error:
        as_randomness(bad)
    assert error.value.code == "bad-seed"
