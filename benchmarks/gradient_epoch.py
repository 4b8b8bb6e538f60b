"""Time of one epoch of gradient descent on ‖W − B·A‖², beside the two loops people write.

All three make the same updates from the same start, so their errors agree; the rounds take turns,
so that a machine that slows down slows all of them. Run with `make bench`.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine

import eckart
from eckart.arrays import as_randomness
from eckart.matrices import Dense
from eckart.solvers import Problem

Loop = Iterator[float]


def test_matrix(size: int, generator: np.random.Generator) -> np.ndarray:
    """A square matrix in float32 with singular values i^-½ in random directions, and noise."""
    left = np.linalg.qr(generator.standard_normal((size, 256), dtype=np.float32))[0]
    right = np.linalg.qr(generator.standard_normal((size, 256), dtype=np.float32))[0]
    W = (left * np.arange(1, 257, dtype=np.float32) ** -0.5) @ right.T
    W += generator.standard_normal((size, size), dtype=np.float32) * np.float32(0.1 / size)
    return np.ascontiguousarray(W)


def eckart_loop(W: np.ndarray, start: eckart.Factors, rate: float) -> Loop:
    solver = eckart.GradientDescent(learning_rate=rate)
    for step in solver.steps(Problem(W=Dense(W), rank=start.rank, start=start)):
        yield step.loss or 0.0


def numpy_loop(W: np.ndarray, start: eckart.Factors, rate: float) -> Loop:
    B, A = start.B.copy(), start.A.copy()
    step = np.float32(2 * rate)
    while True:
        R = W - B @ A
        B, A = B + step * (R @ A.T), A + step * (B.T @ R)
        yield float(np.sum(np.square(R)))  # before the update, which is how people show it


def autograd_loop(W: np.ndarray, start: eckart.Factors, rate: float) -> Loop:
    target = torch.from_numpy(W)
    B = torch.from_numpy(start.B.copy()).requires_grad_()
    A = torch.from_numpy(start.A.copy()).requires_grad_()
    optimizer = torch.optim.SGD([B, A], lr=rate)
    while True:
        optimizer.zero_grad()
        loss = ((target - B @ A) ** 2).sum()
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


def products(W: np.ndarray, start: eckart.Factors) -> Iterator[float]:
    B, A = start.A.T.copy(), start.A.copy()
    while True:
        W @ A.T
        W.T @ B
        yield 0.0


def timed(loop: Loop, epochs: int) -> tuple[float, float]:
    """Seconds per epoch, and the last loss."""
    began = time.perf_counter()
    for _ in range(epochs):
        loss = next(loop)
    return (time.perf_counter() - began) / epochs, loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=8, help="in each round")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    W = test_matrix(options.size, generator)
    start = eckart.LoRAStart().factors(Dense(W), options.rank, as_randomness(0))
    rate = (
        eckart.GradientDescent()
        .resolved(Problem(W=Dense(W), rank=options.rank, start=start))
        .learning_rate
    )
    assert rate is not None
    loops: dict[str, Loop] = {
        "two products with W": products(W, start),
        "eckart gd": eckart_loop(W, start, rate),
        "NumPy, residual formed": numpy_loop(W, start, rate),
        "PyTorch autograd": autograd_loop(W, start, rate),
    }
    for loop in loops.values():
        next(loop)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, loop in loops.items():
            spent, losses[name] = timed(loop, options.epochs)
            seconds[name].append(spent)
    for name in ("NumPy, residual formed", "PyTorch autograd"):
        losses[name] = next(loops[name])  # these show the loss before an update
    report(options, W, seconds, losses)


def report(
    options: argparse.Namespace,
    W: np.ndarray,
    seconds: dict[str, list[float]],
    losses: dict[str, float],
) -> None:
    """Print the table; time and error side by side, ratios round by round."""
    norm = float(np.linalg.norm(W.astype(np.float64)))
    ours = np.array(seconds["eckart gd"])
    print(machine())
    print(
        f"{options.size} × {options.size} float32, rank {options.rank}, "
        f"{options.rounds} rounds of {options.epochs} epochs in turn\n"
    )
    print(f"| {'loop':24} | ms per epoch, median (best–worst) | times eckart | relative error |")
    print("|---|---:|---:|---:|")
    figures: dict[str, Any] = {}
    for name, spent in seconds.items():
        times = np.array(spent) * 1e3
        ratio = float(np.median(np.array(spent) / ours))
        error = np.sqrt(losses[name]) / norm if losses[name] else None
        shown = "" if error is None else f"{error:.6f}"
        print(
            f"| {name:24} | {np.median(times):.1f} ({times.min():.1f}–{times.max():.1f}) "
            f"| {ratio:.2f} | {shown} |"
        )
        figures[name] = {"ms": times.tolist(), "ratio": ratio, "relative_error": error}
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
