"""Epochs of each kind of gradient descent until the error is 1.0001 × the optimum.

The matrix is 1000 × 800 in float64 with twenty singular values from 1 to 10⁻⁶ and a tail of
10⁻⁷·i^−½, so its condition number at rank 20 is a million. Every contender has its default
settings and starts at A ~ N(0, σ²), B = 0 unless its name says otherwise; the error is the loss of
each epoch, and that of the last is measured again by direct products. Run with `make bench`.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from machine import machine

import eckart
from eckart.arrays import as_randomness
from eckart.matrices import Dense
from eckart.solvers import IterativeSolver, Problem, Step
from eckart.solvers.starts import LoRAStart, SpectralStart, Start

RANK = 20
TARGET = 1.0001
CONTENDERS: dict[str, tuple[Callable[[], IterativeSolver], Start]] = {
    "scaled-gd": (eckart.ScaledGradientDescent, LoRAStart()),
    "scaled-gd, B random": (eckart.ScaledGradientDescent, LoRAStart(gaussian="B")),
    "scaled-gd, spectral start": (eckart.ScaledGradientDescent, SpectralStart()),
    "gd": (eckart.GradientDescent, LoRAStart()),
    "gd, momentum 0.9": (lambda: eckart.GradientDescent(momentum=0.9), LoRAStart()),
    "gd, momentum 0.99": (lambda: eckart.GradientDescent(momentum=0.99), LoRAStart()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """What a contender came to.

    Fields:
        epochs: Until the target, or the most that were allowed.
        seconds: Of them.
        ratio: Error over the optimum at their end, by direct products.
    """

    epochs: int
    seconds: float
    ratio: float


def test_matrix() -> tuple[np.ndarray, float]:
    """W, and the best possible error of rank 20."""
    values = np.concatenate([np.logspace(0, -6, RANK), 1e-7 * np.arange(1, 781) ** -0.5])
    generator = np.random.default_rng(0)
    left = np.linalg.qr(generator.standard_normal((1000, 800)))[0]
    right = np.linalg.qr(generator.standard_normal((800, 800)))[0]
    return (left * values) @ right.T, float(np.linalg.norm(values[RANK:]))


def descend(
    W: np.ndarray, optimum: float, solver: IterativeSolver, start: Start, most: int
) -> Descent:
    matrix = Dense(W)
    first = start.resolved(matrix).factors(matrix, RANK, as_randomness(0))
    problem = Problem(W=matrix, rank=RANK, start=first)
    began, step = time.perf_counter(), Step(number=0, loss=None, factors=lambda: first)
    for step in solver.resolved(problem).steps(problem):
        # The loss is known to some eps·‖W‖² only; near the target the error is measured.
        near = step.loss is not None and math.sqrt(max(0.0, step.loss)) <= 2 * optimum
        if (near and error(W, step) <= TARGET * optimum) or step.number >= most:
            break
    seconds = time.perf_counter() - began
    return Descent(epochs=step.number, seconds=seconds, ratio=error(W, step) / optimum)


def error(W: np.ndarray, step: Step) -> float:
    return float(np.linalg.norm(W - step.factors().dense()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10_000, help="epochs")
    options = parser.parse_args()
    W, optimum = test_matrix()
    print(machine())
    print(f"1000 × 800 float64, rank {RANK}, σ from 1 to 10⁻⁶; at most {options.most} epochs\n")
    print(f"| solver | epochs to {TARGET} × the optimum | seconds | error / optimum |")
    print("|---|---:|---:|---:|")
    for name, (make, start) in CONTENDERS.items():
        found = descend(W, optimum, make(), start, options.most)
        epochs = str(found.epochs) if found.ratio <= TARGET else f"more than {found.epochs}"
        print(f"| {name} | {epochs} | {found.seconds:.1f} | {found.ratio:.5g} |", flush=True)


if __name__ == "__main__":
    main()
