"""≈: which error counts."""

from eckart.objectives.entire import Entire
from eckart.objectives.protocol import Objective

__all__ = ["Entire", "Objective"]
