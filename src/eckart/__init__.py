"""eckart: low-rank matrix factorisation W ≈ B·A, with proof of how close it is to the best.

Public names are resolved on first use, so that `import eckart` loads neither NumPy nor anything
else; `__init__.pyi` lists them for people and type checkers.
"""

from importlib import import_module

_HOMES = {
    "AboveThreshold": "eckart.ranks",
    "AlternatingLeastSquares": "eckart.completion.als",
    "ArgumentError": "eckart.errors",
    "BiasedFactors": "eckart.approximations",
    "BlockKrylov": "eckart.solvers",
    "Certificate": "eckart.certificates",
    "Cholesky": "eckart.completion.equations",
    "ConjugateGradients": "eckart.completion.equations",
    "ConvergenceWarning": "eckart.errors",
    "CoordinateBlocks": "eckart.completion.equations",
    "Diverged": "eckart.engine",
    "EckartError": "eckart.errors",
    "Entire": "eckart.objectives",
    "Entries": "eckart.completion.entries",
    "ExactSVD": "eckart.solvers",
    "Extraction": "eckart.adapters",
    "Factorization": "eckart.engine",
    "Factors": "eckart.factors",
    "FormatError": "eckart.errors",
    "GibbsSampling": "eckart.completion.gibbs",
    "GradientDescent": "eckart.solvers",
    "GramSVD": "eckart.solvers",
    "Interrupted": "eckart.engine",
    "LoRAStart": "eckart.solvers.starts",
    "LowRankRecommender": "eckart.recommend",
    "LowRankReducer": "eckart.reduce.estimator",
    "Matrix": "eckart.matrices",
    "MatrixError": "eckart.errors",
    "MissingExtra": "eckart.errors",
    "Observed": "eckart.completion.objective",
    "Outcome": "eckart.engine",
    "PosteriorSamples": "eckart.approximations",
    "ScaledGradientDescent": "eckart.solvers",
    "SinglePass": "eckart.solvers",
    "Sketch": "eckart.subspaces",
    "SpectralStart": "eckart.solvers.starts",
    "StochasticGradient": "eckart.completion.sgd",
    "StorageError": "eckart.errors",
    "Weighted": "eckart.objectives",
    "as_matrix": "eckart.matrices",
    "centred": "eckart.matrices",
    "certify": "eckart.certificates",
    "extract_adapter": "eckart.adapters",
    "factorize": "eckart.factorization",
    "fold_in": "eckart.completion.fold_in",
    "join_adapters": "eckart.adapters.join_and_truncate",
    "merge_adapters": "eckart.adapters.merge",
    "read_factors": "eckart.files",
    "read_matrix": "eckart.files",
    "truncate_adapter": "eckart.adapters.join_and_truncate",
    "verify_adapter": "eckart.adapters.verify",
}

_RENAMED = {"Offset": "BiasedFactors", "Samples": "PosteriorSamples"}
"""Names of before, each with the one that is meant: they go for one version more."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("eckart")
    if name in _RENAMED:
        message = f"eckart.{name} is called eckart.{_RENAMED[name]} now."
        import_module("warnings").warn(message, FutureWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'eckart' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
