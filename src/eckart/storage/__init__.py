"""Files: one module per format, a table from suffix to module."""

from eckart.storage.contents import Contents, FactorFile, Part, Selection
from eckart.storage.formats import (
    check_factor_suffix,
    check_input,
    check_matrix_suffix,
    choose_part,
    is_picture,
    read_factor_file,
    read_factors,
    read_matrix,
    read_parts,
    write_factors,
    write_matrices,
)
from eckart.storage.whole import check_apart, check_output, whole_file

__all__ = [
    "Contents",
    "FactorFile",
    "Part",
    "Selection",
    "check_apart",
    "check_factor_suffix",
    "check_input",
    "check_matrix_suffix",
    "check_output",
    "choose_part",
    "is_picture",
    "read_factor_file",
    "read_factors",
    "read_matrix",
    "read_parts",
    "whole_file",
    "write_factors",
    "write_matrices",
]
