"""What has numbers is a matrix, whatever types a data frame keeps them in; what has none is not."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

from eckart.errors import MatrixError
from eckart.matrices import Sparse, as_matrix
from eckart.matrices.derived import dense

NUMBERS = np.array([[1.5, 1.0], [2.5, 0.0], [-3.0, 1.0]])


TYPES = [(float, bool), ("Float64", "boolean"), ("float32", "UInt8"), (float, "Int64"),
         ("double[pyarrow]", "bool[pyarrow]")]  # fmt: skip


@pytest.mark.parametrize("types", TYPES)
def test_a_frame_of_any_types_of_numbers_is_a_matrix(types):
    frame = pd.DataFrame({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]})
    found = dense(as_matrix(frame.astype(dict(zip("ab", types, strict=True)))))
    np.testing.assert_array_equal(found, NUMBERS)


def test_what_a_frame_lacks_is_nan():
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [0.5, 2.0]})
    np.testing.assert_array_equal(dense(as_matrix(frame)), [[1, 0.5], [np.nan, 2]])


@pytest.mark.parametrize("column", [["1", "2"], [1, "x"], pd.date_range("2020", periods=2)])
def test_a_frame_of_words_or_dates_is_no_matrix(column):
    with pytest.raises(MatrixError, match="not numbers"):
        as_matrix(pd.DataFrame({"a": column, "b": [1.0, 2.0]}))


TABLES = {"polars": pl.DataFrame, "arrow": pa.table}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("other", [[True, None], [1, None], [0.5, None], [Decimal("1.5"), None]])
def test_a_table_of_any_kinds_of_numbers_is_a_matrix(make, other):
    found = dense(as_matrix(make({"a": [1.5, 2.5], "b": other})))
    np.testing.assert_array_equal(found, [[1.5, float(other[0])], [2.5, np.nan]])


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize(
    "cell", [datetime(2020, 1, 1), date(2020, 1, 1), timedelta(1), time(1), "1", [1.0], b"1"]
)
def test_a_table_with_a_column_of_something_else_is_no_matrix(make, cell):
    with pytest.raises(MatrixError, match=r"column 'b' holds .*, not numbers"):
        as_matrix(make({"a": [1.5], "b": [cell]}))


def test_a_sparse_frame_stays_sparse():
    stored = scipy.sparse.random_array((300, 40), density=0.05, rng=np.random.default_rng(0))
    found = as_matrix(pd.DataFrame.sparse.from_spmatrix(stored))
    assert isinstance(found, Sparse)
    np.testing.assert_array_equal(dense(found), stored.toarray())
    ones = pd.DataFrame(NUMBERS).astype(pd.SparseDtype(float, fill_value=1.0))
    np.testing.assert_array_equal(dense(as_matrix(ones)), NUMBERS)


def test_a_table_of_floats_keeps_their_size():
    table = pa.table({"a": np.ones(2, np.float32), "b": np.ones(2, np.float16)})
    assert as_matrix(table).dtype == np.float32
    assert as_matrix(pl.DataFrame({"a": [1, 2]})).dtype == np.float64


@pytest.mark.parametrize("words", [np.array([["1"]]), np.array([["1"]], np.dtypes.StringDType())])
def test_text_is_no_matrix(words):
    with pytest.raises(MatrixError, match="not numbers"):
        as_matrix(words)


def test_a_path_is_no_matrix_and_it_is_said_how_to_read_it():
    with pytest.raises(MatrixError, match=r"path 'W.npy', no matrix.*read_matrix"):
        as_matrix("W.npy")


def test_a_tensor_without_numbers_is_no_matrix():
    torch = pytest.importorskip("torch")
    with pytest.raises(MatrixError, match="device meta"):
        as_matrix(torch.ones((2, 2), device="meta"))
