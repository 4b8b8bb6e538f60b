"""eckart: low-rank matrix factorisation W ≈ B·A, with proof of how close it is to the best.

Public names are resolved on first use, so that `import eckart` loads neither NumPy nor anything
else; `__init__.pyi` lists them for people and type checkers.
"""

from importlib import import_module

_HOMES = {
    "AboveThreshold": "eckart.ranks",
    "AlternatingLeastSquares": "eckart.solvers",
    "ArgumentError": "eckart.errors",
    "BlockKrylov": "eckart.solvers",
    "Certificate": "eckart.certificates",
    "Cholesky": "eckart.solvers",
    "ConjugateGradients": "eckart.solvers",
    "ConvergenceWarning": "eckart.errors",
    "CoordinateBlocks": "eckart.solvers",
    "Diverged": "eckart.factorization",
    "EckartError": "eckart.errors",
    "Entire": "eckart.objectives",
    "Entries": "eckart.matrices",
    "ExactSVD": "eckart.solvers",
    "Extraction": "eckart.jobs.extract",
    "Factorization": "eckart.factorization",
    "Factors": "eckart.factors",
    "FormatError": "eckart.errors",
    "GibbsSampling": "eckart.solvers",
    "GradientDescent": "eckart.solvers",
    "GramSVD": "eckart.solvers",
    "Interrupted": "eckart.factorization",
    "LoRAStart": "eckart.starts",
    "LowRankRecommender": "eckart.jobs.recommend",
    "LowRankReducer": "eckart.estimators",
    "Matrix": "eckart.matrices",
    "MatrixError": "eckart.errors",
    "MissingExtra": "eckart.errors",
    "Observed": "eckart.objectives",
    "Offset": "eckart.offset",
    "Outcome": "eckart.factorization",
    "Samples": "eckart.samples",
    "ScaledGradientDescent": "eckart.solvers",
    "SinglePass": "eckart.solvers",
    "Sketch": "eckart.subspaces",
    "SpectralStart": "eckart.starts",
    "StochasticGradient": "eckart.solvers",
    "StorageError": "eckart.errors",
    "Weighted": "eckart.objectives",
    "as_matrix": "eckart.matrices",
    "centred": "eckart.matrices",
    "certify": "eckart.certificates",
    "extract_adapter": "eckart.jobs.extract",
    "factorize": "eckart.factorization",
    "fold_in": "eckart.solvers",
    "merge_adapters": "eckart.jobs.merge",
    "read_factors": "eckart.storage",
    "read_matrix": "eckart.storage",
    "truncate_adapter": "eckart.jobs.resize",
    "verify_adapter": "eckart.jobs.verify",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("eckart")
    if name not in _HOMES:
        raise AttributeError(f"module 'eckart' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
