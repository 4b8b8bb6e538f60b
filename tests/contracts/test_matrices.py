"""Laws of every matrix."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
from eckart.errors import MatrixError
from eckart.matrices import Dense, Difference, Matrix, as_matrix
from eckart.matrices.derived import dense
from registries import KINDS
from tolerances import close, rounding

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


@kinds
def test_the_squared_norm_is_that_of_the_entries(kind):
    W, truth = KINDS[kind]
    expected = float(np.linalg.norm(truth.astype(np.float64)) ** 2)
    norm = np.sqrt(expected)
    assert abs(W.squared_norm() - expected) <= 2 * norm * rounding(truth, 4, np.float64)


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


@settings(max_examples=40)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 1000))
def test_dense_and_sparse_make_the_same_products(rows, columns, seed):
    truth = random(rows, columns, seed) * (random(rows, columns, seed + 1) > 0)
    X = random(columns, 2, seed)
    thick, thin = as_matrix(truth), as_matrix(scipy.sparse.csc_array(truth))
    tolerance = rounding(truth, 4) * float(np.linalg.norm(X))
    assert close(thick.times(X), thin.times(X), tolerance)
    assert abs(thick.squared_norm() - thin.squared_norm()) <= 1e-13 * thick.squared_norm()


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
