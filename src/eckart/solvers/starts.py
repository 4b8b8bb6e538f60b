"""Initial factors of iterative solvers."""

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Final, Literal, final

import numpy as np

from eckart.arguments import check_number
from eckart.arrays import Randomness
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, as_factors
from eckart.matrices import Matrix
from eckart.subspaces import KrylovSpace, largest_singular_value

SKETCH_OVERSAMPLING: Final = 8
"""Columns of the sketch of a spectral start, beyond the rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(ABC):
    """A way to make the initial factors of a matrix."""

    name: ClassVar[str]
    """Name of the start in recipes."""

    @abstractmethod
    def factors(self, W: Matrix, rank: int, randomness: Randomness, /) -> Factors:
        """Return factors of the shape of W and the given rank."""

    def resolved(self, W: Matrix, /) -> "Start":
        """Return the start with defaults filled in from W, if it has any."""
        del W
        return self

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        return {"name": self.name}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LoRAStart(Start):
    """The start of low-rank adapters: one factor is N(0, σ²), the other zero, so that B·A = 0.

    Fields:
        gaussian: Name of the random factor, "A" or "B"; the other is zero.
        sigma: Standard deviation of the entries of that factor. None takes `default_sigma`.

    Raises:
        ArgumentError: If sigma is not positive.

    Example:
        >>> from eckart.matrices import Dense
        >>> start = LoRAStart(sigma=1.0).factors(Dense(np.eye(3)), 2, np.random.default_rng(0))
        >>> start.B.any(), start.A.shape
        (np.False_, (2, 3))

    Reference:
        Hu et al. (2021), LoRA, section 4.1.
    """

    name: ClassVar[str] = "lora"

    gaussian: Literal["A", "B"] = "A"
    sigma: float | None = None

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 < check_number("sigma", self.sigma) < math.inf:
            raise ArgumentError(
                f"Sigma is {self.sigma}.", hint="Give a positive number.", code="bad-sigma"
            )
        if not isinstance(self.gaussian, str) or self.gaussian not in ("A", "B"):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ArgumentError(
                f"The gaussian factor is {self.gaussian!r}.",
                hint="Give A or B.",
                code="bad-gaussian",
            )

    def factors(self, W: Matrix, rank: int, randomness: Randomness, /) -> Factors:
        """Draw the random factor, in float64 and row by row, whatever the dtype of W."""
        rows, columns = W.shape
        sigma = self.resolved(W).sigma or math.nan
        if self.gaussian == "A":
            A = sigma * randomness.standard_normal((rank, columns))
            return Factors(np.zeros((rows, rank)), A).astype(W.dtype)
        B = sigma * randomness.standard_normal((rows, rank))
        return Factors(B, np.zeros((rank, columns))).astype(W.dtype)

    def resolved(self, W: Matrix, /) -> "LoRAStart":
        """Return the start with the sigma that it uses."""
        return replace(self, sigma=self.sigma or default_sigma(W, self.gaussian))

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe."""
        return {"name": self.name, **asdict(self)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralStart(Start):
    """Balanced factors of a sketch of W (BᵀB = AAᵀ), already near the leading directions.

    Cost:
        Two products with W of width rank + 8.

    Reference:
        Tong, Ma, Chi (2021), section 2; the sketch: Halko, Martinsson, Tropp (2011), algorithm 4.1.
    """

    name: ClassVar[str] = "spectral"

    def factors(self, W: Matrix, rank: int, randomness: Randomness, /) -> Factors:
        """Return the leading Ritz directions of a space of one block, with √σ on both factors."""
        space = KrylovSpace(W, rank + SKETCH_OVERSAMPLING, randomness)
        space.grow()
        leading = W.namespace.put(space.ritz()[1][:, :rank], W.dtype)
        return Factors(space.Y @ leading, (space.V @ leading).T).balance()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GivenStart(Start):
    """Initial factors that a user gives."""

    name: ClassVar[str] = "given"

    given: Factors

    def factors(self, W: Matrix, rank: int, randomness: Randomness, /) -> Factors:
        """Return the given factors, if they fit.

        Raises:
            MatrixError: If their shape or rank differs from what is asked for.
        """
        del randomness
        if self.given.shape != W.shape or self.given.rank != rank:
            rows, columns = W.shape
            raise MatrixError(
                f"The start is {self.given!r}, which does not fit.",
                hint=f"Give B of shape ({rows}, {rank}) and A of shape ({rank}, {columns}).",
                code="start-does-not-fit",
            )
        return self.given.astype(W.dtype)


def default_sigma(W: Matrix, gaussian: Literal["A", "B"] = "A") -> float:
    """√(σ̂₁/length), so that AAᵀ ≈ σ₁·I for A of `length` columns (BᵀB for B of `length` rows).

    With a much smaller σ the first epochs are spent on leaving the saddle at B = A = 0; with a much
    larger one the imbalance AAᵀ − BᵀB keeps the step size small.

    Cost:
        8 products `gram_times` of width 6.
    """
    length = W.shape[1] if gaussian == "A" else W.shape[0]
    # a matrix of zeros has σ̂₁ = 0, and sigma must be positive
    return math.sqrt(largest_singular_value(W) / length) or 1.0


def as_start(start: object) -> Start:
    """Return `Factors`, a pair (B, A) or a `Start` as a `Start`.

    Raises:
        ArgumentError: If it is none of these.
    """
    if isinstance(start, Start):
        return start
    if isinstance(start, Factors | tuple | list):
        return GivenStart(given=as_factors(start))
    raise ArgumentError(
        f"The start is a {type(start).__name__}.",
        hint="Give Factors, a pair (B, A), a LoRAStart or SpectralStart, or nothing.",
        code="bad-start",
    )
