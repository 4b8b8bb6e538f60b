"""Block Davidson iteration: singular directions of a tall matrix, preconditioned by a sample."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, final

import numpy as np

from eckart.arrays import Array, Randomness
from eckart.errors import ArgumentError, MatrixError
from eckart.matrices import Matrix, Rescaled, Standardised, standardised
from eckart.ranks import check_open_unit
from eckart.solvers.base import Problem, Step, SubspaceSolver, check_count
from eckart.solvers.ritz import excess, project, ritz_step
from eckart.subspaces import (
    FAILURE_PROBABILITY,
    PowerProbes,
    SampledGram,
    SearchSpace,
    directed,
    gaussian_columns,
)
from eckart.subspaces.bounds import eigenpairs
from eckart.subspaces.directions import orthonormal, random_array
from eckart.subspaces.krylov import whole_width
from eckart.subspaces.power_probes import largest_ritz

MOST_COLUMNS: Final = 4096
"""Largest number of columns for which a second matrix of columns² is small beside W."""
EXTRA_COLUMNS: Final = 14
"""Least number of columns of a product beyond the rank: the next directions and random ones."""
PROBE_COLUMNS: Final = 16
"""Number of probes that are multiplied along, to bound the norm outside the space."""
RANDOM_COLUMNS: Final = 4
"""Number of random directions that are iterated along: they find singular directions that only
rows outside the sample hold."""
LEAST_SAMPLE: Final = 2
"""Rows of the first sample for each column of W."""
HALF_PRODUCT: Final = 2
"""Factor h: the Gram matrix of h·width/columns of the rows takes half the time of a product."""
MOST_HALVES: Final = 3
"""Largest cost of a sample, in halves of a product."""
TARGET_SHARE: Final = 0.7
"""Share of the requested residual that two products are meant to reach."""
PROBED_SHARE: Final = 0.1
"""Share of the requested residual that is predicted before probes verify it."""
PROBE_COUNTS: Final = (8, 16, 32)
"""Numbers of probes: the fewer there are, the farther their bound is likely above a residual."""
SAFETY_FACTOR: Final = 2.0
"""Safety factor of predicted residuals."""
STALLED_RATIO: Final = 0.5
"""Ratio of successive residuals above which the predictions failed, and the sample is dropped."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Davidson(SubspaceSolver):
    """Leading right singular vectors of a matrix with far more rows than columns.

    The Gram matrix M of a few sampled rows approximates WᵀW. Its spectrum tells how many more rows
    save products with W; at most the time of one and a half products is spent on them. The leading
    eigenvectors of M are the first directions, and each product with W corrects M, so that the
    error of the directions falls by about √(t/(s·θ)) each time: s sampled rows, t the energy that
    is left, θ the smallest σ² that is wanted. Directions that are predicted to be accurate enough
    are verified for half a product: W·A, and a few probes.

    If a sample is not like W, the residuals themselves widen the space; directions that the sample
    lacks are found by a few random directions that are iterated along.

    Fields:
        probe: Whether directions that are predicted to be accurate enough are verified by probes
            alone. The space then lacks them, and bounds the best possible error less sharply.
        blocks: Largest number of products with W.
        stop_early: Whether to stop earlier, once the residual is reached.
        residual: Largest ‖WᵀWv − σ²v‖/σ² of the directions v to accept.

    Raises:
        ArgumentError: If a field is out of its range.

    Cost:
        A Gram matrix of at most 6·width/columns of the rows, then usually two passes over W; memory
        5·columns² + 3·columns·width numbers.

    Example:
        >>> W = np.random.default_rng(0).standard_normal((2000, 90)) / np.arange(1, 91)
        >>> last = list(Davidson().steps(Problem(W=standardised(W), rank=2, start=None)))[-1]
        >>> bool(np.allclose(last.directions()[1], np.linalg.svd(W - W.mean(0))[1][:2] ** 2))
        True

    Reference:
        Davidson (1975), Journal of Computational Physics 17; on a sample as a preconditioner:
        docs/mathematics/components.md.
    """

    name: ClassVar[str] = "davidson"

    probe: bool = True
    blocks: int = 60
    stop_early: bool = True
    residual: float = 1e-5

    def __post_init__(self) -> None:
        check_count("blocks", self.blocks)
        check_open_unit("residual", self.residual)

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield one step for each product, until the space holds every column or all of W.

        Raises:
            ArgumentError: If the rank is to be chosen by a rule.
            MatrixError: If no sample can be taken of W.
        """
        if problem.rule is not None:
            raise ArgumentError(
                "This solver takes a rank, not a rule that finds one.",
                hint="Give a rank, or take BlockKrylov.",
                code="rank-not-given",
            )
        W, rank = _with_rows(problem.W), problem.rank
        width = self._width(W, rank)
        space = SearchSpace(W, PowerProbes(gaussian_columns(W, PROBE_COLUMNS)))
        if width == W.shape[1]:  # a sample would save nothing
            space.add(np.eye(W.shape[1], dtype=W.dtype))
            yield ritz_step(0, W, space, rank, tall=False, residual=self.residual)
            return
        sample, X = self._first_directions(W, rank, width - RANDOM_COLUMNS, problem.randomness)
        fresh = _random_directions(W, RANDOM_COLUMNS, problem.randomness)
        number, known, before = 0, 0, math.inf
        while True:
            space.add(np.hstack([X, fresh]))
            step = ritz_step(number, W, space, rank, tall=False, residual=self.residual)
            yield step
            number += 1
            # nothing new was added, or no column is left
            if space.width in (known, W.shape[1]):
                return
            now, fresh = step.residual or 0.0, _normalize(space.rest @ (space.V.T @ fresh))
            if now > STALLED_RATIO * before:
                # the residuals of the Ritz vectors, as a plain Krylov step takes
                X = _normalize(space.rest @ _coordinates(space, width))
            else:
                X, predicted = _predict(sample, space, width - RANDOM_COLUMNS, rank)
                # the residuals that are probed at step n fail with probability 10⁻⁶/(n·(n + 1))
                cases = rank * number * (number + 1)
                count = _probes(predicted / self.residual, cases) if self.probe else None
                if count is not None:
                    own = np.hstack([X[:, :rank], orthonormal(fresh, X[:, :rank], 0.0)])
                    yield _probe_step(
                        number, W, space, own, rank, (count, cases), problem.randomness
                    )
                    number += 1
            known, before = space.width, now

    def _first_directions(
        self, W: Standardised, rank: int, width: int, randomness: Randomness
    ) -> tuple[SampledGram, Array]:
        """Return a sampled Gram matrix, of more rows if few are too inaccurate, and directions."""
        few = min(W.shape[0], LEAST_SAMPLE * W.shape[1])
        sample = SampledGram(_sample(W, few, randomness))
        X = sample.directions(_random_directions(W, width, randomness))
        count = self._sample_size(
            few, sample.predict_second_residual(X, rank, few), self._half_product_rows(W, rank)
        )
        if count > few:
            more = min(W.shape[0], count - few)
            sample.join(_sample(W, more, randomness), more / (few + more))
            X = sample.directions(X)
        return sample, X

    def _sample_size(self, few: int, outlook: float, half: int) -> int:
        """Number of sampled rows for small enough residuals, from the prediction for a few rows.

        Residuals fall like 1/rows. At most the time of half a product is spent for the chance to
        verify by probes, and three times that to save a product.
        """
        probed = math.ceil(few * outlook / (PROBED_SHARE * self.residual))
        if self.probe and probed <= half:
            return probed
        return min(math.ceil(few * outlook / (TARGET_SHARE * self.residual)), MOST_HALVES * half)

    @staticmethod
    def _width(W: Matrix, rank: int) -> int:
        """Number of columns of a product, probes not included."""
        return min(W.shape[1], whole_width(rank + EXTRA_COLUMNS + PROBE_COLUMNS) - PROBE_COLUMNS)

    @classmethod
    def suits(cls, W: Matrix, rank: int) -> bool:
        """Whether W is so tall that a sample for half the cost of a product approximates it."""
        rows, columns = W.shape
        half = cls._half_product_rows(W, rank)
        return columns <= MOST_COLUMNS and half >= LEAST_SAMPLE * columns and rows >= 2 * half

    @classmethod
    def _half_product_rows(cls, W: Matrix, rank: int) -> int:
        """Number of rows whose Gram matrix takes half the time of a product of the width in use."""
        rows, columns = W.shape
        return min(rows, HALF_PRODUCT * cls._width(W, rank) * rows // columns)


def _sample(W: Standardised, count: int, randomness: Randomness) -> Array:
    """Gram matrix of `count` random rows, scaled to all rows."""
    few = W.few_rows(count, randomness)
    return (few.covariance(count) * (W.shape[0] / count)).astype(W.dtype)


def _predict(sample: SampledGram, space: SearchSpace, width: int, rank: int) -> tuple[Array, float]:
    """Return directions for the next product, and their predicted residual divided by σ_r²."""
    sample.learn(space, rank)
    X = sample.directions(space.V @ _coordinates(space, width))
    least = float(space.ritz()[0][:rank][-1])
    return X, sample.predict_residual(space, X, rank) / least if least > 0 else math.inf


def _probes(predicted: float, cases: int) -> int | None:
    """Number of probes that can verify residuals of this predicted share, or None."""
    # the fewest that suffice, because each is a column of the product
    for count in PROBE_COUNTS:
        if SAFETY_FACTOR * predicted * math.sqrt(count / _chi_square_quantile(count, cases)) <= 1:
            return count
    return None


def _chi_square_quantile(count: int, cases: int) -> float:
    """Quantile x: one of `cases` χ² of `count` degrees of freedom is below x with chance 10⁻⁶."""
    from scipy.special import gammaincinv  # takes long to import, and small matrices need none

    return 2 * float(gammaincinv(count / 2, FAILURE_PROBABILITY / cases))


def _with_rows(W: Matrix) -> Standardised:
    """Return W as a matrix whose rows can be sampled."""
    source, exponent = (W.source, W.exponent) if isinstance(W, Rescaled) else (W, 0)
    own = source if isinstance(source, Standardised) else standardised(source, centre=False)
    own = own.rescaled(exponent) if exponent else own
    if not own.has_rows:
        raise MatrixError(
            "A sample of the rows is taken of a matrix in memory only.",
            hint="Take BlockKrylov.",
            code="not-in-memory",
        )
    return own


def _coordinates(space: SearchSpace, width: int) -> Array:
    return space.ritz()[1][:, :width].astype(space.V.dtype)


def _random_directions(W: Matrix, count: int, randomness: Randomness) -> Array:
    """Return random directions of length 1."""
    return _normalize(random_array(W.shape[1], count, W.dtype, randomness, W.namespace))


def _normalize(X: Array) -> Array:
    """Scale the columns to length 1; columns of zeros stay zero."""
    lengths = np.linalg.norm(X, axis=0)
    return X / np.where(lengths > 0, lengths, 1.0)


def _probe_step(
    number: int,
    W: Standardised,
    space: SearchSpace,
    X: Array,
    rank: int,
    probes: tuple[int, int],
    randomness: Randomness,
) -> Step:
    """A step with the leading directions of the span of X, their residuals bounded by probes.

    With r a residual and Ω of p Gaussian columns, ‖Ωᵀr‖² is ‖r‖² times a χ² of p degrees of
    freedom.
    """
    width, (count, cases) = X.shape[1], probes
    along = space.probes
    beside = along.beside(W, space.V, X)
    # more probes at the same cost
    count = whole_width(width + PROBE_COLUMNS + count) - width - PROBE_COLUMNS
    drawn = randomness.standard_normal((len(X), count)).astype(W.dtype)
    # one half product gives the Ritz values, the residuals and the bound outside
    inner = W.gram_of(np.hstack([X, drawn, beside]))
    outer = width + count
    every, basis = eigenpairs(inner[:width, :width])
    squares, G = every[:rank], basis[:, :rank]
    A = directed(G.T.astype(W.dtype) @ X.T, W.namespace)
    # `directed` may have changed signs, which `seen` needs too
    signs = np.sign(np.einsum("ij,ij->j", A.T, X @ G.astype(W.dtype)))
    # Ωᵀ(WᵀW·v − σ²·v) for every direction v
    seen = inner[width:outer, :width] @ G * signs - drawn.T @ A.T * squares
    evidence = space.evidence()
    lengths = np.sqrt(np.einsum("ij,ij->j", seen, seen) / _chi_square_quantile(count, cases))
    # a direction outside a W of lower rank has σ² = 0
    own = np.where(squares > 0, squares, squares[0] or 1.0)
    loss = max(0.0, W.squared_norm() - float(squares.sum()))
    # the next product would give the same lower bound at twice the cost
    here = largest_ritz(W.namespace.gram(beside, beside), inner[outer:, outer:])
    least = max(here, along.least())
    tail = float(np.maximum(every[rank:], 0.0).sum())
    known = (every, np.pad(np.square(lengths), (0, len(every) - rank)))
    return Step(
        number=number,
        loss=loss,
        factors=partial(project, W, lambda: (A, squares)),
        evidence=lambda: evidence,
        rank=rank,
        residual=float((lengths / own).max()),
        directions=lambda: (A, squares),
        excess=excess(W, loss, known, along.estimate(W), tail, rank=rank),
        least_excess=excess(W, loss, known, least, tail, rank=rank),
        larger_outside=bool(least > squares[-1]),
    )
