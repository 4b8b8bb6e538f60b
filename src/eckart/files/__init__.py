"""Files of matrices and tables: one module per format, and a table from suffix to module."""

from eckart.files.factor_files import (
    check_factor_output,
    read_factor_file,
    read_factors,
    write_factors,
)
from eckart.files.outputs import beside, check_apart, check_output, is_same, named_path
from eckart.files.records import Contents, FactorFile, Part, Selection
from eckart.files.registry import (
    check_input,
    check_matrix_output,
    choose_part,
    is_picture,
    read_matrix,
    read_parts,
    write_matrices,
)
from eckart.files.writing import whole_file, whole_files, write_text

__all__ = [
    "Contents",
    "FactorFile",
    "Part",
    "Selection",
    "beside",
    "check_apart",
    "check_factor_output",
    "check_input",
    "check_matrix_output",
    "check_output",
    "choose_part",
    "is_picture",
    "is_same",
    "named_path",
    "read_factor_file",
    "read_factors",
    "read_matrix",
    "read_parts",
    "whole_file",
    "whole_files",
    "write_factors",
    "write_matrices",
    "write_text",
]
