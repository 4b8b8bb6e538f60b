"""The loop over the steps of a solver: its stopping rule, its outcomes and its results."""

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
