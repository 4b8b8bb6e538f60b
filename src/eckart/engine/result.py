"""The result of a run: its outcome, factors, certificate and recipe."""

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import Enum
from functools import cache
from importlib.metadata import version
from platform import python_version
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.arrays import Array, Randomness
from eckart.certificates import Certificate
from eckart.errors import ConvergenceWarning, EckartError
from eckart.factors import Factors
from eckart.solvers import Approximation
from eckart.threads import thread_pools

SUCCESS_GAP: Final = 1e-3
"""Largest certified gap of a success if no accuracy is asked for; no message mentions less."""

Grade: TypeAlias = Literal["success", "short", "failed", "interrupted"]


class Outcome(Enum):
    """How a run ended; the value is a general sentence, `message` has the figures of the run."""

    EXACT = "Computed directly; no iteration was needed."
    SKETCHED = "Computed from sketches of W; no iteration was needed."
    CONVERGED = "The loss stopped falling."
    SETTLED = "The error is estimated to be within 0.1 % of the best possible one."
    UNPROVEN = (
        "Nothing that is left out is known to be larger; the spectrum is too flat for a proof."
    )
    RESOLVED = "The leading singular directions are as exact as was wanted."
    WHOLE = "The space of the products holds all of W."
    EPOCHS_DONE = "All the epochs that were asked for were run."
    ACCURATE = "The accuracy that was wanted is certified."
    EPOCH_LIMIT = "The steps were used up while the loss was still falling."
    FAR = "The error is known to be more than 1 % above the best possible one."
    STALLED = "Further products bring nothing that numbers of this precision can tell."
    TIME_LIMIT = "The time limit came first."
    INACCURATE = "The accuracy that was asked for is not certified."
    DIVERGED = "The loss grew without bound."
    INTERRUPTED = "The run was interrupted."

    @property
    def grade(self) -> Grade:
        """Grade: "success", "short" (usable but short of a target), "failed" or "interrupted"."""
        return _GRADES.get(self, "success")


_GRADES: dict[Outcome, Grade] = {
    Outcome.EPOCH_LIMIT: "short",
    Outcome.FAR: "short",
    Outcome.STALLED: "short",
    Outcome.TIME_LIMIT: "short",
    Outcome.INACCURATE: "short",
    Outcome.DIVERGED: "failed",
    Outcome.INTERRUPTED: "interrupted",
}


