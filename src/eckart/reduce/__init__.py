"""Reduction of a table: components, scores, and the share of the variance that they hold."""

from eckart.reduce.fit import grown, reduced, start_incremental
from eckart.reduce.reduction import Reduction, read_back

__all__ = [
    "Reduction",
    "grown",
    "read_back",
    "reduced",
    "start_incremental",
]
