"""MovieLens-100K, the official folds u1 to u5: RMSE of settings chosen on the training side alone.

    python benchmarks/recommender_quality.py ml-100k-splits.npz

The file holds arrays `u1_base`, `u1_test`, … of (user, item, rating), made from the data set that
GroupLens distributes; it is not part of this repository. A tenth of each training side is held out
to choose λ, the rank and the weight of implicit features; then the whole side is fitted.
"""

import itertools
import sys
import time
from typing import Any

import numpy as np

import eckart

SHAPE = (943, 1682)
FOLDS = ("u1", "u2", "u3", "u4", "u5")
STRENGTHS = (0.11, 0.13, 0.15, 0.17)
RANKS = (20, 40)
WEIGHTS = (0.25, 0.5, 1.0)


def entries(rows: Any) -> eckart.Entries:
    return eckart.Entries.of(rows[:, 0] - 1, rows[:, 1] - 1, rows[:, 2], shape=SHAPE)


def rmse(run: eckart.Factorization, rows: Any) -> float:
    said = run.approximation.predict(rows[:, 0] - 1, rows[:, 1] - 1)
    return float(np.sqrt(np.mean((np.clip(said, 1, 5) - rows[:, 2]) ** 2)))


def fitted(rows: Any, rank: int, **settings: float) -> eckart.Factorization:
    return eckart.factorize(
        entries(rows),
        rank,
        objective=eckart.Observed(**settings),
        solver=eckart.AlternatingLeastSquares(epochs=20),
    )


def chosen(train: Any, grid: list[dict[str, Any]]) -> dict[str, Any]:
    """The settings with the least RMSE on a tenth of the training side."""
    held = np.random.default_rng(0).random(len(train)) < 0.1
    return min(grid, key=lambda settings: rmse(fitted(train[~held], **settings), train[held]))


def main() -> None:
    plain = [
        {"rank": rank, "regularization": strength}
        for rank, strength in itertools.product(RANKS, STRENGTHS)
    ]
    features = [
        {**settings, "implicit_features": weight}
        for settings, weight in itertools.product(plain, WEIGHTS)
    ]
    scores: dict[str, list[float]] = {"ALS": [], "ALS, implicit features": [], "Gibbs": []}
    seconds = dict.fromkeys(scores, 0.0)
    with np.load(sys.argv[1]) as stored:
        for fold in FOLDS:
            train, test = (stored[f"{fold}_{part}"].astype(int) for part in ("base", "test"))
            for name, grid in (("ALS", plain), ("ALS, implicit features", features)):
                began = time.perf_counter()
                settings = chosen(train, grid)
                scores[name].append(rmse(fitted(train, **settings), test))
                seconds[name] += time.perf_counter() - began
                print(fold, name, settings, f"{scores[name][-1]:.4f}", file=sys.stderr)
            began = time.perf_counter()
            run = eckart.factorize(entries(train), 10, solver=eckart.GibbsSampling())
            scores["Gibbs"].append(rmse(run, test))
            seconds["Gibbs"] += time.perf_counter() - began
    print("| solver | u1 | u2 | u3 | u4 | u5 | mean | seconds, choice included |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, values in scores.items():
        row = " | ".join(f"{value:.4f}" for value in values)
        print(f"| {name} | {row} | {np.mean(values):.4f} | {seconds[name]:.0f} |")


if __name__ == "__main__":
    main()
