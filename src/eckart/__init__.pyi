from eckart.certificates import Certificate as Certificate
from eckart.certificates import certify as certify
from eckart.errors import ConvergenceWarning as ConvergenceWarning
from eckart.errors import EckartError as EckartError
from eckart.factorization import Diverged as Diverged
from eckart.factorization import Factorization as Factorization
from eckart.factorization import Interrupted as Interrupted
from eckart.factorization import Outcome as Outcome
from eckart.factorization import factorize as factorize
from eckart.factors import Factors as Factors
from eckart.matrices import Matrix as Matrix
from eckart.matrices import as_matrix as as_matrix
from eckart.matrices import centred as centred
from eckart.objectives import Entire as Entire
from eckart.ranks import AboveThreshold as AboveThreshold
from eckart.solvers import BlockKrylov as BlockKrylov
from eckart.solvers import ExactSVD as ExactSVD
from eckart.solvers import GradientDescent as GradientDescent
from eckart.solvers import ScaledGradientDescent as ScaledGradientDescent
from eckart.solvers import SinglePass as SinglePass
from eckart.starts import LoRAStart as LoRAStart
from eckart.starts import SpectralStart as SpectralStart
from eckart.storage import read_factors as read_factors
from eckart.storage import read_matrix as read_matrix
from eckart.subspaces import Sketch as Sketch

__version__: str
