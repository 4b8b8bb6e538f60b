"""How B and A are found: one solver, one file."""

from typing import Final

from eckart.solvers.alternating import AlternatingLeastSquares
from eckart.solvers.davidson import Davidson
from eckart.solvers.exact import ExactSVD
from eckart.solvers.folding import fold_in
from eckart.solvers.gibbs import GibbsSampling
from eckart.solvers.gradient import GradientDescent
from eckart.solvers.gram import GramSVD
from eckart.solvers.krylov import BlockKrylov
from eckart.solvers.protocol import (
    Approximation,
    Iterative,
    ObservedProblem,
    ObservedSolver,
    Problem,
    Solver,
    Step,
    Widening,
    fits_entries,
)
from eckart.solvers.rows import Cholesky, ConjugateGradients, CoordinateBlocks
from eckart.solvers.scaled_gradient import ScaledGradientDescent
from eckart.solvers.single_pass import SinglePass
from eckart.solvers.stochastic import StochasticGradient

ENTRIES_SOLVERS: Final = (AlternatingLeastSquares, GibbsSampling, StochasticGradient)
"""Those that fit known entries only; a solver of somebody else is taken as what it is given to."""

__all__ = [
    "ENTRIES_SOLVERS",
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
