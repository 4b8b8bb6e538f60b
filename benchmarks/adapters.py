"""Extracting an adapter from a fine-tune of a billion parameters, beside mergekit-extract-lora.

Both are programs of their own, run one at a time with the same number of threads on the same pair
(see `llama.py` for how its change was planted), at the same rank, from a warm page cache. Reported
are seconds, the peak of memory, the error beside the best of the rank, and the distance to the
planted change; and how near eckart is to what no extraction can be faster than. mergekit has to be
in an environment of its own: `pip install mergekit==0.1.5`. Run with `make bench-adapters`, or with
--help for smaller runs.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapter_errors import Judge, products
from llama import Llama, make_pair
from machine import machine, prepare_processes
from processes import Run, run

CHILD = """
import json, sys
from eckart.adapters import extract_adapter
extract_adapter(**json.loads(sys.argv[1]))
"""
PEER = "mergekit-extract-lora"
SPEED, NEAR, MEMORY, SLACK = 30, 1.002, 4, 500e6
"""How many times as fast, how near the best, and what share of the memory is wanted; with SLACK,
also 4 times the bytes of the largest pair of tensors."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One extraction.

    Fields:
        who: Which program, with what setting.
        runs: All there were.
        ratios: Error over the optimum by layer.
        distance: ‖B·A − P‖/‖P‖ of all judged layers together, P the planted change.
        nbytes: Of the adapter's tensors.
    """

    who: str
    runs: list[Run]
    ratios: dict[str, float] = field(default_factory=dict)
    distance: float = 0.0
    nbytes: int = 0

    @property
    def best(self) -> Run:
        """The fastest."""
        return min(self.runs, key=lambda one: one.seconds)

    @property
    def peak(self) -> int:
        """The most memory of any run."""
        return max(one.peak for one in self.runs)

    @property
    def worst(self) -> float:
        """The largest ratio of an error to its optimum."""
        return max(self.ratios.values(), default=math.nan)


def main() -> None:
    options = arguments()
    prepare_processes(options.threads)
    llama = Llama(layers=options.layers, vocabulary=options.vocabulary)
    pair = make_pair(llama, options.cache)
    judge = Judge.of(llama, *pair)
    print(f"{machine()}; {options.threads} threads each\n")
    print(described(judge))
    bare = Path(__file__).with_name("adapter_limit.py")
    limit = run([sys.executable, str(bare), *map(str, pair), str(options.rank)])
    bounds = json.loads(limit.output.splitlines()[-1])
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory(dir=options.cache) as name:
        for entry, out in extractions(pair, Path(name), options):
            entries.append(entry)
            if not entry.best.failure:
                judged(entry, out, judge, options)
            print(row(entry, entries[0]), flush=True)
    print()
    print(limits(entries[0], bounds))
    for met, sentence in targets(entries, judge):
        print(f"{'met   ' if met else 'MISSED'} {sentence}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--mergekit", type=Path, help=f"the program {PEER}; left out if not given")
    add("--limit", type=float, default=60.0, help="minutes that mergekit may take")
    add("--layers", type=int, default=16)
    add("--vocabulary", type=int, default=128256)
    add("--rank", type=int, default=32)
    add("--judged", type=int, default=3, help="layers whose errors are measured")
    add("--repetitions", type=int, default=3)
    add("--threads", type=int, default=2)
    add("--cache", type=Path, default=Path(tempfile.gettempdir()) / "eckart-bench")
    return parser.parse_args()


def described(judge: Judge) -> str:
    size = judge.tuned.nbytes
    count = sum(math.prod(tensor.shape) for tensor in judge.tuned.tensors.values())
    return (
        f"{count / 1e9:.2f} billion parameters in {judge.llama.dtype}, {size / 1e9:.2f} GB a side; "
        f"the largest pair of tensors {2 * judge.tuned.largest().nbytes / 1e6:.0f} MB.\n\n"
        "| who | seconds | × eckart | peak MB | adapter MB | error / optimum, median (worst) "
        "| to the planted change |\n|---|---:|---:|---:|---:|---:|---:|"
    )


def extractions(
    pair: tuple[Path, Path], folder: Path, options: argparse.Namespace
) -> Iterator[tuple[Entry, Path]]:
    """Eckart at its default dtype and at mergekit's, then mergekit."""
    base, tuned = map(str, pair)
    for dtype in ("float32", "bfloat16"):
        out = folder / dtype
        given = {"base": base, "tuned": tuned, "out": str(out), "rank": options.rank}
        given |= {"dtype": dtype, "force": True}
        command = [sys.executable, "-c", CHILD, json.dumps(given)]
        yield (
            Entry(who=f"eckart, {dtype}", runs=[run(command) for _ in range(options.repetitions)]),
            out,
        )
    if options.mergekit is not None:
        out = folder / "mergekit"
        command = [str(options.mergekit), "--base-model", base, "--model", tuned]
        command += ["--out-path", str(out), "--max-rank", str(options.rank), "--embed-lora"]
        yield Entry(who=PEER, runs=[run(command, 60 * options.limit)]), out


