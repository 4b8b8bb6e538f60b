"""How B and A are found: one solver, one file."""

from eckart.solvers.exact import ExactSVD
from eckart.solvers.gradient import GradientDescent
from eckart.solvers.gram import GramSVD
from eckart.solvers.krylov import BlockKrylov
from eckart.solvers.protocol import Iterative, Problem, Solver, Step, Widening
from eckart.solvers.scaled_gradient import ScaledGradientDescent
from eckart.solvers.single_pass import SinglePass

__all__ = [
    "BlockKrylov",
    "ExactSVD",
    "GradientDescent",
    "GramSVD",
    "Iterative",
    "Problem",
    "ScaledGradientDescent",
    "SinglePass",
    "Solver",
    "Step",
    "Widening",
]
