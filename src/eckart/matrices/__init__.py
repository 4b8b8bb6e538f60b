"""W: what can be factored, in memory or not."""

from eckart.matrices.centred import centred
from eckart.matrices.convert import as_matrix
from eckart.matrices.dense import Dense
from eckart.matrices.difference import Difference
from eckart.matrices.entries import Entries
from eckart.matrices.grams import is_streamed
from eckart.matrices.product import Product
from eckart.matrices.protocol import Matrix
from eckart.matrices.rescaled import Rescaled, rescaled
from eckart.matrices.sparse import Sparse
from eckart.matrices.standardised import Moments, Standardised, standardised
from eckart.matrices.streamed import RowReader, RowSource, Streamed
from eckart.matrices.transposed import Transposed

__all__ = [
    "Dense",
    "Difference",
    "Entries",
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
