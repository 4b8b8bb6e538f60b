"""The parts that reports share: the frame of a page, figures, and tables of labels and values."""

from eckart.reporting.tables import (
    Document,
    certificate_table,
    compare_table,
    compare_verdict,
    factor_table,
    plan_table,
)

__all__ = [
    "Document",
    "certificate_table",
    "compare_table",
    "compare_verdict",
    "factor_table",
    "plan_table",
]
