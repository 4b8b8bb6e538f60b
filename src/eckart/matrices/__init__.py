"""Matrices that can be factored: in memory, sparse, on a device or streamed from files."""

from eckart.matrices.composed import Difference, Product, Rescaled, Transposed, centred, rescaled
from eckart.matrices.dense import Dense, as_matrix
from eckart.matrices.moments import Moments
from eckart.matrices.protocol import Matrix, is_streamed
from eckart.matrices.sparse import Sparse
from eckart.matrices.standardised import Standardised, standardised
from eckart.matrices.streamed import RowReader, RowSource, Streamed

__all__ = [
    "Dense",
    "Difference",
    "Matrix",
    "Moments",
    "Product",
    "Rescaled",
    "RowReader",
    "RowSource",
    "Sparse",
    "Standardised",
    "Streamed",
    "Transposed",
    "as_matrix",
    "centred",
    "is_streamed",
    "rescaled",
    "standardised",
]
