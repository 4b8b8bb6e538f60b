"""What follows from blocks of rows: thumbnails, sums of squares, the search for bad entries."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart.errors import MatrixError
from eckart.matrices import Dense, Difference, Sparse, as_matrix, derived
from eckart.matrices.derived import check_entries, dense, thumbnail
from eckart.matrices.protocol import Products
from tolerances import agree, close, rounding


@settings(max_examples=40)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), most=st.integers(1, 12),
       seed=st.integers(0, 999), sparse=st.booleans())  # fmt: skip
def test_every_cell_of_a_thumbnail_is_the_mean_of_what_it_covers(rows, columns, most, seed, sparse):
    W = np.random.default_rng(seed).standard_normal((rows, columns))
    small = thumbnail(as_matrix(scipy.sparse.csr_array(W) if sparse else W), most)
    tall, wide = min(rows, most), min(columns, most)
    assert small.shape == (tall, wide)
    down = np.linspace(0, rows, tall + 1).astype(int)
    across = np.linspace(0, columns, wide + 1).astype(int)
    expected = [
        [W[down[i] : down[i + 1], across[j] : across[j + 1]].mean() for j in range(wide)]
        for i in range(tall)
    ]
    assert close(small, np.array(expected), rounding(W))


def test_a_small_matrix_is_its_own_thumbnail():
    W = np.random.default_rng(0).standard_normal((5, 7))
    np.testing.assert_array_equal(thumbnail(Dense(W)), W)


def test_a_thumbnail_whose_cells_span_several_blocks_is_the_same(monkeypatch):
    W = Dense(np.random.default_rng(0).standard_normal((50, 20)))
    whole = thumbnail(W, 4)
    rows_of = Dense.row_blocks
    monkeypatch.setattr(Dense, "row_blocks", lambda self, rows=None: rows_of(self, rows or 7))
    assert close(thumbnail(W, 4), whole, rounding(W.array))


def test_squares_of_float32_are_summed_in_float64():
    W = np.full((100, 100), 1e20, np.float32)  # its squares are beyond float32
    assert agree(Products.squared_norm(Dense(W)), 1e4 * float(W[0, 0]) ** 2)


def test_a_dense_copy_beyond_memory_is_refused_by_its_size(monkeypatch):
    monkeypatch.setattr(derived, "MOST_DENSE_BYTES", 8 * 11)
    with pytest.raises(MatrixError, match="would take") as error:
        dense(Dense(np.ones((4, 3))))
    assert error.value.code == "too-large"
    assert dense(Dense(np.ones((4, 2)))).shape == (4, 2)


@settings(max_examples=60)
@given(rows=st.integers(1, 20), columns=st.integers(1, 20), seed=st.integers(0, 10**6),
       value=st.sampled_from([np.nan, np.inf, -np.inf]), kind=st.sampled_from(["dense", "sparse"]),
       dtype=st.sampled_from([np.float32, np.float64]))  # fmt: skip
def test_the_first_bad_entry_in_reading_order_is_named(rows, columns, seed, value, kind, dtype):
    generator = np.random.default_rng(seed)
    W = generator.standard_normal((rows, columns)).astype(dtype)
    places = generator.choice(W.size, size=min(3, W.size), replace=False)
    W.flat[places] = value
    row, column = divmod(int(places.min()), columns)
    with pytest.raises(MatrixError, match=f"row {row}, column {column} ") as error:
        check_entries(as_matrix(scipy.sparse.csr_array(W) if kind == "sparse" else W))
    assert error.value.code == "not-finite"


def test_the_place_counts_from_the_first_row_whatever_the_block(monkeypatch):
    W = Dense(np.zeros((30, 3)))
    W.array[17, 1] = np.nan
    rows_of = Dense.row_blocks
    monkeypatch.setattr(Dense, "row_blocks", lambda self, rows=None: rows_of(self, rows or 4))
    with pytest.raises(MatrixError, match="row 17, column 1 "):
        check_entries(W)


@pytest.mark.parametrize("scale", [1e-140, 1e-30, 1.0, 1e30, 1e140])
def test_entries_whose_squares_are_in_range_pass(scale):
    check_entries(Dense(scale * np.ones((3, 3))))


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_entries_whose_squares_leave_the_range_are_refused(scale):
    with pytest.raises(MatrixError) as error:
        check_entries(Dense(scale * np.ones((3, 3))))
    assert error.value.code == "out-of-range"


def test_zeros_pass():
    check_entries(Dense(np.zeros((3, 3))))
    check_entries(Sparse(scipy.sparse.csr_array((3, 3))))


def test_sound_entries_are_read_once():
    W = Dense(np.ones((30, 3)))
    check_entries(Difference(W, Dense(np.zeros((30, 3)))))
    assert W.passes == 1
