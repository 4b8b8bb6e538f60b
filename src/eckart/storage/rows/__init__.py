"""Files that are read in blocks of rows: one module per kind, a table from suffix to module."""

from eckart.storage.rows.opening import Table, is_read_by_rows, open_table
from eckart.storage.rows.writing import ScoreWriter, check_score_suffix, score_writer

__all__ = [
    "ScoreWriter",
    "Table",
    "check_score_suffix",
    "is_read_by_rows",
    "open_table",
    "score_writer",
]
