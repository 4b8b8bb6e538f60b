"""Ratings: the error of predictions on fixed folds, every setting chosen on the training part only.

SPLITS is an .npz of arrays u1_base, u1_test … u5_base, u5_test with rows of user, item, rating:
the official folds of MovieLens 100K (grouplens.org), whose terms forbid passing it on.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
from machine import machine

from eckart.recommend import Interactions, Settings, predict_pairs, read_interactions
from eckart.recommend.fitting import fit_model
from eckart.recommend.tuning import choose_regularization, tune

METHODS = {
    "ALS, rank 40, λ chosen": Settings(rank=40),
    "ALS, rank 40, implicit features": Settings(rank=40, implicit_features=0.5),
    "Bayesian, rank 10": Settings(rank=10, method="gibbs"),
    "Bayesian, rank 32": Settings(rank=32, method="gibbs"),
}


def columns(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "user": rows[:, 0].astype(np.int64),
        "item": rows[:, 1].astype(np.int64),
        "rating": rows[:, 2].astype(np.float64),
    }


def settled(train: Interactions, settings: Settings, trials: int) -> Settings:
    """With what was left out chosen on a part of the training part."""
    if settings.method == "gibbs":
        return settings
    if trials:
        return tune(train, settings, trials=trials).settings
    choice = choose_regularization(train, settings)
    return settings if choice is None else replace(settings, regularization=choice.regularization)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("splits")
    parser.add_argument("--folds", default="12345")
    parser.add_argument("--trials", type=int, default=0, help="Tune rank, λ and ν instead of λ.")
    parser.add_argument("--only", default="", help="Methods whose names hold this.")
    arguments = parser.parse_args()
    print(machine())
    print("| method | " + " | ".join(f"u{fold}" for fold in arguments.folds) + " | mean | s |")
    print("|---|" + "---:|" * (len(arguments.folds) + 2))
    with np.load(arguments.splits, allow_pickle=False) as splits:
        for name, settings in METHODS.items():
            if arguments.only not in name:
                continue
            errors, began = [], time.perf_counter()
            for fold in arguments.folds:
                read = read_interactions(columns(splits[f"u{fold}_base"]))
                train = replace(read, scale=(1.0, 5.0))
                chosen = settled(train, settings, arguments.trials)
                model = fit_model(train, chosen).model
                found = predict_pairs(model, columns(splits[f"u{fold}_test"]), clip=True)
                assert found.rmse is not None
                errors.append(found.rmse.value)
            seconds = time.perf_counter() - began
            cells = " | ".join(f"{error:.4f}" for error in errors)
            print(f"| {name} | {cells} | **{np.mean(errors):.4f}** | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
