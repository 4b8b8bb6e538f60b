"""Spectra that a forecast of gains was fooled by, beside scikit-learn: time, and error / optimum.

    python benchmarks/fooled.py [--repetitions 3]

The singular values are known. Every contender runs in this process, in turns, with two threads; the
best time of the repetitions and the largest error count.
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from machine import machine, prepare_processes

prepare_processes(2)


def spectra() -> Iterator[tuple[str, int, int, np.ndarray]]:
    """Name, size, rank, singular values."""
    for size, level in ((1500, 0.3), (1500, 0.1), (3500, 0.3)):
        tail = level * places(size - 64) ** -0.2
        yield f"{size}², 64 values of 1, then {level}·i^-0.2", size, 64, np.r_[np.ones(64), tail]
    slow = 0.5 * places(1362) ** -0.3
    yield (
        "1500², 69 values of 1000, 69 of 1, then below 0.5",
        1500,
        138,
        np.r_[np.full(69, 1e3), np.ones(69), slow],
    )
    yield (
        "1500², 10⁵, then 112 values of 1, then below 0.5",
        1500,
        113,
        np.r_[1e5, np.ones(112), 0.5 * places(1387) ** -0.3],
    )
    sizes = np.random.default_rng(5).integers(30, 91, 60)
    yield (
        "1500², 0.8^j, each 30 to 90 times",
        1500,
        82,
        0.8 ** np.repeat(np.arange(60), sizes)[:1500],
    )
    for scale in (5, 20, 60):
        values = np.exp(-places(1500) / scale) + 1e-4
        yield f"1500², exp(−i/{scale}) + 10⁻⁴", 1500, 80, values
    yield "1500², i^-0.3", 1500, 60, places(1500) ** -0.3


def places(count: int) -> np.ndarray:
    return np.arange(1.0, count + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    warnings.simplefilter("ignore")
    print(machine() + "\n")
    print("| W, float32 | rank | who | ms, best | error / opt. | estimated gap | certified gap |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for name, size, rank, values in spectra():
        W, best = matrix(size, values), float(np.linalg.norm(values[rank:]))
        for who, run in contenders().items():
            found = [timed(partial(run, W, rank, seed)) for seed in range(repetitions)]
            worst = max(np.linalg.norm(W.astype(np.float64) - pair) for _, pair, _ in found) / best
            gaps = [share(max(gaps[place] for _, _, gaps in found)) for place in range(2)]
            cells = [name, str(rank), who, f"{1e3 * min(one[0] for one in found):.0f}"]
            print("| " + " | ".join([*cells, f"{worst:.4f}", *gaps]) + " |", flush=True)
    reductions()


def share(gap: float) -> str:
    return f"{gap:.3%}" if math.isfinite(gap) else ""


def matrix(size: int, values: np.ndarray) -> np.ndarray:
    """float32, with these singular values in random directions."""
    generator = np.random.default_rng(0)
    left, right = (np.linalg.qr(generator.standard_normal((size, size)))[0] for _ in range(2))
    return ((left * values) @ right.T).astype(np.float32)


def timed(run: Callable[[], tuple[np.ndarray, Any]]) -> tuple[float, np.ndarray, Any]:
    began = time.perf_counter()
    pair, gaps = run()
    seconds = time.perf_counter() - began
    return seconds, pair[0].astype(np.float64) @ pair[1].astype(np.float64), gaps


def contenders() -> dict[str, Callable[..., Any]]:
    from sklearn.utils.extmath import randomized_svd

    import eckart

    def ours(W: np.ndarray, rank: int, seed: int, *, certificate: bool) -> Any:
        run = eckart.factorize(
            W, rank, certificate=certificate, seed=seed, solver=eckart.BlockKrylov()
        )
        gap = run.certificate.gap
        estimated = math.inf if run.estimated_gap is None else run.estimated_gap
        return (run.factors.B, run.factors.A), (estimated, math.inf if gap is None else gap)

    def theirs(W: np.ndarray, rank: int, seed: int) -> Any:
        U, S, Vt = randomized_svd(W, rank, random_state=seed)
        return (U * S, Vt), (math.inf, math.inf)

    return {
        "eckart": partial(ours, certificate=False),
        "eckart with certificate": partial(ours, certificate=True),
        "randomized_svd": theirs,
    }


def reductions() -> None:
    """One long row: the singular values of a reduction beside LAPACK's."""
    from sklearn.decomposition import PCA

    from eckart import LowRankReducer

    X = np.vstack([np.random.default_rng(0).standard_normal((2499, 700)), np.full((1, 700), 1e6)])
    exact = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)[:3]
    print("\n| 2499 × 700 normal rows and one row of 10⁶, three components | σ₁ | σ₂ | σ₃ |")
    print("|---|---:|---:|---:|")
    rows = {
        "LAPACK": exact,
        "eckart": LowRankReducer(3).fit(X).singular_values_,
        "PCA": PCA(3, random_state=0).fit(X).singular_values_,
    }
    for who, values in rows.items():
        print(f"| {who} | " + " | ".join(f"{value:.6g}" for value in values) + " |")


if __name__ == "__main__":
    main()
