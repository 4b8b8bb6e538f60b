"""Known entries against other libraries: seconds to the same loss, each in a process of its own.

    python benchmarks/recommender_speed.py --peers PYTHON [--size 1M] [--ranks 64 128 256]

PYTHON is that of an environment with implicit, irspack and cmfrec. Two threads for the kernels,
BLAS at its own defaults. irspack minimises the loss of Rendle et al., implicit and cmfrec that of
Hu et al.; eckart runs once on each. The loss that counts is the one that all contenders of a group
reach whose every sweep is known; cmfrec tells its last one only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from clicks import SIZES, clicks, ratings

GROUPS = {
    "Rendle's loss, conjugate gradients": ("eckart:rendle:cg", "irspack:CG"),
    "Rendle's loss, exact": ("eckart:rendle:exact", "irspack:CHOLESKY"),
    "Hu's loss, conjugate gradients": ("eckart:hu:cg", "implicit", "cmfrec"),
}
EXPLICIT = tuple(
    f"ratings:{name}:{penalty}"
    for penalty in (0.05, 0.06, 0.07, 0.08, 0.1)
    for name in ("eckart", "cmfrec", "eckart-exact")
)
HERE = Path(__file__).parent
LIMIT = 900


def contend(name: str, data: Path, rank: int, epochs: int, peers: str) -> dict[str, Any]:
    """What one contender says of itself."""
    ours = "eckart" in name
    command = [sys.executable if ours else peers, str(HERE / "recommender_contender.py")]
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    }
    done = subprocess.run(
        [*command, name, str(data), str(rank), str(epochs)],
        env=environment, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        print(name, rank, done.stderr.strip().splitlines()[-1:], file=sys.stderr)
        return {"name": name, "rank": rank, "epochs": epochs, "seen": [], "peak_gib": 0.0}
    line = done.stdout.strip().splitlines()[-1]
    print(line, file=sys.stderr)
    return json.loads(line)


def race(line: dict[str, Any], common: float) -> str:
    """Seconds of a sweep, seconds to the common loss, and memory."""
    seconds = [spent for spent, _ in line["seen"]]
    each = np.median(np.diff(seconds)) if len(seconds) > 1 else seconds[0] / line["epochs"]
    reached = next((spent for spent, loss in line["seen"] if loss <= common), None)
    when = "not reached" if reached is None else f"{reached:.2f}"
    return f"{each:.3f} | {when} | {line['peak_gib']:.2f}"


def table(lines: list[dict[str, Any]]) -> None:
    """Seconds to the loss that every contender of a group reaches."""
    print("| loss and solver | rank | contender | a sweep, s | to equal loss, s | peak, GiB |")
    print("|---|---:|---|---:|---:|---:|")
    for group, names in GROUPS.items():
        for rank in sorted({line["rank"] for line in lines}):
            runs = [
                line
                for line in lines
                if line["name"] in names and line["rank"] == rank and line["seen"]
            ]
            if not runs:
                continue
            told = [line for line in runs if len(line["seen"]) > 1]
            common = max(min(loss for _, loss in line["seen"]) for line in told)
            for line in runs:
                print(f"| {group} | {rank} | {line['name']} | {race(line, common)} |")
    explicit = [line for line in lines if line["name"] in EXPLICIT and line["seen"]]
    if explicit:
        print("\n| ratings | λ | rank | seconds | RMSE of a tenth held out | GiB |")
        print("|---|---:|---:|---:|---:|---:|")
        for line in explicit:
            ((seconds, error),) = line["seen"]
            _, name, penalty = line["name"].split(":")
            print(
                f"| {name} | {penalty} | {line['rank']} | {seconds:.2f} | {error:.4f} | "
                f"{line['peak_gib']:.2f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", help="Python of an environment with the other libraries")
    parser.add_argument("--size", choices=SIZES, default="1M")
    parser.add_argument("--ranks", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--without-ratings", action="store_true", help="clicks only")
    parser.add_argument("--without-clicks", action="store_true", help="ratings only")
    parser.add_argument("--lines", type=Path, help="tables of the lines that earlier runs printed")
    chosen = parser.parse_args()
    if chosen.lines:
        text = chosen.lines.read_text().splitlines()
        table([json.loads(line) for line in text if line.startswith("{")])
        return
    rows, columns, count = SIZES[chosen.size]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        row, column = clicks(rows, columns, count)
        np.savez(data, row=row, column=column, rating=ratings(row, column), shape=(rows, columns))
        every = [
            contend(name, data, rank, chosen.epochs, chosen.peers)
            for rank in ([] if chosen.without_clicks else chosen.ranks)
            for names in GROUPS.values()
            for name in names
        ]
        if not chosen.without_ratings:
            every += [contend(name, data, 50, 15, chosen.peers) for name in EXPLICIT]
    table(every)


if __name__ == "__main__":
    main()
