"""Extractions killed at random moments and gone on with: is every adapter the same, to the byte?

A small pair is extracted in a process of its own. In each round a process is killed (SIGKILL, at a
moment drawn evenly from the time the work takes), the next one goes on with `resume`, and so on;
the last one is left to finish. After every kill the target is looked at: it may be absent or whole,
nothing else. Run with `make bench-adapters`.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from llama import Llama, make_pair
from machine import machine, prepare_processes

SMALL = Llama(
    hidden=256, intermediate=704, layers=4, heads=8, kv_heads=4, vocabulary=2048, dtype="float32"
)
RULES: dict[str, dict[str, Any]] = {
    "rank": {"rank": 8},
    "tolerance": {"tolerance": 0.5},
    "budget": {"budget": 600_000},
}
FILES = ("adapter_config.json", "adapter_model.safetensors")
ENDED = -signal.SIGKILL
TRIES = 20
"""Processes for a round at most; a round that needs more makes no progress."""
CHILD = """
import json, sys
from eckart.adapters import extract_adapter
arguments = json.loads(sys.argv[1])
print("begun", flush=True)
extract_adapter(**arguments)
print("done", flush=True)
"""


@dataclass(slots=True)
class Tally:
    """What the rounds of one rule came to.

    Fields:
        seconds: Of the work undisturbed.
        kills: Processes that were killed in their work.
        late: Of these, those that were killed when the adapter was already in its place.
        identical: Rounds with the bytes of the undisturbed run.
        wrong: What else there was, in sentences.
    """

    seconds: float
    kills: int = 0
    late: int = 0
    identical: int = 0
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    options = arguments()
    prepare_processes(options.threads)
    print(machine())
    pair = make_pair(SMALL, options.cache)
    size = sum(path.stat().st_size for path in pair[0].iterdir())
    print(f"{options.threads} threads; a pair of {size / 1e6:.0f} MB a side.\n")
    print("| rule | seconds undisturbed | rounds | kills | of these, with the adapter in place |")
    print("|---|---:|---:|---:|---:|")
    lines: list[str] = []
    for name in options.rules:
        with tempfile.TemporaryDirectory() as folder:
            tally = rounds(pair, RULES[name], Path(folder), options)
        cells = (name, f"{tally.seconds:.2f}", options.rounds, tally.kills, tally.late)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        met = tally.identical == options.rounds and not tally.wrong
        lines.append(
            f"{'met   ' if met else 'MISSED'} {name}: {tally.identical} of {options.rounds} "
            "adapters identical, no target half-written"
        )
        lines += [f"       {sentence}" for sentence in tally.wrong]
    print("\n" + "\n".join(lines))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=30)
    add("--most-kills", type=int, default=4, help="of a round")
    add("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    add("--threads", type=int, default=2)
    add("--seed", type=int, default=0)
    add("--cache", type=Path, default=Path(tempfile.gettempdir()) / "eckart-bench")
    return parser.parse_args()


def rounds(
    pair: tuple[Path, Path], rule: dict[str, Any], folder: Path, options: argparse.Namespace
) -> Tally:
    """All rounds of one rule, beside one undisturbed run."""
    given = {"base": str(pair[0]), "tuned": str(pair[1]), **rule}
    spent = [extract({**given, "out": str(folder / f"whole-{number}")})[1] for number in range(2)]
    known = digests(folder / "whole-0")
    tally = Tally(seconds=spent[-1])
    generator = np.random.default_rng(options.seed)
    for number in range(options.rounds):
        out = folder / f"killed-{number}"
        kills = 1 + int(generator.integers(options.most_kills))
        moments = generator.uniform(0, tally.seconds, kills)
        tally.wrong += killed({**given, "out": str(out), "resume": True}, out, moments, tally)
        tally.identical += digests(out) == known
        tally.wrong += [f"{path.name} was left behind" for path in leftovers(out)]
        shutil.rmtree(out, ignore_errors=True)
    return tally


def killed(given: dict[str, Any], out: Path, moments: Any, tally: Tally) -> Iterator[str]:
    """One round: killed at each moment, then left to finish. Yields what went wrong."""
    for moment in [*moments, *[None] * TRIES]:
        code, _, complaint = extract(given, moment)
        there = [(out / name).exists() for name in FILES]
        if out.exists() and not all(there):
            yield f"the target was half-written after {moment} s"
        if code == ENDED:
            tally.kills += 1
            tally.late += out.exists()
            if not out.exists() or unfinished(out).exists():
                continue
            return  # nothing is left to do
        if code != 0:
            yield f"exit {code}: {complaint}"
        return
    yield "no process came to an end"


def extract(given: dict[str, Any], moment: float | None = None) -> tuple[int, float, str]:
    """One process, killed so many seconds after its work began; its code, seconds and complaint.

    The seconds are those of the work, until the process says that it is done.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout is not None
    process.stdout.readline()
    began = time.perf_counter()
    timer = threading.Timer(moment, process.kill) if moment is not None else None
    if timer is not None:
        timer.start()
    process.stdout.readline()
    seconds = time.perf_counter() - began
    if timer is not None:
        timer.cancel()
    _, complaint = process.communicate()
    return process.returncode, seconds, (complaint.strip().splitlines() or [""])[-1]


def digests(out: Path) -> list[str]:
    """Of the two files of an adapter."""
    return [
        hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in FILES
        if (out / name).exists()
    ]


def unfinished(out: Path) -> Path:
    """Where the work of an adapter is kept until it is done."""
    return out.with_name(f"{out.name}.unfinished")


def leftovers(out: Path) -> list[Path]:
    """What of a round is still there beside its adapter."""
    return sorted(path for path in out.parent.glob(f"*{out.name}*") if path != out)


if __name__ == "__main__":
    main()
