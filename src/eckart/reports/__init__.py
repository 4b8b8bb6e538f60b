"""What a person sees of a result, drawn from its document alone."""

from eckart.reports.page import factor_page
from eckart.reports.table import certificate_table, factor_table

__all__ = ["certificate_table", "factor_page", "factor_table"]
