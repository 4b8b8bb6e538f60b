"""Alternating least squares on a Dask cluster beside one process: seconds of a sweep, and the bits.

    python benchmarks/cluster_ratings.py [--ratings 2600000] [--rank 64] [--sweeps 4]

Ratings of 60 000 users and 12 000 items at random, with biases. The first sweep on a cluster, which
sends the ratings to the workers, is shown apart from the others.
"""

import argparse
import logging
import time
import warnings
from typing import Any, Final

import numpy as np
from distributed import Client, LocalCluster
from machine import machine, prepare_processes

import eckart
from eckart.completion.als import Cholesky
from eckart.threads import limited_threads

SHAPE: Final = (60_000, 12_000)


def ratings(count: int) -> eckart.Entries:
    """So many ratings or a few less, since none is drawn twice."""
    generator = np.random.default_rng(0)
    places = np.unique(generator.integers(0, SHAPE[0] * SHAPE[1], count))
    values = generator.integers(1, 11, len(places)) / 2
    return eckart.Entries.of(places // SHAPE[1], places % SHAPE[1], values, shape=SHAPE)


def sweeps(
    entries: eckart.Entries, rank: int, count: int, by: Any, cluster: Any
) -> tuple[float, float, bytes]:
    """Seconds of the first sweep and of a later one, and the bits of the factors."""
    marks = [time.perf_counter()]
    solver = eckart.AlternatingLeastSquares(by=by, epochs=count)
    with limited_threads(1):
        run = eckart.factorize(
            entries, rank, solver=solver, certificate=False, cluster=cluster,
            on_step=lambda _: marks.append(time.perf_counter()),
        )  # fmt: skip
    took = np.diff(marks)
    return took[0], float(min(took[1:])), run.factors.B.tobytes() + run.factors.A.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ratings", type=int, default=2_600_000)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--sweeps", type=int, default=4)
    chosen = parser.parse_args()
    prepare_processes(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print(machine())
    entries = ratings(chosen.ratings)
    print(f"\n{len(entries)} ratings, rank {chosen.rank}\n")
    print("| solver of the rows | where | s of the first sweep | s of a sweep | same bits |")
    print("|---|---|---:|---:|---|")
    for name, by in (("conjugate gradients", None), ("Cholesky", Cholesky())):
        sweeps(entries, chosen.rank, 2, by, None)  # compiles
        first, later, bits = sweeps(entries, chosen.rank, chosen.sweeps, by, None)
        print(f"| {name} | one process, one thread | {first:.2f} | {later:.2f} | |", flush=True)
        for count in (1, 2):
            with (
                LocalCluster(
                    n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=50
                ) as local,
                Client(local) as client,
            ):
                sweeps(entries, chosen.rank, 2, by, client)  # loads what the kernels need
                first, later, found = sweeps(entries, chosen.rank, chosen.sweeps, by, client)
            print(
                f"| {name} | {count} workers | {first:.2f} | {later:.2f} | {found == bits} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
