"""Subspaces that hold most of W, and what they tell about its singular values."""

from eckart.subspaces.bounds import (
    Evidence,
    leading_squares_bound,
    outside_bound,
    rise,
    rise_bound,
)
from eckart.subspaces.directions import directed, leading_directions, ritz_by_blocks
from eckart.subspaces.given import GivenSpace
from eckart.subspaces.krylov import KrylovSpace, ritz_of_products
from eckart.subspaces.likeness import Likeness
from eckart.subspaces.norms import largest_singular_value
from eckart.subspaces.power_probes import PowerProbes, gaussian_columns
from eckart.subspaces.probing import CARRIED, FAILURE, Probing, hidden
from eckart.subspaces.sketch import Sketch

__all__ = [
    "CARRIED",
    "FAILURE",
    "Evidence",
    "GivenSpace",
    "KrylovSpace",
    "Likeness",
    "PowerProbes",
    "Probing",
    "Sketch",
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
