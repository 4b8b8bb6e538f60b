"""Matrices with drawn spectra, made to find what the tests' own spectra do not show.

`draw` asks a `Source` for every choice, so that a random generator, hypothesis or a search for the
worst case can make them. The singular values are known, and so is the best error of every rank.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

SIZES = (150, 260, 420, 700, 1100, 1500)
SMALL_SIZES = SIZES[:3]
BLOCKS = (24, 40, 56)
"""Widths that solvers like; multiplicities are drawn around them, too."""


class Source(Protocol):
    """Makes choices."""

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number from low to high."""
        ...

    def number(self, name: str, low: float, high: float) -> float:
        """A number between low and high."""
        ...

    def pick(self, name: str, options: Sequence[Any]) -> Any:
        """One of the options."""
        ...


class Random:
    """Choices of a random generator."""

    def __init__(self, seed: int | list[int]) -> None:
        self._generator = np.random.default_rng(seed)

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number from low to high."""
        return int(self._generator.integers(low, high + 1))

    def number(self, name: str, low: float, high: float) -> float:
        """A number between low and high."""
        return float(self._generator.uniform(low, high))

    def pick(self, name: str, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[int(self._generator.integers(len(options)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A matrix to be drawn.

    Fields:
        family: Of the spectrum.
        values: Singular values, descending.
        rank: That is asked for.
        shape: (rows, columns).
        dtype: float32 or float64.
        basis: "random" for random directions on both sides; "rows" where each left direction is a
            row of its own, in order; "both" for a diagonal matrix.
        seed: Of the directions, and of the run.
    """

    family: str
    values: np.ndarray
    rank: int
    shape: tuple[int, int]
    dtype: str
    basis: str
    seed: int

    @property
    def optimum(self) -> float:
        """The best error of the rank."""
        return float(np.linalg.norm(self.values[self.rank :]))

    @property
    def rounding(self) -> float:
        """What backward stable arithmetic may add to an error: p·eps·‖W‖ (LAPACK, section 4.9)."""
        share = (64 + np.sqrt(max(self.shape))) * np.finfo(self.dtype).eps
        return float(share * np.linalg.norm(self.values))

    def matrix(self) -> np.ndarray:
        """The matrix, in its dtype."""
        rows, columns = self.shape
        generator = np.random.default_rng(self.seed)
        left = _directions(rows, generator, coherent=self.basis != "random")
        right = _directions(columns, generator, coherent=self.basis == "both")
        count = len(self.values)
        return ((left[:, :count] * self.values) @ right[:, :count].T).astype(self.dtype)


def _directions(size: int, generator: np.random.Generator, *, coherent: bool) -> np.ndarray:
    """Orthonormal columns: those of the identity, or a fixed basis in a random order and signs."""
    if coherent:
        return np.eye(size)
    signs = np.where(generator.random(size) < 0.5, -1.0, 1.0)
    return _basis(size)[generator.permutation(size)][:, generator.permutation(size)] * signs


@cache
def _basis(size: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(size).standard_normal((size, size)))[0]


