"""The solvers of a recommender by name."""

from typing import Any, Final

from eckart.errors import ArgumentError
from eckart.jobs.recommend.settings import Settings
from eckart.solvers import (
    AlternatingLeastSquares,
    Cholesky,
    CoordinateBlocks,
    GibbsSampling,
    ObservedSolver,
    StochasticGradient,
)

DRAWN_BYTES: Final = 2**30
"""Of all draws of a posterior that are kept."""
FEWEST_DRAWS: Final = 10
BURN_IN: Final = 50
ROWS: Final = {"als": None, "cholesky": Cholesky(), "blocks": CoordinateBlocks()}
"""How alternating least squares solves a row; None chooses."""


def make_solver(settings: Settings, shape: tuple[int, int]) -> ObservedSolver:
    """The solver that the settings name.

    Args:
        settings: Of the fit.
        shape: (users, items), for what fits into memory.

    Raises:
        ArgumentError: If the solver does not keep factors from being negative as was asked.

    Example:
        >>> make_solver(Settings(epochs=3), (10, 10)).epochs
        3
    """
    epochs: dict[str, Any] = {} if settings.epochs is None else {"epochs": settings.epochs}
    if settings.nonnegative and settings.method != "als":
        raise ArgumentError(
            f"The solver {settings.method} does not keep factors from being negative.",
            hint="Leave it out.",
            code="option-does-not-apply",
        )
    if settings.method == "gd":
        return StochasticGradient(**epochs)
    if settings.method == "gibbs":
        samples = {} if settings.epochs is None else {"samples": settings.epochs}
        draw = 4 * (settings.rank + 1) * sum(shape)
        keep = min(GibbsSampling().keep, max(FEWEST_DRAWS, DRAWN_BYTES // draw))
        return GibbsSampling(burn_in=BURN_IN, keep=keep, **samples)
    return AlternatingLeastSquares(by=ROWS[settings.method], **epochs)
