"""Files of matrices and tables: one module per format, and a table from suffix to module."""

from eckart.files.factor_files import check_factor_output as check_factor_output
from eckart.files.factor_files import read_factor_file as read_factor_file
from eckart.files.factor_files import read_factors as read_factors
from eckart.files.factor_files import write_factors as write_factors
from eckart.files.outputs import beside as beside
from eckart.files.outputs import check_apart as check_apart
from eckart.files.outputs import check_output as check_output
from eckart.files.outputs import is_same as is_same
from eckart.files.outputs import named_path as named_path
from eckart.files.parted import open_parts as open_parts
from eckart.files.records import Part as Part
from eckart.files.records import Selection as Selection
from eckart.files.registry import check_input as check_input
from eckart.files.registry import check_matrix_output as check_matrix_output
from eckart.files.registry import choose_part as choose_part
from eckart.files.registry import is_picture as is_picture
from eckart.files.registry import read_matrix as read_matrix
from eckart.files.registry import read_parts as read_parts
from eckart.files.registry import write_matrices as write_matrices
from eckart.files.writing import whole_file as whole_file
from eckart.files.writing import whole_files as whole_files
from eckart.files.writing import write_text as write_text
