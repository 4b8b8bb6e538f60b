"""How B and A are found: one solver, one file."""

from eckart.solvers.alternating import AlternatingLeastSquares
from eckart.solvers.davidson import Davidson
from eckart.solvers.exact import ExactSVD
from eckart.solvers.folding import fold_in
from eckart.solvers.gibbs import GibbsSampling
from eckart.solvers.gradient import GradientDescent
from eckart.solvers.gram import GramSVD
from eckart.solvers.known_problem import ObservedProblem, ObservedSolver, fits_entries
from eckart.solvers.krylov import BlockKrylov
from eckart.solvers.protocol import (
    Approximation,
    Iterative,
    Problem,
    Solver,
    Step,
    Widening,
)
from eckart.solvers.rows import Cholesky, ConjugateGradients, CoordinateBlocks
from eckart.solvers.scaled_gradient import ScaledGradientDescent
from eckart.solvers.single_pass import SinglePass
from eckart.solvers.stochastic import StochasticGradient

__all__ = [
    "AlternatingLeastSquares",
    "Approximation",
    "BlockKrylov",
    "Cholesky",
    "ConjugateGradients",
    "CoordinateBlocks",
    "Davidson",
    "ExactSVD",
    "GibbsSampling",
    "GradientDescent",
    "GramSVD",
    "Iterative",
    "ObservedProblem",
    "ObservedSolver",
    "Problem",
    "ScaledGradientDescent",
    "SinglePass",
    "Solver",
    "Step",
    "StochasticGradient",
    "Widening",
    "fits_entries",
    "fold_in",
]
