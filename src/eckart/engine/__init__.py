"""The one loop over the steps of a solver: when it stops, how it ends, and what it returns."""

from eckart.engine.components import Components, components
from eckart.engine.result import Diverged, Factorization, Interrupted, Outcome, Recipe, Record

__all__ = [
    "Components",
    "Diverged",
    "Factorization",
    "Interrupted",
    "Outcome",
    "Recipe",
    "Record",
    "components",
]
