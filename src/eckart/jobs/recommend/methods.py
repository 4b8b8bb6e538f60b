"""The solvers of a recommender by name."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from eckart.errors import ArgumentError
from eckart.jobs.recommend.settings import Settings
from eckart.solvers import AlternatingLeastSquares, ObservedSolver


def make_solver(settings: Settings) -> ObservedSolver:
    """The solver that the settings name.

    Example:
        >>> make_solver(Settings(epochs=3)).epochs
        3
    """
    epochs = {} if settings.epochs is None else {"epochs": settings.epochs}
    return _MAKERS[settings.method](epochs, settings)


def _alternating(by: str | None) -> Callable[[dict[str, Any], Settings], ObservedSolver]:
    def make(epochs: dict[str, Any], settings: Settings) -> ObservedSolver:
        if by is not None and settings.nonnegative:
            raise ArgumentError(
                f"--solver {settings.method} does not keep factors from being negative.",
                hint="Leave out --solver.",
                code="option-does-not-apply",
            )
        chosen = None if by is None else getattr(import_module("eckart.solvers"), by)()
        return AlternatingLeastSquares(by=chosen, **epochs)

    return make


def _named(name: str, **fixed: Any) -> Callable[[dict[str, Any], Settings], ObservedSolver]:
    def make(epochs: dict[str, Any], settings: Settings) -> ObservedSolver:
        del settings
        solver: ObservedSolver = getattr(import_module("eckart.solvers"), name)(**fixed, **epochs)
        return solver

    return make


_MAKERS: Final = {
    "als": _alternating(None),
    "cholesky": _alternating("Cholesky"),
    "blocks": _alternating("Blocks"),
    "gd": _named("StochasticGradient"),
    "gibbs": _named("GibbsSampling"),
}
