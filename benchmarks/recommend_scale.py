"""The commands on generated ratings: seconds by part, the most memory, how well ratings are met.

Figures are those of whole processes: starting Python, reading Parquet, writing the model. What is
above the memory of the same command on a thousand ratings, and above the factors, is divided by
the ratings; the limit is 3 × 12 bytes.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine, prepare_processes
from processes import Run, run

BLOCK = 2_000_000
"""Ratings that are generated at a time."""
RANK, NOISE = 8, 0.5
FEW = 1000


def generate(entries: int, path: Path, seed: int = 0) -> tuple[int, int]:
    """About so many ratings of different pairs, generated and written in blocks.

    Items are chosen by a power law; ratings are 0.5 to 5 stars, of planted tastes and noise.
    Ids are not places, and neither users nor their ratings come in order.
    """
    drawn = np.random.default_rng(seed)
    users, items = max(100, entries // 150), max(100, entries // 1000)
    ids = 10**12 + 7 * drawn.permutation(users)
    tastes, traits = (drawn.standard_normal((n, RANK)).astype("f4") for n in (users, items))
    schema = pa.schema({"user_id": pa.int64(), "item_id": pa.int64(), "rating": pa.float64()})
    with pq.ParquetWriter(path, schema) as writer:
        for rows, columns in _pairs(entries, users, items, drawn):
            liked = np.einsum("ij,ij->i", tastes[rows], traits[columns]) / np.sqrt(RANK)
            stars = 3 + liked + NOISE * drawn.standard_normal(len(rows))
            rating = np.clip(np.round(2 * stars) / 2, 0.5, 5)
            table = {"user_id": ids[rows], "item_id": columns * 13 + 5, "rating": rating}
            writer.write_table(pa.table(table, schema))
    return users, items


def _pairs(
    entries: int, users: int, items: int, drawn: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Different pairs in no order: each block is of other users."""
    blocks = max(1, entries // BLOCK)
    edges = np.linspace(0, users, blocks + 1).astype(np.int64)
    wanted = np.diff(np.linspace(0, entries, blocks + 1).astype(np.int64))
    for (low, high), count in zip(pairwise(edges), wanted, strict=True):
        rows = drawn.integers(low, high, int(1.3 * count))
        columns = (items * drawn.random(len(rows)) ** 2.5).astype(np.int64)
        pairs = drawn.permutation(np.unique(rows * items + columns))[:count]
        yield pairs // items, pairs % items


def eckart(*words: object) -> Run:
    """A command, in a process of its own."""
    command = Path(sys.executable).with_name("eckart")
    return run([str(command), "recommend", *map(str, words), "--quiet"])


def fit(source: Path, model: Path, options: list[str]) -> tuple[Run, dict[str, Any]]:
    """What the fit took, and its document."""
    done = eckart("fit", source, *options, "--json", "--force", "-o", model)
    if done.failure:
        raise SystemExit(done.failure)
    return done, json.loads(done.output)["result"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000_000, 20_000_000])
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--options", default="--regularization 0.02", help="more of the fit")
    parser.add_argument("--folder", type=Path, help="for the data; by default that of the system")
    parser.add_argument("--no-top", action="store_true", help="leave out the lists")
    arguments = parser.parse_args()
    prepare_processes(2)
    options = ["--rank", str(arguments.rank), "--epochs", str(arguments.epochs)]
    options += arguments.options.split()
    print(machine())
    print(f"recommend fit {' '.join(options)}")
    print(
        "| ratings | users × items | command | s | of these | peak, MB | factors, MB "
        "| bytes per rating | RMSE |"
    )
    print("|---:|---:|---|---:|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for entries in arguments.entries:
            measure(entries, folder, options, arguments.rank, lists=not arguments.no_top)


def measure(entries: int, folder: Path, options: list[str], rank: int, *, lists: bool) -> None:
    """Print the figures of one size."""
    source, few, model = (folder / part for part in ("ratings.parquet", "few.parquet", "model"))
    users, items = generate(entries, source)
    with pq.ParquetFile(source) as file:
        pq.write_table(pa.table(next(file.iter_batches(FEW)).to_pydict()), few)
    fit(few, model, options)  # whose kernels may have to be compiled
    started = fit(few, model, options)[0].peak
    done, document = fit(source, model, options)
    count, factors = document["interactions"], 4 * (rank + 1) * (users + items)
    parts = "; ".join(f"{part} {s:.1f}" for part, s in document["seconds_of"].items())
    error = document["run"]["certificate"]["error"] / np.sqrt(count)
    beside = (done.peak - started - factors) / count
    print(
        f"| {count:,} | {users:,} × {items:,} | fit | {done.seconds:.1f} | {parts} "
        f"| {done.peak / 1e6:,.0f} | {factors / 1e6:,.0f} | {beside:.1f} | {error:.3f} |",
        flush=True,
    )
    if lists:
        done = eckart("top", model, "--all", "-k", 10, "-o", folder / "top.parquet")
        print(
            f"| {count:,} | {users:,} × {items:,} | top | {done.seconds:.1f} | {done.failure} "
            f"| {done.peak / 1e6:,.0f} | {factors / 1e6:,.0f} | | |",
            flush=True,
        )
        (folder / "top.parquet").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