MOST_SINGULAR_VALUES = 2000
"""Most singular values in `to_dict`, so that the JSON text stays small."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One step of the history.

    Fields:
        step: Number of the step, from 0.
        loss: ‖W − B·A‖²_F after the update of this step, or None if it is not known.
        seconds: Seconds since the first step began.
    """

    step: int
    loss: float | None
    seconds: float

    def scaled(self, factor: float) -> "Record":
        """Return the record of this step for factor·W."""
        return self if self.loss is None else replace(self, loss=self.loss * factor * factor)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that is needed to repeat a run.

    Fields:
        solver: Name and settings of the solver, with the values that were chosen from the data.
        rank_rule: How the rank was chosen.
        objective: Name and settings of the objective.
        start: Name and settings of the start, or None for a solver that needs none.
        seed: The seed, or the type of the generator that was given.
        accuracy: The certified accuracy that was asked for, or None.
        shape: Shape (rows, columns) of W.
        dtype: Dtype in which the run computed.
        versions: Versions of Python, eckart, NumPy and SciPy.
        threads: Number of threads of the linear algebra library.
        blas: Name and version of the linear algebra library.
    """

    solver: dict[str, Any]
    rank_rule: str
    objective: dict[str, Any]
    start: dict[str, Any] | None
    seed: int | str
    accuracy: float | None
    shape: tuple[int, int]
    dtype: str
    versions: dict[str, str]
    threads: int
    blas: str

    @classmethod
    def of(cls, *, seed: int | Randomness, dtype: object, **fields: Any) -> "Recipe":
        """Return the recipe of a run on this machine."""
        return cls(
            # the run advances a generator, so only its type is recorded
            seed=int(seed) if isinstance(seed, int | np.integer) else type(seed).__name__,
            dtype=str(dtype),
            **fields,
            **machine(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {**asdict(self), "shape": list(self.shape)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Factorization:
    """The result of `factorize`.

    Fields:
        factors: B and A.
        outcome: How the run ended.
        message: How the run ended, in sentences with its figures.
        history: One record for each step.
        certificate: The error, and how far it can be from the best possible one.
        recipe: Everything that is needed to repeat the run.
        estimated_gap: Estimate of certificate.gap, rather too large, from power probes; None if the
            solver makes none.
        singular_values: All singular values of W, descending, if they are known.
        passes: Number of passes over W.
        seconds: Duration of the whole run, certificate included.
        fitted: Result of the objective, if it is more than factors (biases, posterior samples).
    """

    factors: Factors
    outcome: Outcome
    message: str
    history: tuple[Record, ...]
    certificate: Certificate
    recipe: Recipe
    singular_values: Array | None
    passes: int
    seconds: float
    estimated_gap: float | None = None
    fitted: BiasedFactors | PosteriorSamples | None = None

    @property
    def approximation(self) -> Approximation:
        """Result of the objective: factors, or for known entries `BiasedFactors` or samples."""
        return self.factors if self.fitted is None else self.fitted

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain numbers and text, without the factors, NaN or infinity."""
        values = None
        if self.singular_values is not None:
            values = [float(value) for value in self.singular_values[:MOST_SINGULAR_VALUES]]
        return {
            "rank": self.factors.rank,
            "shape": list(self.factors.shape),
            "dtype": str(self.factors.dtype),
            "factor_bytes": self.factors.nbytes,
            "outcome": self.outcome.name,
            "grade": self.outcome.grade,
            "message": self.message,
            "certificate": self.certificate.to_dict(),
            "estimated_gap": _finite(self.estimated_gap),
            "history": [
                {**asdict(record), "loss": _finite(record.loss)} for record in self.history
            ],
            "singular_values": values,
            "passes": self.passes,
            "seconds": self.seconds,
            "recipe": self.recipe.to_dict(),
        }


def machine() -> dict[str, Any]:
    """Return versions, threads and linear algebra library, as fields of a `Recipe`."""
    pools = [pool for pool in thread_pools().info() if pool["user_api"] == "blas"]
    return {
        "versions": _versions(),
        "threads": max((pool["num_threads"] for pool in pools), default=1),
        "blas": ", ".join(sorted({f"{pool['internal_api']} {pool['version']}" for pool in pools})),
    }


@cache
def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("eckart", "numpy", "scipy")}
    return {"python": python_version(), **packages}


def _finite(number: float | None) -> float | None:
    # JSON has neither NaN nor infinity
    return number if number is not None and math.isfinite(number) else None


class Diverged(EckartError, ArithmeticError):
    """The loss grew without bound; `partial` is the run up to there, with sound factors."""

    def __init__(self, message: str, *, hint: str, partial: Factorization) -> None:
        super().__init__(message, hint=hint, code="diverged")
        self.partial = partial


class Interrupted(KeyboardInterrupt):
    """The user pressed Ctrl-C; `partial` is the run up to there."""

    def __init__(self, partial: Factorization) -> None:
        super().__init__(partial.message)
        self.partial = partial


def deliver(result: Factorization, hint: Callable[[], str], *, stacklevel: int) -> Factorization:
    """Return the result, warn or raise, depending on the grade of its outcome.

    `hint` says what to do about a loss that grew without bound; `stacklevel` is the number of calls
    from here to the line that the warning names.

    Raises:
        Diverged: If the loss grew without bound.
        Interrupted: If the user pressed Ctrl-C.

    Warns:
        ConvergenceWarning: If the result falls short of a target.
    """
    if result.outcome is Outcome.DIVERGED:
        raise Diverged(
            f"The loss grew without bound: at epoch {len(result.history)} it is not finite or more "
            "than a hundred times where it began.",
            hint=hint(),
            partial=result,
        )
    if result.outcome is Outcome.INTERRUPTED:
        raise Interrupted(result)
    if result.outcome.grade == "short":
        warnings.warn(result.message, ConvergenceWarning, stacklevel=stacklevel)
    return result