def draw(source: Source, *, sizes: Sequence[int] = SIZES, family: str | None = None) -> Case:
    """A case of a family, or of any."""
    shape = source.pick("rows", sizes), source.pick("columns", sizes)
    smaller = min(shape)
    rank = source.integer("rank", 1, min(140, smaller // 3))
    name = family or source.pick("family", list(FAMILIES))
    values = np.sort(np.abs(FAMILIES[name](source, smaller, rank)))[::-1]
    dtype = source.pick("dtype", ["float32", "float64"])
    scale = source.pick("scale", [0, 0, 0, 0, -30, 30, -12, 12])
    return Case(
        family=name,
        values=values * 10.0**scale,
        rank=rank,
        shape=shape,
        dtype=dtype,
        basis=source.pick("basis", ["random", "random", "rows", "both"]),
        seed=source.integer("seed", 0, 10**6),
    )


def _tail(source: Source, count: int, name: str = "tail") -> np.ndarray:
    """Values below a level that decay like a power, or do not."""
    level = 10.0 ** source.number(f"{name} level", -4.0, -0.05)
    return level * np.arange(1.0, count + 1) ** -source.number(f"{name} power", 0.0, 1.5)


def _some(source: Source, count: int, rank: int, name: str) -> int:
    """A number of values: around the rank, a width that solvers like, or any."""
    near = source.pick(f"{name} near", ["rank", "block", "any"])
    if near == "any":
        return source.integer(f"{name} any", 1, max(1, min(count - 1, 2 * rank + 20)))
    centre = rank if near == "rank" else source.pick(f"{name} block", BLOCKS)
    return int(np.clip(centre + source.integer(f"{name} off", -9, 9), 1, count - 1))


def equal(source: Source, count: int, rank: int) -> np.ndarray:
    """Equal values up to about the rank, then a tail."""
    many = _some(source, count, rank, "equal")
    return np.r_[np.ones(many), _tail(source, count - many)]


def steps(source: Source, count: int, rank: int) -> np.ndarray:
    """A high step, then values of 1 up to about the rank, then a tail."""
    high = min(_some(source, count, rank, "high"), count - 2)
    many = min(max(1, rank - high + source.integer("past", -3, 12)), count - high - 1)
    top = 10.0 ** source.number("height", 0.3, 4.0)
    return np.r_[top * np.ones(high), np.ones(many), _tail(source, count - high - many)]


def outliers(source: Source, count: int, rank: int) -> np.ndarray:
    """A few values far above all others."""
    few = min(source.integer("few", 1, 4), count - 2)
    top = 10.0 ** source.number("height", 1.0, 5.5)
    rest = FAMILIES[source.pick("rest", ["equal", "power", "exponential"])]
    return np.r_[top * np.arange(few, 0, -1), rest(source, count - few, rank)]


def two_scales(source: Source, count: int, rank: int) -> np.ndarray:
    """One decay up to about the rank, then another far below."""
    many = _some(source, count, rank, "first")
    first = np.arange(1.0, many + 1) ** -source.number("power", 0.0, 2.0)
    drop = first[-1] * 10.0 ** source.number("drop", -5.0, 0.0)
    second = np.arange(1.0, count - many + 1) ** -source.number("second", 0.0, 1.0)
    return np.r_[first, drop * second]


def clusters(source: Source, count: int, rank: int) -> np.ndarray:
    """Powers of a ratio, each many times."""
    ratio = source.number("ratio", 0.3, 0.98)
    least = source.integer("least", 1, 90)
    sizes = least + np.arange(count) % source.integer("spread", 1, 40)
    return ratio ** np.repeat(np.arange(count), sizes)[:count]


def power(source: Source, count: int, rank: int) -> np.ndarray:
    """A power of the place."""
    return np.arange(1.0, count + 1) ** -source.number("power", 0.02, 2.5)


def exponential(source: Source, count: int, rank: int) -> np.ndarray:
    """An exponential decay, to a floor."""
    decay = source.number("decay", 0.02, 1.5) * max(rank, 8)
    floor = 10.0 ** source.number("floor", -8.0, -1.0)
    return np.exp(-np.arange(count) / decay) + floor


def exact_rank(source: Source, count: int, rank: int) -> np.ndarray:
    """Zeros from a place on."""
    many = _some(source, count, rank, "many")
    first = np.arange(1.0, many + 1) ** -source.number("power", 0.0, 2.0)
    return np.r_[first, np.zeros(count - many)]


def spread(source: Source, count: int, rank: int) -> np.ndarray:
    """Random values over decades."""
    generator = np.random.default_rng(source.integer("values", 0, 10**6))
    return 10.0 ** -(source.number("decades", 0.2, 6.0) * generator.random(count))


def linear(source: Source, count: int, rank: int) -> np.ndarray:
    """From 1 down to a level, evenly."""
    return np.linspace(1.0, source.number("end", 0.0, 1.0), count)


def noise(source: Source, count: int, rank: int) -> np.ndarray:
    """Quarter circle of a square random matrix, with a signal at its edge."""
    many = min(source.integer("signals", 0, 2 * rank), count - 1)
    bulk = np.sqrt(1 - np.linspace(0, 1, count - many) ** 1.2)
    return np.r_[source.number("signal", 0.8, 2.0) * np.ones(many), bulk]


FAMILIES: dict[str, Callable[[Source, int, int], np.ndarray]] = {
    "equal": equal,
    "steps": steps,
    "outliers": outliers,
    "two scales": two_scales,
    "clusters": clusters,
    "power": power,
    "exponential": exponential,
    "exact rank": exact_rank,
    "spread": spread,
    "linear": linear,
    "noise": noise,
}
