"""≈: which error counts."""

from eckart.objectives.entire import Entire
from eckart.objectives.observed import Observed
from eckart.objectives.protocol import Objective
from eckart.objectives.weighted import Weighted

__all__ = ["Entire", "Objective", "Observed", "Weighted"]
