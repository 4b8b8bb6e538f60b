"""What has numbers is a matrix, whatever types a data frame keeps them in; what has none is not."""

import numpy as np
import pandas as pd
import pytest

from eckart.errors import MatrixError
from eckart.matrices import as_matrix
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


def test_a_path_is_no_matrix_and_it_is_said_how_to_read_it():
    with pytest.raises(MatrixError, match=r"path 'W.npy', no matrix.*read_matrix"):
        as_matrix("W.npy")


def test_a_tensor_without_numbers_is_no_matrix():
    torch = pytest.importorskip("torch")
    with pytest.raises(MatrixError, match="device meta"):
        as_matrix(torch.ones((2, 2), device="meta"))
