"""Numbers of any size: 2^k·W is factored, certified and reduced as W is, or refused."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
from eckart.errors import EckartError
from eckart.matrices import Streamed, as_matrix, standardised
from eckart.matrices.gram import gram
from eckart.matrices.moments import column_squares
from eckart.reduce.fit import fit_pca
from streams import InMemory
from tolerances import FAR, FLOAT32_SOLUTION, SCALED_FIT, agree, close, rounding

TENS = {"f4": 30, "f8": 150}
CASES = [(dtype, sign) for dtype in TENS for sign in (-1, 1)]
SOLVERS = [None, eckart.ExactSVD(), eckart.BlockKrylov(), eckart.GramSVD(), eckart.SinglePass()]


def table(rows=60, columns=20, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((rows, columns)) / np.arange(1, columns + 1) + 0.1


def power(dtype, sign):
    """The power of two next to the power of ten, so that no digit changes."""
    return 2.0 ** (sign * round(TENS[dtype] * np.log2(10)))


@pytest.mark.parametrize(("dtype", "sign"), CASES)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_factors_are_those_of_a_matrix_near_one(dtype, sign, solver):
    W, factor = table().astype(dtype), power(dtype, sign)
    near, far = (eckart.factorize(X, 3, solver=solver) for X in (W, W * W.dtype.type(factor)))
    left = far.factors.dense().astype(np.float64) / factor
    tolerance = rounding(W, 64, near.factors.dtype)
    assert close(left, near.factors.dense(), tolerance)
    size = float(np.linalg.norm(W))
    assert abs(far.certificate.error / factor - near.certificate.error) <= tolerance
    assert abs(far.certificate.relative_error - near.certificate.relative_error) * size <= tolerance


@pytest.mark.parametrize(("dtype", "sign"), CASES)
@pytest.mark.parametrize("solver", [None, eckart.BlockKrylov(), eckart.GramSVD()], ids=str)
def test_rows_of_a_are_those_of_a_matrix_near_one(dtype, sign, solver):
    W, seen = table().astype(dtype), []
    near, far = (
        eckart.factorize(X, 3, solver=solver, on_step=seen.append)
        for X in (W, W * W.dtype.type(power(dtype, sign)))
    )
    for factors in (far.factors, seen[-1].factors()):
        assert close(factors.A, near.factors.A, rounding(near.factors.A, 64))


@pytest.mark.parametrize("solver", [None, eckart.BlockKrylov(), eckart.GramSVD()], ids=str)
@pytest.mark.parametrize("choice", [{"rank": 3}, {"rank": "auto"}, {"tolerance": 0.3}], ids=str)
def test_a_norm_whose_square_is_the_last_number_is_factored(solver, choice):
    """‖W‖ between 2⁵¹¹ and 2⁵¹²: the square of the power of two beyond it is no number."""
    W = table() / np.linalg.norm(table())
    near, far = (eckart.factorize(X, **choice, solver=solver) for X in (W, W * 2.0**511.9))
    assert far.factors.rank == near.factors.rank
    assert agree(far.certificate.relative_error, near.certificate.relative_error, SCALED_FIT)
    own = (W * 2.0**511.9).astype(np.float64)
    assert eckart.LowRankReducer(2, center=False).fit(own).n_components_ == 2


def test_factors_that_would_leave_the_range_share_what_they_are_scaled_by():
    factors = eckart.Factors(np.ones((2, 1), "f4"), np.ones((1, 2), "f4"))
    for exponent in (-140, 127):
        scaled = factors.scaled(2.0**exponent)
        assert agree(
            np.log2(scaled.B.astype(float)) + np.log2(scaled.A[0].astype(float)),
            [[exponent] * 2, [exponent] * 2],
        )
        assert min(scaled.A.min(), scaled.B.min()) > np.finfo("f4").tiny


@pytest.mark.parametrize(("dtype", "sign"), CASES)
def test_a_large_matrix_is_factored_by_products_whatever_its_size(dtype, sign):
    generator, factor = np.random.default_rng(1), power(dtype, sign)
    W = generator.standard_normal((1010, 4)) @ generator.standard_normal((4, 1005))
    W = (W + 0.01 * generator.standard_normal(W.shape)).astype(dtype)
    near, far = (eckart.factorize(X, 4) for X in (W, W * W.dtype.type(factor)))
    assert close(far.factors.dense() / factor, near.factors.dense(), rounding(W, 64))
    certified = eckart.certify(W * W.dtype.type(factor), far.factors)
    assert abs(certified.error / factor - near.certificate.error) <= rounding(W)


@pytest.mark.parametrize(("dtype", "sign"), CASES)
@pytest.mark.parametrize(
    "choice",
    [{"tolerance": 0.3}, {"rank": "auto"}, {"rank": eckart.AboveThreshold(3.0)}],
    ids=lambda choice: next(iter(choice)),
)
def test_the_rank_that_a_rule_chooses_does_not_depend_on_the_unit(dtype, sign, choice):
    W, factor = table().astype(dtype), power(dtype, sign)
    near = eckart.factorize(W, **choice)
    if isinstance(choice.get("rank"), eckart.AboveThreshold):
        choice = {"rank": eckart.AboveThreshold(3.0 * factor)}
    assert eckart.factorize(W * W.dtype.type(factor), **choice).factors.rank == near.factors.rank


def test_the_message_of_a_rule_is_in_the_unit_of_the_matrix():
    factor = 2.0**-100
    near, far = (
        eckart.factorize(X, eckart.AboveThreshold(3.0 * unit))
        for X, unit in ((table(), 1.0), (table() * factor, factor))
    )
    assert f"{3.0 * factor:.4g}" in far.message
    assert "the threshold is 3:" in near.message


@pytest.mark.parametrize("solver", [eckart.GradientDescent, eckart.ScaledGradientDescent])
@pytest.mark.parametrize(("dtype", "sign"), CASES)
def test_an_iteration_in_the_unit_of_its_start_is_right_or_refused(solver, dtype, sign):
    W, factor = table().astype(dtype), power(dtype, sign)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eckart.ConvergenceWarning)
        if dtype == "f4":
            with pytest.raises(EckartError, match="too far from 1") as error:
                eckart.factorize(W * W.dtype.type(factor), 3, solver=solver(epochs=30))
            assert error.value.code == "out-of-range"
            return
        near, far = (
            eckart.factorize(X, 3, solver=solver(epochs=30), start=start)
            for X, start in ((W, eckart.LoRAStart()), (W * factor, eckart.LoRAStart()))
        )
    assert abs(near.certificate.error - far.certificate.error / factor) <= rounding(W, 30)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200, 1e-200])
def test_no_certificate_is_given_for_what_has_no_norm(value):
    factors = eckart.Factors(np.ones((6, 1)), np.ones((1, 4)))
    with pytest.raises(EckartError) as error:
        eckart.certify(np.full((6, 4), value), factors)
    assert error.value.code in ("not-finite", "out-of-range")


def test_factors_that_are_far_too_large_get_no_certificate():
    with pytest.raises(EckartError, match="so large"):
        eckart.certify(np.ones((6, 4)), (np.full((6, 1), 1e200), np.ones((1, 4))))


def kinds(X, *, gaps=False):
    named = {"dense": X, "streamed": Streamed(InMemory(X), memory=X.nbytes)}
    return named if gaps else named | {"sparse": scipy.sparse.csr_array(X)}


@pytest.mark.parametrize(("dtype", "sign"), CASES)
@pytest.mark.parametrize("kind", ["dense", "streamed", "sparse"])
@pytest.mark.parametrize(("centre", "scale"), [(1, 0), (1, 1), (0, 0), (0, 1)])
@pytest.mark.parametrize("name", [None, "gram", "svd"])
def test_a_reduction_does_not_depend_on_the_unit(dtype, sign, kind, centre, scale, name):
    X, factor = table(rows=400).astype(dtype), power(dtype, sign)
    far = X * X.dtype.type(factor)
    choice = {"centre": bool(centre), "scale": bool(scale), "solver": name}
    (near, first), (found, run) = (fit_pca(kinds(Y)[kind], 3, **choice) for Y in (X, far))
    assert close(found.A, near.A, rounding(np.eye(20), 64, dtype))
    share = rounding(np.ones((1, 1)), 64, dtype)
    unit = 1.0 if scale else factor
    assert agree(np.sqrt(found.squares) / unit, np.sqrt(near.squares), share)
    assert agree(found.shares, near.shares, share)
    assert agree(np.sqrt(found.variances) / unit, np.sqrt(near.variances), share)
    assert agree(run.certificate.error / unit, first.certificate.error, share)
    scores = near.project(X).astype(np.float64)
    assert close(found.project(far).astype(np.float64) / unit, scores, rounding(scores, 64, dtype))


@settings(max_examples=6, deadline=None)
@given(exponent=st.integers(-498, 498), scale=st.booleans(), seed=st.integers(0, 99))
def test_what_is_found_around_gaps_does_not_depend_on_the_unit(exponent, scale, seed):
    generator, factor = np.random.default_rng(seed), 2.0**exponent
    X = generator.standard_normal((60, 2)) @ generator.standard_normal((2, 8))
    hidden = generator.random(X.shape) < 0.2
    gaps = np.where(hidden, np.nan, X)
    (near, _), (far, _) = (fit_pca(Y, 2, scale=scale) for Y in (gaps, gaps * factor))
    unit = 1.0 if scale else factor
    assert close(far.A, near.A, SCALED_FIT)
    assert agree(np.sqrt(far.variances) / unit, np.sqrt(near.variances), SCALED_FIT)
    assert close(far.filled(gaps * factor) / factor, near.filled(gaps), SCALED_FIT * 22)


@pytest.mark.parametrize("value", [1e200, 1e-200, 1e160, 1e-165])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("scale", [False, True])
def test_a_table_whose_squares_have_no_range_is_refused(value, gaps, scale):
    X = table() * value
    if gaps:
        X[3, 4] = np.nan
    with pytest.raises(EckartError) as error:
        fit_pca(X, 3, scale=scale)
    assert error.value.code == "out-of-range"


@settings(max_examples=60, deadline=None)
@given(
    means=st.lists(st.floats(-12, 12), min_size=2, max_size=5),
    deviations=st.lists(st.floats(-6, 9), min_size=5, max_size=5),
    dtype=st.sampled_from(["f4", "f8"]),
    kind=st.sampled_from(["dense", "streamed", "sparse"]),
    seed=st.integers(0, 99),
)
def test_the_moments_of_a_column_do_not_depend_on_the_others(means, deviations, dtype, kind, seed):
    generator = np.random.default_rng(seed)
    spreads = 10.0 ** np.array(deviations[: len(means)])
    X = generator.standard_normal((700, len(means))) * spreads + 10.0 ** np.array(means)
    X = X.astype(dtype)
    exact = X.astype(np.longdouble)
    truth = exact.std(axis=0, ddof=1).astype(np.float64)
    found = standardised(kinds(X)[kind], scale=True).moments.scales
    told = truth > 1e-3 * np.abs(exact.mean(axis=0)) * (1e-6 if dtype == "f8" else 1)
    assert agree(found[told], truth[told], rounding(np.ones((1, 1)), 8, dtype))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", ["dense", "streamed", "sparse"])
@pytest.mark.parametrize("tiny", [1e-26, 1e26])
def test_a_column_of_another_unit_is_scaled_as_the_rest(dtype, kind, tiny):
    X = table(rows=500, columns=6)
    X[:, 2] *= tiny
    X = X.astype(dtype)
    exact = X.astype(np.float64)
    alike = (exact - exact.mean(axis=0)) / exact.std(axis=0, ddof=1)
    W = standardised(kinds(X)[kind], scale=True)
    assert close(gram(W), alike.T @ alike, rounding(np.ones((1, 1)), 8, dtype) * 3000)
    found, _ = fit_pca(kinds(X)[kind], 2, scale=True)
    share = rounding(np.ones((1, 1)), 8, dtype)
    assert agree(np.sqrt(found.squares[:2]), np.linalg.svd(alike)[1][:2], share)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9, 1e-20])
@pytest.mark.parametrize("kind", ["dense", "streamed", "sparse"])
def test_a_constant_column_stays_whatever_its_size(constant, kind):
    X = np.column_stack([table(rows=300, columns=3), np.full(300, constant)])
    assert standardised(kinds(X)[kind], scale=True).moments.scales[3] == 1.0


def test_squares_of_columns_are_summed_in_their_own_range():
    X = np.float32([[1e-30, 1.0, 1e30, 0.0]] * 3)
    expected = 3 * np.square(X[0].astype(np.float64))
    assert agree(column_squares(X), expected)


def test_what_a_mask_hides_is_missing():
    values = np.ma.masked_array([[1.0, 2.0], [3.0, 1e20]], mask=[[0, 0], [0, 1]])
    for call in (
        lambda: eckart.factorize(values, 1),
        lambda: eckart.certify(values, (np.ones((2, 1)), np.ones((1, 2)))),
        lambda: eckart.centred(values),
        lambda: eckart.Factors(values, np.ones((2, 1))),
        lambda: eckart.Weighted(moments=values),
        lambda: eckart.Entries.of([0, 1], [0, 1], values[1]),
    ):
        with pytest.raises(EckartError):
            call()
    assert np.isnan(next(as_matrix(values).row_blocks())[1, 1])
    plain = np.ma.masked_array([[1, 2], [3, 4]], mask=False)
    assert eckart.factorize(plain, 2).factors.shape == (2, 2)


def test_a_masked_table_is_one_with_gaps():
    X = table()
    hidden = np.random.default_rng(0).random(X.shape) < 0.1
    masked, _ = fit_pca(np.ma.masked_array(np.where(hidden, 1e20, X), mask=hidden), 3)
    gaps, _ = fit_pca(np.where(hidden, np.nan, X), 3)
    np.testing.assert_array_equal(masked.A, gaps.A)


@pytest.mark.parametrize("tens", [-1, 1])
@pytest.mark.parametrize("imbalance", [0, 12])
def test_factors_are_cut_whatever_their_size(tens, imbalance):
    generator, factor = np.random.default_rng(0), 2.0 ** (tens * 100)
    B, A = generator.standard_normal((9, 4)), generator.standard_normal((4, 7))
    near = eckart.Factors(B, A)
    up = 2.0**imbalance
    far = eckart.Factors((B * factor * up).astype("f4"), (A / up).astype("f4"))
    share = rounding(np.ones((1, 1)), 8, "f4")
    assert agree(far.singular_values() / factor, near.singular_values(), share)
    cut = far.truncate(2)
    assert close(cut.dense() / factor, near.truncate(2).dense(), rounding(near.dense(), 8, "f4"))


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_product_that_float32_cannot_hold_is_cut_right(sign):
    size = np.float32(2.0 ** (sign * 80))
    far = eckart.Factors(np.eye(4, 2, dtype="f4") * size, np.eye(2, 4, dtype="f4") * size)
    assert agree(far.singular_values(), [2.0 ** (sign * 160)] * 2)


@pytest.mark.parametrize("value", [1e-150, 1e-20, 1e20, 1e150])
@pytest.mark.parametrize("solver", [None, eckart.GibbsSampling(), eckart.StochasticGradient()])
def test_known_entries_of_no_size_for_float32_are_refused(value, solver):
    values = [value, 2 * value, value]
    with pytest.raises(EckartError) as error:
        eckart.factorize(eckart.Entries.of([0, 0, 1], [0, 1, 1], values), 1, solver=solver)
    assert error.value.code == "out-of-range"


ENDS = [-146, -130, 118]
"""Exponents of two at which whole numbers up to 100 are all but out of the range of float32."""


def at_an_end(exponent, rows=60):
    """Whole numbers in float64, and the same times a power of two in float32."""
    whole = np.random.default_rng(4).integers(-100, 101, (rows, 12)).astype(float)
    return whole, np.ldexp(whole, exponent).astype(np.float32)


@pytest.mark.parametrize("exponent", ENDS)
@pytest.mark.parametrize("solver", [None, eckart.BlockKrylov()])
def test_factors_reach_to_the_ends_of_float32(exponent, solver):
    near, far = at_an_end(exponent)
    rank = 3
    best = np.sqrt(np.square(np.linalg.svd(near, compute_uv=False)[rank:]).sum())
    found = eckart.factorize(far, rank, solver=solver)
    assert np.ldexp(found.certificate.error, -exponent) <= FAR * best
    product = found.factors.B.astype(float) @ found.factors.A.astype(float)
    assert np.linalg.norm(np.ldexp(product, -exponent) - near) <= FAR * best


@pytest.mark.parametrize("exponent", ENDS)
@pytest.mark.parametrize("rows", [60, 1200])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_components_reach_to_the_ends_of_float32_or_are_refused(exponent, rows, scale, make):
    near, far = at_an_end(exponent, rows)
    expected = fit_pca(near, 3, scale=scale)[0]
    refused, shares = None, expected.shares
    try:
        shares = fit_pca(make(far), 3, scale=scale)[0].shares
    except EckartError as error:
        refused = error.code
    assert refused in (None, "out-of-range")
    assert refused is None or make is not np.asarray or exponent > 0
    assert agree(shares, expected.shares, share=FLOAT32_SOLUTION)
