"""factorize(): the only loop, the only place that decides to stop, and what it returns."""

from eckart.factorization.components import Components, components
from eckart.factorization.failures import Diverged, Interrupted
from eckart.factorization.outcome import Outcome
from eckart.factorization.result import Factorization, Recipe, Record
from eckart.factorization.whole import factorize

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
