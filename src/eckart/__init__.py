"""eckart: low-rank matrix factorisation W ≈ B·A, with proof of how close it is to the best.

Public names are resolved on first use, so that `import eckart` loads neither NumPy nor anything
else; `__init__.pyi` lists them for people and type checkers.
"""

from importlib import import_module

_HOMES = {
    "AboveThreshold": "eckart.ranks",
    "BlockKrylov": "eckart.solvers",
    "Certificate": "eckart.certificates",
    "ConvergenceWarning": "eckart.errors",
    "Diverged": "eckart.factorization",
    "EckartError": "eckart.errors",
    "Entire": "eckart.objectives",
    "ExactSVD": "eckart.solvers",
    "Extraction": "eckart.jobs.extract",
    "Factorization": "eckart.factorization",
    "Factors": "eckart.factors",
    "GradientDescent": "eckart.solvers",
    "Interrupted": "eckart.factorization",
    "GramSVD": "eckart.solvers",
    "LoRAStart": "eckart.starts",
    "LowRankReducer": "eckart.estimators",
    "Matrix": "eckart.matrices",
    "Outcome": "eckart.factorization",
    "ScaledGradientDescent": "eckart.solvers",
    "SinglePass": "eckart.solvers",
    "Sketch": "eckart.subspaces",
    "SpectralStart": "eckart.starts",
    "Weighted": "eckart.objectives",
    "as_matrix": "eckart.matrices",
    "centred": "eckart.matrices",
    "certify": "eckart.certificates",
    "extract_adapter": "eckart.jobs.extract",
    "factorize": "eckart.factorization",
    "read_factors": "eckart.storage",
    "read_matrix": "eckart.storage",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("eckart")
    if name not in _HOMES:
        raise AttributeError(f"module 'eckart' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