def judged(entry: Entry, out: Path, judge: Judge, options: argparse.Namespace) -> None:
    """Fill in what the adapter is worth."""
    entry.nbytes = (out / "adapter_model.safetensors").stat().st_size
    squares, total = [], []
    for name, product in products(out).items():
        if name in judge.names(options.judged):
            best = judge.optimum(name, options.rank)
            entry.ratios[name] = judge.error(name, product) / best
            distance, size = judge.distance(name, product)
            squares.append(distance)
            total.append(size)
    entry.distance = math.sqrt(math.fsum(squares) / math.fsum(total))


def row(entry: Entry, first: Entry) -> str:
    best = entry.best
    seconds = f"{best.seconds:.1f}"
    if len(entry.runs) > 1:
        seconds += f" ({max(one.seconds for one in entry.runs):.1f})"
    cells = [entry.who, best.failure or seconds, f"{best.seconds / first.best.seconds:.1f}"]
    cells.append(f"{entry.peak / 1e6:.0f}")
    if entry.ratios:
        median = statistics.median(entry.ratios.values())
        cells += [f"{entry.nbytes / 1e6:.0f}", f"{median:.5f} ({entry.worst:.5f})"]
        cells.append(f"{entry.distance:.5f}")
    return "| " + " | ".join([*cells, *[""] * (7 - len(cells))]) + " |"


def limits(eckart: Entry, bounds: dict[str, Any]) -> str:
    reading, bare, seconds = bounds["reading"], bounds["products"], eckart.best.seconds
    return (
        f"Reading both checkpoints takes {reading:.1f} s, and the {bounds['calls']} products with "
        f"ΔW alone {bare:.1f} s: {(reading + bare) / seconds:.0%} of eckart's {seconds:.1f} s.\n"
    )


def targets(entries: list[Entry], judge: Judge) -> Iterator[tuple[bool, str]]:
    """What was promised, and whether it is so."""
    eckart, peer = entries[0], entries[-1]
    yield eckart.worst <= NEAR, (f"error at most {eckart.worst:.5f} × the optimum, {NEAR} wanted")
    largest = 2 * judge.tuned.largest().nbytes
    allowed = MEMORY * largest + SLACK
    yield (
        eckart.peak <= allowed,
        (f"peak {eckart.peak / 1e6:.0f} MB, at most {allowed / 1e6:.0f} wanted"),
    )
    if peer.who != PEER or peer.best.failure:
        return
    speed, share = peer.best.seconds / eckart.best.seconds, eckart.peak / peer.peak
    yield speed >= SPEED, f"{speed:.1f} × as fast as {PEER}, {SPEED} wanted"
    yield share <= 1 / MEMORY, f"{share:.2f} of its peak memory, {1 / MEMORY} wanted"
    yield (
        eckart.distance <= peer.distance,
        (f"{eckart.distance:.6f} from the planted change, {PEER} {peer.distance:.6f}"),
    )


if __name__ == "__main__":
    main()
