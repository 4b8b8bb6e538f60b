"""Factors: truncation, balance, products, what they refuse."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from eckart.errors import ArgumentError, MatrixError
from tolerances import agree, close, rounding

FACTORS = eckart.Factors(np.ones((3, 2)), np.ones((2, 4)))


@settings(max_examples=50)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), rank=st.integers(1, 14),
       seed=st.integers(0, 10**6))  # fmt: skip
def test_truncation_is_the_best_of_its_rank(rows, columns, rank, seed):
    generator = np.random.default_rng(seed)
    factors = eckart.Factors(generator.standard_normal((rows, rank)),
                             generator.standard_normal((rank, columns)))  # fmt: skip
    W = factors.dense()
    kept = 1 + seed % rank
    smaller = factors.truncate(kept)
    assert smaller.rank == kept
    error = np.linalg.norm(W - smaller.dense())
    size = np.linalg.norm(factors.B) * np.linalg.norm(factors.A) / np.linalg.norm(W)
    assert error <= market.optimum(W, kept) + rounding(W, 4) * size


def test_balanced_factors_have_equal_diagonal_grams_and_the_same_product():
    factors = eckart.factorize(market.spectral("power law"), 6).factors
    balanced = factors.balance()
    W = factors.dense()
    assert close(balanced.dense(), W, rounding(W, 4))
    assert close(balanced.B.T @ balanced.B, balanced.A @ balanced.A.T, rounding(W, 4))
    assert close(balanced.B.T @ balanced.B, np.diag(factors.singular_values()), rounding(W, 4))


def test_singular_values_are_those_of_the_product():
    factors = eckart.factorize(market.spectral("clustered"), 12).factors
    expected = np.linalg.svd(factors.dense(), compute_uv=False)[:12]
    assert close(factors.singular_values(), expected, rounding(factors.dense(), 2))


def test_a_rank_above_rows_and_columns_has_singular_values_of_zero_behind():
    factors = eckart.Factors(np.ones((2, 5)), np.ones((5, 3)))
    assert close(factors.singular_values(), np.array([5 * 6**0.5, 0, 0, 0, 0]),
                 rounding(np.full((2, 3), 5.0), 2))  # fmt: skip
    assert close(factors.balance().dense(), np.full((2, 3), 5.0), rounding(np.full((2, 3), 5.0), 4))


@pytest.mark.parametrize(("rank", "code"), [(0, "rank-too-small"), (7, "rank-too-large")])
def test_a_rank_that_is_not_there_is_refused(rank, code):
    with pytest.raises((ArgumentError, MatrixError)) as error:
        eckart.factorize(market.spectral("flat"), 6).factors.truncate(rank)
    assert error.value.code == code


def test_data_on_the_right_may_be_a_vector_and_rows_of_numbers():
    factors = eckart.Factors([[1.0], [2.0]], [[3.0, 4.0]])
    np.testing.assert_array_equal(factors @ [1, 1], [7, 14])
    np.testing.assert_array_equal(factors.transposed_times([[1], [1]]), [[9], [12]])


def test_data_of_another_length_is_refused():
    factors = eckart.Factors(np.ones((2, 1)), np.ones((1, 3)))
    with pytest.raises(MatrixError, match="3 rows"):
        _ = factors @ np.ones((2, 1))
    with pytest.raises(MatrixError, match="2 rows"):
        factors.transposed_times(np.ones((3, 1)))


@pytest.mark.parametrize(
    ("B", "A", "code"),
    [([[np.nan]], [[1.0]], "not-finite"), ([[1.0]], [[np.inf]], "not-finite"),
     (np.ones((0, 1)), [[1.0]], "empty"), (np.ones((2, 0)), np.ones((0, 2)), "empty"),
     ([[1.0, 2.0]], [[1.0]], "shapes-differ"), ([1.0], [[1.0]], "shapes-differ"),
     ([[1j]], [[1.0]], "complex")],
)  # fmt: skip
def test_what_are_no_factors_is_refused(B, A, code):
    with pytest.raises(MatrixError) as error:
        eckart.Factors(B, A)
    assert error.value.code == code


def test_factors_of_two_dtypes_take_the_wider():
    factors = eckart.Factors(np.ones((2, 1), np.float32), np.ones((1, 2)))
    assert factors.B.dtype == factors.A.dtype == factors.dtype == np.float64
    assert factors.nbytes == 4 * 8
    assert factors.astype(np.float32).nbytes == 4 * 4


def test_arrays_of_a_working_dtype_are_not_copied():
    B, A = np.ones((2, 1)), np.ones((1, 2))
    factors = eckart.Factors(B, A)
    assert factors.B is B
    assert factors.A is A
    assert factors.astype(np.float64).B is B


def test_padding_adds_zeros_and_keeps_the_product():
    factors = eckart.Factors(np.arange(6.0).reshape(3, 2), np.arange(8.0).reshape(2, 4))
    padded = factors.pad(5)
    assert (padded.rank, padded.shape) == (5, factors.shape)
    np.testing.assert_array_equal(padded.dense(), factors.dense())
    assert not padded.B[:, 2:].any()
    assert factors.pad(2) is factors
    with pytest.raises(ArgumentError):
        factors.pad(1)


def test_factors_describe_themselves():
    assert repr(eckart.Factors(np.ones((3, 1)), np.ones((1, 2)))) == (
        "Factors(3 × 2, rank 1, float64)"
    )


def test_they_are_saved_by_suffix(tmp_path):
    factors = eckart.Factors([[1.0], [2.0]], [[3.0, 4.0]])
    factors.save(tmp_path / "f.npz")
    np.testing.assert_array_equal(eckart.read_factors(tmp_path / "f.npz").dense(), [[3, 4], [6, 8]])
    with pytest.raises(ArgumentError):
        factors.save(tmp_path / "f.npz")


@pytest.mark.parametrize("size", [1e200, 1e300])
def test_singular_values_are_those_of_factors_of_any_size(size):
    factors = eckart.Factors([[size], [0.0]], [[3.0 / size, 4.0 / size]])
    assert agree(factors.singular_values(), [5.0])
    assert agree(factors.truncate(1).dense(), [[3.0, 4.0], [0.0, 0.0]])
    with pytest.raises(MatrixError, match="leaves the range"):
        eckart.Factors([[size]], [[size]]).singular_values()


@pytest.mark.parametrize("use", [lambda X: eckart.Factors(X, X), lambda X: FACTORS @ X])
def test_a_sparse_matrix_in_the_place_of_an_array_is_told(use):
    with pytest.raises(MatrixError, match="toarray"):
        use(scipy.sparse.eye_array(FACTORS.shape[1]))


@pytest.mark.parametrize("solver", [eckart.GradientDescent(), eckart.ScaledGradientDescent()])
def test_a_start_whose_gradients_leave_the_range_is_refused(solver, capfd):
    for start in (eckart.LoRAStart(sigma=1e300), ([[1e160]] * 3, [[1e160] * 2])):
        with pytest.raises(MatrixError, match="at the start"):
            eckart.factorize(np.ones((3, 2)), 1, solver=solver, start=start)
    assert capfd.readouterr().err == ""  # LAPACK says a word of its own
