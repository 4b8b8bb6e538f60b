"""eckart: low-rank matrix factorisation W ≈ B·A, with proof of how close it is to the best.

Public names are resolved on first use, so that `import eckart` loads neither NumPy nor anything
else; `__init__.pyi` lists them for people, for type checkers and for this module.
"""

from functools import cache
from importlib import import_module

_RENAMED = {"Offset": "BiasedFactors", "Samples": "PosteriorSamples"}
"""Names of before, each with the one that is meant: they go for one version more."""


@cache
def _homes() -> dict[str, str]:
    """The module of each public name, from the stub: one list for all."""
    stub = import_module("pkgutil").get_data("eckart", "__init__.pyi").decode("utf-8")
    found = import_module("re").findall(r"(?m)^from (\S+) import (\w+) as \2$", stub)
    return {name: home for home, name in found}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("eckart")
    if name in _RENAMED:
        message = f"eckart.{name} is called eckart.{_RENAMED[name]} now."
        import_module("warnings").warn(message, FutureWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _homes():
        raise AttributeError(f"module 'eckart' has no attribute '{name}'")
    return getattr(import_module(_homes()[name]), name)


def __dir__() -> list[str]:
    return sorted([*_homes(), "__version__"])
