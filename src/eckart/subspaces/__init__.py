"""Subspaces that hold most of W, and bounds on its singular values from them."""

from eckart.subspaces.bounds import RitzData, leading_squares_bound, outside_bound, rise, rise_bound
from eckart.subspaces.directions import (
    directed,
    largest_singular_value,
    leading_directions,
    ritz_by_blocks,
)
from eckart.subspaces.krylov import KrylovSpace, ritz_of_products
from eckart.subspaces.power_probes import (
    FAILURE_PROBABILITY,
    PROBES_SHARE,
    FailureBudget,
    PowerProbes,
    gaussian_columns,
    hidden,
)
from eckart.subspaces.search_space import RitzSpace, SampledGram, SearchSpace

__all__ = [
    "FAILURE_PROBABILITY",
    "PROBES_SHARE",
    "FailureBudget",
    "KrylovSpace",
    "PowerProbes",
    "RitzData",
    "RitzSpace",
    "SampledGram",
    "SearchSpace",
    "directed",
    "gaussian_columns",
    "hidden",
    "largest_singular_value",
    "leading_directions",
    "leading_squares_bound",
    "outside_bound",
    "rise",
    "rise_bound",
    "ritz_by_blocks",
    "ritz_of_products",
]
