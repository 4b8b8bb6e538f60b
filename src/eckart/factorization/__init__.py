"""factorize(): the only loop, the only place that decides to stop, and what it returns."""

from eckart.factorization.components import Components, components
from eckart.factorization.factorize import factorize
from eckart.factorization.failures import Diverged, Interrupted
from eckart.factorization.outcome import Outcome
from eckart.factorization.result import Factorization, Recipe, Record

__all__ = [
    "Components",
    "Diverged",
    "Factorization",
    "Interrupted",
    "Outcome",
    "Recipe",
    "Record",
    "components",
    "factorize",
]
