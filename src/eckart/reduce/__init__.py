"""Reduce a table: components, scores, and what they hold of the variance."""

from eckart.reduce.fit import grown, reduced, start_incremental
from eckart.reduce.reduction import Reduction, read_back

__all__ = [
    "Reduction",
    "grown",
    "read_back",
    "reduced",
    "start_incremental",
]
