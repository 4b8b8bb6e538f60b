"""Recommend: known entries of a users × items matrix in, ranked items out.

`LowRankRecommender` offers everything as one object; the plain functions on a `Model` do the work.
Names are resolved on first use, so that `eckart recommend --help` loads no numerical library;
`__init__.pyi` lists them.
"""

from functools import cache
from importlib import import_module


@cache
def _homes() -> dict[str, str]:
    """The module of each public name, from the stub: one list for all."""
    stub = import_module("pkgutil").get_data(__name__, "__init__.pyi").decode("utf-8")
    found = import_module("re").findall(r"(?m)^from (\S+) import (\w+) as \2$", stub)
    return {name: home for home, name in found}


def __getattr__(name: str) -> object:
    # asked for by `from eckart.recommend import *`
    if name == "__all__":
        return sorted(_homes())
    if name not in _homes():
        raise AttributeError(f"module 'eckart.recommend' has no attribute '{name}'")
    return getattr(import_module(_homes()[name]), name)


def __dir__() -> list[str]:
    return sorted(_homes())
