"""Bayesian factorisation of known entries by Gibbs sampling."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, final

import numpy as np

from eckart.approximations import BiasedFactors, PosteriorSamples, Prior
from eckart.arguments import check_whole
from eckart.arrays import FLOAT32, FLOAT64, Array, Randomness
from eckart.completion.base import (
    EntriesProblem,
    EntriesSolver,
    in_units,
    known_error,
    make_step,
    scale_factors,
    spread,
)
from eckart.completion.sweeps import FactorTable, FactorTables, NormalEquations
from eckart.errors import ArgumentError
from eckart.solvers import Step
from eckart.solvers.base import Limits, check_count
from eckart.threads import one_blas_thread

STRENGTH: Final = 2.0
"""β₀: the weight of the prior mean 0, in rows."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GibbsSampling(EntriesSolver):
    """Gibbs sampling of B, A, their biases and their priors, given the known entries.

    The rows of B (with their biases) are Gaussian with a common mean and precision, which have a
    Gaussian-Wishart prior; so are the columns of A. The precision of the entries has a Gamma prior.
    Because the priors are drawn too, no regularization has to be chosen, and that of the objective
    is not used. Predictions are means over draws, with a standard deviation. The entries are scaled
    to a standard deviation near 1, so that their unit does not matter.

    Fields:
        samples: Number of draws after the burn-in.
        burn_in: Number of sweeps before the first draw counts.
        keep: Largest number of draws that are kept, spread evenly over the samples.

    Raises:
        ArgumentError: If a field is out of its range, or the objective is not for ratings.

    Cost:
        rank² operations for each entry and rank³/3 for each row, in each sweep; memory for `keep`
        pairs of factors.

    Reference:
        Salakhutdinov, Mnih (2008), Bayesian probabilistic matrix factorization, ICML.
    """

    name: ClassVar[str] = "gibbs"

    samples: int = 250
    burn_in: int = 50
    keep: int = 250

    def __post_init__(self) -> None:
        check_count("samples", self.samples)
        check_count("keep", self.keep)
        if check_whole("burn-in", self.burn_in) < 0:
            raise ArgumentError(
                f"The burn-in is {self.burn_in}.", hint="Give at least 0.", code="bad-burn-in"
            )

    def limits(self) -> Limits:
        """Return the sweeps, burn-in included: draws do not converge, only their mean does."""
        return Limits(steps=self.burn_in + self.samples, stop_early=False)

    def steps(self, problem: EntriesProblem, /) -> Iterator[Step]:
        """Yield sweeps without end; the loss is the squared error of the last draw alone."""
        problem.require_ratings("Gibbs sampling")
        unit = spread(problem.entries.by_rows.values)
        tables = FactorTables(in_units(problem.entries, unit), problem.objective,
                              scale_factors(problem.start, 1 / unit))  # fmt: skip
        draws: list[BiasedFactors] = []
        priors: list[tuple[Prior, Prior]] = []
        noises: list[float] = []
        fitted, randomness = problem.start, problem.randomness
        # rounded up, so that at most `keep` draws are kept
        every = max(1, -(-self.samples // self.keep))
        for number in itertools.count():
            squared = known_error(problem.entries, problem.objective, fitted)[0]
            # the precision of an entry has the prior Gamma(1, 1)
            shape, rate = 1 + len(problem.entries) / 2, 1 + squared / unit**2 / 2
            noise = float(1 / (randomness.standard_gamma(shape) / rate))
            with one_blas_thread():
                pair = (
                    _sweep(tables, tables.rows, tables.columns, noise, randomness),
                    _sweep(tables, tables.columns, tables.rows, noise, randomness),
                )
            fitted = scale_factors(tables.snapshot()(), unit)
            pair = (_scale_prior(pair[0], unit, tables.rank),
                    _scale_prior(pair[1], unit, tables.rank))  # fmt: skip
            # back in the unit of the entries
            noise *= unit**2
            if number >= self.burn_in and (number - self.burn_in) % every == 0:
                draws.append(fitted)
                priors.append(pair)
                noises.append(noise)
            # tuples, because the caller may keep a step while more draws are added to the lists
            samples = partial(
                PosteriorSamples,
                draws=tuple(draws) or (fitted,),
                priors=tuple(priors) or (pair,),
                noise=float(np.mean(noises or [noise])),
            )
            yield make_step(number, squared, fitted, samples)


def _scale_prior(prior: Prior, unit: float, rank: int) -> Prior:
    """Return the prior (precision divided by that of an entry) for entries `unit` times as large.

    Factors grow with the root of the unit, biases with the unit.
    """
    grown = np.full(len(prior.mean), unit)
    grown[:rank] = np.sqrt(unit)
    # precision of x·g is precision/g²; that of an entry, by which it is divided, /unit²
    less = (unit / grown).astype(FLOAT32)
    return Prior(
        mean=prior.mean * grown.astype(FLOAT32), precision=prior.precision * np.outer(less, less)
    )


def _sweep(
    tables: FactorTables,
    side: FactorTable,
    other: FactorTable,
    noise: float,
    randomness: Randomness,
) -> Prior:
    """Draw the prior of a side, then all its rows."""
    mean, precision = _draw_prior(side.X.astype(FLOAT64), randomness)
    prior = Prior(mean=mean.astype(FLOAT32), precision=(precision * noise).astype(FLOAT32))
    draw_rows(tables, side, other, prior, noise, randomness)
    return prior


def draw_rows(
    tables: FactorTables,
    side: FactorTable,
    other: FactorTable,
    prior: Prior,
    noise: float,
    randomness: Randomness,
) -> None:
    """Draw all rows of a side from their posterior under a prior, given the other side.

    `noise` is the variance of an entry.
    """
    from eckart.completion.kernels.rows import sampled_rows

    # the prior pulls towards its mean: Λμ on the right side
    linear = (prior.precision.astype(FLOAT64) @ prior.mean).astype(FLOAT32)
    # drawn at once and not in the kernel, so that the threads do not change it
    drawn = (randomness.standard_normal(side.X.shape) * np.sqrt(noise)).astype(FLOAT32)

    def solve(equations: NormalEquations, X: Array) -> None:
        equations.in_pieces(
            lambda first, last, known: sampled_rows(
                first, last, known, prior.precision, linear, drawn, X
            )
        )

    tables.solve(side, other, solve)


def _draw_prior(X: Array, randomness: Randomness) -> tuple[Array, Array]:
    """Draw the mean and the precision of rows from their Gaussian-Wishart posterior.

    The prior has mean 0 with the weight of β₀ = 2 rows, W₀ = I and ν₀ = width.
    """
    rows, width = X.shape
    centre = X.mean(axis=0)
    spread = (X - centre).T @ (X - centre)
    share = STRENGTH * rows / (STRENGTH + rows)
    scale = np.eye(width) + spread + share * np.outer(centre, centre)
    # posterior degrees of freedom: ν₀ = width, and one for each row
    R = _draw_wishart_root(scale, width + rows, randomness)
    middle = rows * centre / (STRENGTH + rows)
    # Rᵀ·step is standard normal, so that step has the covariance (RRᵀ)⁻¹ = Λ⁻¹
    step = np.linalg.solve(R.T, randomness.standard_normal(width)) / np.sqrt(STRENGTH + rows)
    return middle + step, R @ R.T


def _draw_wishart_root(scale: Array, freedom: float, randomness: Randomness) -> Array:
    """Draw R with RRᵀ ~ Wishart(scale⁻¹, freedom), by Bartlett's decomposition."""
    width = len(scale)
    lower = np.tril(randomness.standard_normal((width, width)), -1)
    diagonal = np.sqrt(randomness.chisquare(freedom - np.arange(width)))
    root = np.linalg.inv(np.linalg.cholesky(scale)).T  # root·rootᵀ = scale⁻¹
    return root @ (lower + np.diag(diagonal))
