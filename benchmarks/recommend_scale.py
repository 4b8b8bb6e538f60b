"""The commands on generated interactions of a power law: seconds and the most memory of each.

The figures are those of whole processes: starting Python, reading Parquet, writing the model.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine, prepare_processes
from processes import run


def generate(entries: int, path: Path, seed: int = 0) -> tuple[int, int]:
    """About so many different pairs; items by a power law, ids that are not their places."""
    drawn = np.random.default_rng(seed)
    users, items = max(100, entries // 150), max(100, entries // 1000)
    rows = drawn.integers(0, users, int(1.2 * entries))
    columns = (items * drawn.random(len(rows)) ** 2.5).astype(np.int64)
    pairs = np.unique(rows * items + columns)
    if len(pairs) > entries:
        pairs = drawn.choice(pairs, entries, replace=False)
    columns = pairs % items
    table = {"user_id": 10**12 + 7 * (pairs // items), "item_id": pa.array(columns * 13 + 5)}
    pq.write_table(pa.table(table), path)
    return users, items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000_000, 20_000_000])
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    prepare_processes(2)
    print(machine())
    print(f"rank {arguments.rank}, {arguments.epochs} epochs, λ given")
    print("| entries | users × items | command | s | peak, MB | bytes per entry |")
    print("|---:|---:|---|---:|---:|---:|")
    for entries in arguments.entries:
        with tempfile.TemporaryDirectory() as folder:
            source, model = Path(folder) / "clicks.parquet", Path(folder) / "model"
            users, items = generate(entries, source)
            fit = ["fit", str(source), "--regularization", "0.01", "--rank", str(arguments.rank),
                   "--epochs", str(arguments.epochs), "-o", str(model)]  # fmt: skip
            top = ["top", str(model), "--all", "-k", "10", "-o", str(Path(folder) / "top.parquet")]
            for words in (fit, top):
                line = [
                    str(Path(sys.executable).with_name("eckart")),
                    "recommend",
                    *words,
                    "--quiet",
                ]
                done = run(line)
                what = done.failure or words[0]
                print(
                    f"| {entries:,} | {users:,} × {items:,} | {what} | {done.seconds:.1f} | "
                    f"{done.peak / 1e6:,.0f} | {done.peak / entries:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
