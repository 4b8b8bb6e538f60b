"""Solvers that find B and A, each in a file of its own."""

from eckart.solvers.base import (
    Approximation,
    IterativeSolver,
    Problem,
    Solver,
    Step,
    SubspaceSolver,
)
from eckart.solvers.davidson import Davidson
from eckart.solvers.gradient import GradientDescent
from eckart.solvers.gram import GramSVD
from eckart.solvers.krylov import BlockKrylov
from eckart.solvers.scaled_gradient import ScaledGradientDescent
from eckart.solvers.single_pass import SinglePass, Sketch
from eckart.solvers.svd import ExactSVD

__all__ = [
    "Approximation",
    "BlockKrylov",
    "Davidson",
    "ExactSVD",
    "GradientDescent",
    "GramSVD",
    "IterativeSolver",
    "Problem",
    "ScaledGradientDescent",
    "SinglePass",
    "Sketch",
    "Solver",
    "Step",
    "SubspaceSolver",
]
