"""What a person sees of a result, drawn from its document alone."""

from eckart.reports.extract_page import extract_page
from eckart.reports.extract_table import (
    extract_table,
    extract_verdict,
    layer_rows,
    missing_rows,
)
from eckart.reports.page import compare_page, factor_page
from eckart.reports.recommend_page import recommend_page
from eckart.reports.recommend_table import evaluation_sentence, fit_rows, metric_table
from eckart.reports.reduce_page import reduce_page
from eckart.reports.reduce_table import component_rows, reduce_table
from eckart.reports.table import (
    certificate_table,
    compare_table,
    compare_verdict,
    factor_table,
)
from eckart.reports.verify_table import HEADER as VERIFY_HEADER
from eckart.reports.verify_table import uncovered_rows, verify_rows, verify_verdict

__all__ = [
    "VERIFY_HEADER",
    "certificate_table",
    "compare_page",
    "compare_table",
    "compare_verdict",
    "component_rows",
    "evaluation_sentence",
    "extract_page",
    "extract_table",
    "extract_verdict",
    "factor_page",
    "factor_table",
    "fit_rows",
    "layer_rows",
    "metric_table",
    "missing_rows",
    "recommend_page",
    "reduce_page",
    "reduce_table",
    "uncovered_rows",
    "verify_rows",
    "verify_verdict",
]
