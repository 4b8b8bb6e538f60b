"""Laws of every matrix."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
from eckart.errors import MatrixError
from eckart.matrices import Dense, Difference, Matrix, as_matrix, sparse
from eckart.matrices.derived import dense
from eckart.threads import limited_threads
from registries import KINDS
from tolerances import SUM_OF_256, agree, close, rounding

kinds = pytest.mark.parametrize("kind", KINDS)


def random(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns))


@kinds
def test_it_is_a_matrix_and_stays_one(kind):
    W, _ = KINDS[kind]
    assert isinstance(W, Matrix)
    assert as_matrix(W) is W


@kinds
def test_products_equal_those_of_the_dense_array(kind):
    W, truth = KINDS[kind]
    X, Y = random(truth.shape[1], 3), random(truth.shape[0], 2)
    for got, expected, width in (
        (W.times(X), truth @ X, X),
        (W @ X, truth @ X, X),
        (W.transposed_times(Y), truth.T @ Y, Y),
        (W.gram_times(X), truth.T @ (truth @ X), np.linalg.norm(truth) * X),
    ):
        tolerance = rounding(truth, 4, W.dtype) * float(np.linalg.norm(width))
        assert close(np.asarray(got), expected, tolerance)


@kinds
def test_the_transposed_product_is_the_adjoint(kind):
    W, truth = KINDS[kind]
    X, Y = random(truth.shape[1], 2).astype(W.dtype), random(truth.shape[0], 2).astype(W.dtype)
    scale = rounding(truth, 4, W.dtype) * float(np.linalg.norm(X) * np.linalg.norm(Y))
    assert abs(np.vdot(Y, W.times(X)) - np.vdot(W.transposed_times(Y), X)) <= scale


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_products_with_a_large_sparse_matrix_are_the_same_bits_on_any_threads(threads, monkeypatch):
    monkeypatch.setattr(sparse, "ONE_THREAD_PRODUCTS", 0)
    stored = scipy.sparse.random_array(
        (3000, 700), density=0.05, rng=np.random.default_rng(1)
    ).tolil()
    stored[17] = 1.0  # one row with more entries than its share
    W, X, Y = as_matrix(stored), random(700, 35), random(3000, 35, seed=1)
    with limited_threads(1):
        expected = W.times(X), W.transposed_times(Y)
    with limited_threads(threads):
        got = W.times(X), W.transposed_times(Y)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])
    truth = stored.toarray()
    assert close(got[0], truth @ X, rounding(truth, 4) * float(np.linalg.norm(X)))
    assert close(got[1], truth.T @ Y, rounding(truth, 4) * float(np.linalg.norm(Y)))


@kinds
def test_products_are_linear(kind):
    W, truth = KINDS[kind]
    for product, length in ((W.times, truth.shape[1]), (W.transposed_times, truth.shape[0])):
        X, Y = random(length, 2).astype(W.dtype), random(length, 2, seed=1).astype(W.dtype)
        size = float(np.linalg.norm(X) + 3 * np.linalg.norm(Y))
        together = product(X - W.dtype.type(3) * Y)
        assert close(together, product(X) - 3 * product(Y), rounding(truth, 4, W.dtype) * size)


@kinds
def test_products_keep_the_dtype_and_take_any_number_of_columns(kind):
    W, truth = KINDS[kind]
    rows, columns = truth.shape
    for count in (1, 4):
        X, Y = np.ones((columns, count), W.dtype), np.ones((rows, count), W.dtype)
        assert (W.times(X).shape, W.times(X).dtype) == ((rows, count), W.dtype)
        assert (W.transposed_times(Y).shape, W.transposed_times(Y).dtype) == (
            (columns, count),
            W.dtype,
        )
        assert (W.gram_times(X).shape, W.gram_times(X).dtype) == ((columns, count), W.dtype)


@kinds
def test_products_do_not_change_what_they_are_given(kind):
    W, truth = KINDS[kind]
    X, Y = random(truth.shape[1], 2), random(truth.shape[0], 2)
    X.flags.writeable = Y.flags.writeable = False
    W.times(X)
    W.transposed_times(Y)
    W.gram_times(X)


@kinds
def test_the_squared_norm_is_that_of_the_entries(kind):
    W, truth = KINDS[kind]
    expected = float(np.linalg.norm(truth.astype(np.float64)) ** 2)
    norm = np.sqrt(expected)
    # sums of 256 are made in the dtype of W, each right to that dtype
    slack = rounding(truth, 4, np.float64) + SUM_OF_256 * norm * float(np.finfo(W.dtype).eps)
    assert abs(W.squared_norm() - expected) <= 2 * norm * slack


@kinds
@pytest.mark.parametrize("height", [None, 1, 3, 7, 1000])
def test_blocks_of_any_height_concatenate_to_the_whole(kind, height):
    W, truth = KINDS[kind]
    blocks = list(W.row_blocks(height))
    if height:
        assert all(len(block) == height for block in blocks[:-1])
    assert close(np.concatenate(blocks), truth, rounding(truth, 1, W.dtype))
    assert all(block.dtype == W.dtype for block in blocks)
    assert dense(W).shape == W.shape == truth.shape


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith(("dense", "sparse"))])
def test_every_product_and_every_walk_over_the_blocks_is_counted_as_a_pass(kind):
    W, truth = KINDS[kind]
    before = W.passes
    W.times(random(truth.shape[1], 1))
    W.transposed_times(random(truth.shape[0], 1))
    list(W.row_blocks())
    assert W.passes == before + 3


@kinds
def test_the_squared_norm_is_remembered(kind):
    W, _ = KINDS[kind]
    first, before = W.squared_norm(), W.passes
    assert W.squared_norm() == first
    assert W.passes == before


def test_factors_read_nothing_and_a_difference_as_often_as_the_more_often_read_of_the_two():
    factors = eckart.Factors(np.ones((4, 1)), np.ones((1, 3)))
    inner = Dense(np.ones((4, 3)))
    difference = Difference(inner, factors)
    list(difference.row_blocks())
    difference.times(np.ones((3, 1)))
    assert factors.passes == 0
    assert difference.passes == inner.passes == 2


@settings(max_examples=40)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), rank=st.integers(1, 14),
       height=st.integers(1, 14), seed=st.integers(0, 10**6))  # fmt: skip
def test_the_residual_of_factors_is_the_matrix_that_numpy_subtracts(
    rows, columns, rank, height, seed
):
    W, B, A = random(rows, columns, seed), random(rows, rank, seed + 1), random(rank, columns, 2)
    residual = Difference(Dense(W), eckart.Factors(B, A))
    truth, X, Y = W - B @ A, random(columns, 2), random(rows, 2)
    size = float(np.linalg.norm(W) + np.linalg.norm(B) * np.linalg.norm(A)) * np.ones((1, 1))
    assert close(np.concatenate(list(residual.row_blocks(height))), truth, rounding(size))
    assert close(residual.times(X), truth @ X, rounding(size, 4) * float(np.linalg.norm(X)))
    assert close(
        residual.transposed_times(Y), truth.T @ Y, rounding(size, 4) * float(np.linalg.norm(Y))
    )


@settings(max_examples=40)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 1000))
def test_dense_and_sparse_make_the_same_products(rows, columns, seed):
    truth = random(rows, columns, seed) * (random(rows, columns, seed + 1) > 0)
    X = random(columns, 2, seed)
    thick, thin = as_matrix(truth), as_matrix(scipy.sparse.csc_array(truth))
    tolerance = rounding(truth, 4) * float(np.linalg.norm(X))
    assert close(thick.times(X), thin.times(X), tolerance)
    assert agree(thick.squared_norm(), thin.squared_norm())
    assert close(np.concatenate(list(thin.row_blocks(1 + seed % 5))), truth, 0.0)


@pytest.mark.parametrize(
    ("given", "computed"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), ("int8", "float64"),
     ("bool", "float64"), (">f4", "float32"), ("longdouble", "float64")],
)  # fmt: skip
def test_the_dtype_rules_hold_and_bytes_are_those_of_what_was_given(given, computed):
    array = np.ones((3, 2), dtype=given)
    W = Dense(array)
    assert W.dtype == computed
    assert W.nbytes == array.nbytes


def test_floats_are_not_copied():
    array = random(5, 4)
    assert Dense(array).array is array


@pytest.mark.parametrize(
    ("bad", "code"),
    [(np.ones(3), "not-a-matrix"), (np.ones((2, 2, 2)), "not-a-matrix"), (np.ones((0, 4)), "empty"),
     ([[1, 2], [3]], "not-a-matrix"), (np.ones((2, 2)) * 1j, "complex"), ([["a"]], "not-numbers"),
     (np.array([[None]]), "not-numbers"), (scipy.sparse.csr_array((0, 3)), "empty"),
     (scipy.sparse.csr_array(np.eye(2) * 1j), "complex")],
)  # fmt: skip
def test_what_is_no_matrix_of_real_numbers_is_refused(bad, code):
    with pytest.raises(MatrixError) as error:
        as_matrix(bad)
    assert error.value.code == code


def test_matrices_of_different_shapes_have_no_difference():
    with pytest.raises(MatrixError, match="3 × 2 and a 2 × 3"):
        Difference(Dense(np.ones((3, 2))), Dense(np.ones((2, 3))))


def test_a_difference_is_subtracted_before_it_is_squared():
    W = 1e8 + random(30, 20)
    almost = W + 1e-8
    difference = Difference(Dense(W), Dense(almost))
    assert difference.squared_norm() == np.sum((W - almost) ** 2)


def test_factors_that_do_not_fit_are_refused():
    for B, A in ((np.ones((3, 2)), np.ones((3, 3))), (np.ones(3), np.ones((1, 3)))):
        with pytest.raises(MatrixError):
            eckart.Factors(B, A)
