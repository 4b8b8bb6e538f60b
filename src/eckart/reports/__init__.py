"""What a person sees of a result, drawn from its document alone."""

from eckart.reports.page import compare_page, factor_page
from eckart.reports.table import (
    certificate_table,
    compare_table,
    compare_verdict,
    factor_table,
)

__all__ = [
    "certificate_table",
    "compare_page",
    "compare_table",
    "compare_verdict",
    "factor_page",
    "factor_table",
]
