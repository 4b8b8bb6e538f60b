"""What a person sees of a result, drawn from its document alone."""

from eckart.reports.page import factor_page
from eckart.reports.table import factor_table

__all__ = ["factor_page", "factor_table"]
