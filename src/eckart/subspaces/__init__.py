"""Subspaces that hold most of W, and what they tell about its singular values."""

from eckart.subspaces.krylov import KrylovSpace
from eckart.subspaces.norms import largest_singular_value

__all__ = ["KrylovSpace", "largest_singular_value"]
