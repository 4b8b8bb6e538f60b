"""The parts that reports share: the frame of a page, figures, and tables of labels and values."""

from eckart.reporting.tables import certificate_table, compare_table, compare_verdict, factor_table

__all__ = [
    "certificate_table",
    "compare_table",
    "compare_verdict",
    "factor_table",
]
