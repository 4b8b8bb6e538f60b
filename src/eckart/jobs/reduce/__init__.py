"""Reduce a table: components, scores, and what they hold of the variance."""

from eckart.jobs.reduce.fit import reduced
from eckart.jobs.reduce.growing import begun_with, grown
from eckart.jobs.reduce.reduction import Reduction, read_back

__all__ = ["Reduction", "begun_with", "grown", "read_back", "reduced"]
