"""A sparse matrix of SciPy in any state is read, and left as it is."""

import numpy as np
import pytest
import scipy.sparse

from eckart.matrices import as_matrix
from eckart.matrices.derived import dense

DATA, INDICES, STARTS = np.array([1.0, 2, 3, 4]), np.array([3, 1, 1, 0]), np.array([0, 3, 4])
"""In no order, and one place twice."""
EXPECTED = [[0, 5, 0, 1], [4, 0, 0, 0]]


def parts(matrix):
    return matrix.data, matrix.indices, matrix.indptr


@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_compressed_rows_in_no_order_stay_as_they_are(make, index):
    stored = make((DATA, INDICES.astype(index), STARTS.astype(index)), shape=(2, 4))
    before = [part.copy() for part in parts(stored)]
    np.testing.assert_array_equal(dense(as_matrix(stored)), EXPECTED)
    for part, was in zip(parts(stored), before, strict=True):
        np.testing.assert_array_equal(part, was)


def test_compressed_rows_that_are_mapped_and_read_only_are_read(tmp_path):
    mapped = []
    for place, part in enumerate((DATA, INDICES.astype(np.int32), STARTS.astype(np.int32))):
        np.save(tmp_path / f"{place}.npy", part)
        mapped.append(np.load(tmp_path / f"{place}.npy", mmap_mode="r"))
    stored = scipy.sparse.csr_array(tuple(mapped), shape=(2, 4))
    np.testing.assert_array_equal(dense(as_matrix(stored)), EXPECTED)


def test_indices_of_two_widths_are_read():
    stored = scipy.sparse.csr_array((DATA, INDICES, STARTS), shape=(2, 4))
    stored.indices = stored.indices.astype(np.int32)
    stored.indptr = stored.indptr.astype(np.int64)
    np.testing.assert_array_equal(dense(as_matrix(stored)), EXPECTED)
