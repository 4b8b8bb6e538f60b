"""The rank rules, given a spectrum and a shape."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from eckart.arrays import FLOAT32, FLOAT64
from eckart.errors import ArgumentError, MatrixError
from eckart.ranks import (
    AboveThreshold,
    GivenRank,
    NoiseThreshold,
    WithinBytes,
    WithinTolerance,
    byte_count,
    noise_threshold,
    rank_rule,
    tail_errors,
)
from tolerances import agree, rounding, summation


def test_tail_errors_are_the_best_errors_of_every_rank():
    W = market.spectral("power law")
    values = scipy.linalg.svdvals(W)
    U, S, Vt = scipy.linalg.svd(W, full_matrices=False)
    errors = tail_errors(values)
    assert len(errors) == len(values) + 1
    for rank in range(len(errors)):
        truncated = (U[:, :rank] * S[:rank]) @ Vt[:rank]
        assert abs(errors[rank] - np.linalg.norm(W - truncated)) <= rounding(W, 2)


def test_the_smallest_are_summed_first():
    values = np.concatenate([[1.0], np.full(10**6, 1e-10)])
    assert agree(tail_errors(values)[1], 1e-7, summation(10**6))


def test_tail_errors_of_float32_are_summed_in_float64():
    values = np.full(10**6, 1e-3, np.float32)
    assert tail_errors(values).dtype == np.float64
    assert agree(tail_errors(values)[0], 1e3 * float(values[0]), summation(10**6))


@settings(max_examples=100)
@given(name=st.sampled_from(sorted(market.SPECTRA)), tolerance=st.floats(0.001, 0.999))
def test_a_tolerance_gives_the_smallest_rank_within_it(name, tolerance):
    values = market.SPECTRA[name]
    rank = WithinTolerance(tolerance).choose((60, 30), FLOAT64, values)
    errors = [float(np.linalg.norm(values[kept:])) for kept in range(len(values) + 1)]
    assert errors[rank] <= tolerance * errors[0]
    assert rank == 1 or errors[rank - 1] > tolerance * errors[0]


@settings(max_examples=100)
@given(rows=st.integers(1, 50), columns=st.integers(1, 50), most=st.integers(1, 20000),
       dtype=st.sampled_from([FLOAT32, FLOAT64]))  # fmt: skip
def test_a_budget_gives_the_largest_rank_that_fits_or_says_what_would(rows, columns, most, dtype):
    one = (rows + columns) * dtype.itemsize
    if most < one:
        with pytest.raises(MatrixError, match=f"already take {one} bytes") as error:
            WithinBytes(most).choose((rows, columns), dtype, None)
        assert error.value.code == "budget-too-small"
        assert f"at least {one} bytes" in error.value.hint
    else:
        rank = WithinBytes(most).choose((rows, columns), dtype, None)
        assert rank * one <= most
        assert (rank + 1) * one > most or rank == min(rows, columns)


def test_the_threshold_of_a_square_matrix_is_that_of_the_paper():
    # Gavish and Donoho give 2.858·median for square matrices, and ω to two digits
    assert round(noise_threshold((7, 7), np.array([9.0, 1.0, 0.0])), 2) == 2.86


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("shape", [(200, 200), (300, 100), (80, 240)])
def test_the_planted_rank_is_found_in_white_noise_of_any_strength(seed, shape):
    generator = np.random.default_rng(seed)
    planted = market.with_spectrum(np.array([9.0, 7.0, 5.0, 4.0]), *shape, seed)
    noise = generator.standard_normal(shape) / np.sqrt(max(shape))  # σ₁ of it is 1 + √β, at most 2
    strength = 10.0 ** generator.integers(-6, 7)
    values = scipy.linalg.svdvals(strength * (planted + noise))
    assert NoiseThreshold().choose(shape, FLOAT64, values) == 4


def test_every_rule_keeps_at_least_one_column():
    assert WithinTolerance(0.99).choose((3, 3), FLOAT64, np.zeros(3)) == 1
    assert NoiseThreshold().choose((3, 3), FLOAT64, np.ones(3)) == 1


@pytest.mark.parametrize("rule", [WithinTolerance(0.1), NoiseThreshold(), AboveThreshold(0.5)])
def test_a_rule_that_needs_the_spectrum_says_so(rule):
    assert rule.needs_spectrum
    with pytest.raises(ArgumentError, match="reads the singular values"):
        rule.choose((3, 3), FLOAT64, None)


@pytest.mark.parametrize("rule", [GivenRank(1), WithinBytes(10**6)])
def test_a_rule_of_arithmetic_needs_none(rule):
    assert not rule.needs_spectrum
    assert rule.choose((3, 3), FLOAT64, None) >= 1


@pytest.mark.parametrize(
    ("ways", "rule", "said"),
    [((3, None, None, None), GivenRank(3), "rank 3"),
     (("auto", None, None, None), NoiseThreshold(), "noise"),
     ((AboveThreshold(0.5), None, None, None), AboveThreshold(0.5), "singular values above 0.5"),
     ((None, 0.1, None, None), WithinTolerance(0.1), "tolerance 0.1"),
     ((None, None, "1kB", None), WithinBytes(1000), "at most 1000 bytes"),
     ((None, None, None, 0.25), WithinBytes(2000), "at most 2000 bytes")],
)  # fmt: skip
def test_each_way_has_its_rule_and_the_rule_describes_itself(ways, rule, said):
    assert rank_rule(*ways, nbytes=8000) == rule
    assert said in rule.describe()


@pytest.mark.parametrize(
    ("text", "count"),
    [("10MB", 10**7), ("1.5 kB", 1500), ("2KiB", 2048), ("7", 7), ("3g", 3 * 10**9), (12, 12)],
)
def test_bytes_are_read_with_and_without_units(text, count):
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "MB", "10XB", "ten MB", "nan", "inf"])
def test_what_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(ArgumentError) as error:
        byte_count(text)
    assert error.value.code == "bad-bytes"


@pytest.mark.parametrize(("threshold", "rank"), [(0.5, 3), (1.5, 2), (9.0, 1)])
def test_a_known_threshold_counts_what_is_above_it_and_leaves_at_least_one(threshold, rank):
    values, rule = np.array([3.0, 2.0, 1.0, 0.1]), AboveThreshold(threshold)
    assert rule.choose((4, 4), FLOAT64, values) == rank
    assert rule.enough((4, 4), FLOAT64, np.square(values), 0.0) == rank
    assert f"number {rank} is" in rule.explain((4, 4), FLOAT64, np.square(values), 14.01)


def test_a_known_threshold_waits_for_a_value_below_it():
    assert AboveThreshold(0.5).enough((4, 4), FLOAT64, np.array([9.0, 4.0]), 1.01) is None


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.nan, np.inf])
def test_a_threshold_is_a_positive_number(threshold):
    with pytest.raises(ArgumentError):
        AboveThreshold(threshold)


@pytest.mark.parametrize("solver", [None, eckart.BlockKrylov(), eckart.GramSVD()], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(9, 7), (60, 40), (40, 150)])
def test_rounding_is_noise_to_a_matrix_of_exact_rank(shape, dtype, solver):
    """Rounding is not white, so that the law for white noise alone would take some of it in."""
    generator, rank = np.random.default_rng(0), 3
    B, A = generator.standard_normal((shape[0], rank)), generator.standard_normal((rank, shape[1]))
    run = eckart.factorize((B @ A).astype(dtype), "auto", solver=solver)
    assert run.factors.rank == rank
    assert "rounding alone would reach" in run.message
    ones = eckart.factorize(np.ones(shape, dtype), "auto", solver=solver)
    assert ones.factors.rank == 1
