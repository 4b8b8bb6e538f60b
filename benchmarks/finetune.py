"""Fine-tuning against PEFT: steps and seconds to one loss, rates, ranks, budgets, what is learnt.

    python benchmarks/finetune.py --inputs FOLDER --results runs.jsonl [--tables 1 2 4 5 6]

FOLDER holds the inputs that finetune_inputs.py names. Every run is a process with one thread, two
at a time, and a line of the results, so that what was run is not run again. Rates are those of a
grid for each contender; the best of it on seed 0 is used for the other seeds, but for PEFT's
default with AdamW on the reviews, which has its best on every seed. Its lowest loss there is the
loss that all others have to reach: it is fixed before they run. Between two evaluations a loss is
taken to fall along a line.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

from finetune_contender import Job
from finetune_inputs import Inputs, add_inputs, reviews
from machine import machine, prepare_processes

Line: TypeAlias = dict[str, Any]
SEEDS: Final = (0, 1, 2)
PEFT: Final = "peft"
GRIDS: Final = {
    PEFT: (5e-4, 1e-3, 2e-3, 4e-3, 8e-3),
    "peft pissa_niter_4": (5e-4, 1e-3, 2e-3),
    "peft LoRA+": (2e-4, 4e-4, 8e-4),
    "peft Riemannian": (1e-3, 2e-3, 4e-3),
    "lora, adamw, no dropout": (1e-3, 2e-3, 4e-3),
    "lora, rite, no dropout": (5e-4, 1e-3, 2e-3),
    "lora, muon": (1.5e-2, 3e-2, 6e-2),
    "lora, muon, no dropout": (1.5e-2, 3e-2, 6e-2),
    "whitened, muon, no dropout": (1.5e-2, 3e-2, 6e-2),
}
"""Rates of each contender, a factor of two from one to the next: five for PEFT's default."""
REACTIONS: Final = {
    PEFT: (1e-3, 2e-3, 4e-3),
    "lora, muon, no dropout": (3e-2, 6e-2),
}
"""Rates with the reactions, whose runs take three times as long."""
DECADES: Final = tuple(3e-2 * 10 ** (place / 2) for place in range(-3, 4))
"""The grid of seven with which a search for the rate is compared."""
DEFAULT: Final = "lora, muon, no dropout"
RATE: Final = 3e-2
"""The contender that is recommended, and its rate where none is looked for."""
RANKS: Final = (1, 2, 4, 8, 16)
FULL: Final = (5e-5, 1e-4, 2e-4)
PROBE: Final = (3e-3, 1e-2, 3e-2)
"""Rates of the full fine-tune, and of the head alone."""
UPPER: Final = {"reviews": ["*.layer.[45].*"], "reactions": ["*.layer.1[01].*"]}
"""The upper layers, which are adapted where only the rate is looked for."""
SEARCHED: Final = (("reviews", 2.5), ("reviews", 7), ("reactions", 2.5), ("reactions", 7))
"""Tasks and epochs of runs for which a rate is looked for; those of 2.5 have too few steps for it,
and take the default."""
SEARCHED_RANKS: Final = (2, 8)
HERE: Final = Path(__file__).parent


class Bench:
    """Runs jobs, or finds what they gave before.

    Args:
        inputs: Folder of the inputs.
        results: File of the lines of all runs.
        made: Folder of what is made from the inputs.
    """

    def __init__(self, inputs: Path, results: Path, made: Path) -> None:
        self._inputs, self._results, self._made = inputs, results, made
        self._known: dict[str, Line] = {}
        if results.exists():
            for text in results.read_text(encoding="utf-8").splitlines():
                line = json.loads(text)
                self._known[_key(Job(**line["job"]))] = line

    def run(self, jobs: Sequence[Job]) -> list[Line]:
        """The lines of some jobs, in their order."""
        new = [job for job in jobs if _key(job) not in self._known]
        with ThreadPoolExecutor(2) as pool:
            for job, line in zip(new, pool.map(self._one, new), strict=True):
                self._known[_key(job)] = line
        return [self._known[_key(job)] for job in jobs]

    def _one(self, job: Job) -> Line:
        command = [sys.executable, "-W", "ignore", str(HERE / "finetune_contender.py")]
        words = [json.dumps(asdict(job)), str(self._inputs), str(self._made)]
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{job}: {done.stderr.strip().splitlines()[-1:]}")
        text = next(one for one in done.stdout.splitlines() if one.startswith("{"))
        print(text, file=sys.stderr)
        with self._results.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        return json.loads(text)


def _key(job: Job) -> str:
    return json.dumps(asdict(job), sort_keys=True)


def lowest(line: Line) -> float:
    """The lowest loss of a run over the rows held back."""
    return min(loss for _, loss, _ in line["losses"])


def reached(line: Line, loss: float) -> tuple[float, float] | None:
    """Steps and seconds to a loss, or None if it was not reached."""
    before: list[float] | None = None
    for now in line["losses"]:
        if now[1] <= loss:
            if before is None or before[1] <= now[1]:
                return now[0], now[2]
            share = (before[1] - loss) / (before[1] - now[1])
            return (
                before[0] + share * (now[0] - before[0]),
                before[2] + share * (now[2] - before[2]),
            )
        before = now
    return None


def race(bench: Bench, task: str, grids: Mapping[str, Sequence[float]], *, every: bool) -> None:
    """Steps and seconds to the loss that PEFT's default reaches at its best rate.

    Args:
        bench: Where runs come from.
        task: The task.
        grids: The rates of each contender.
        every: Whether PEFT's default has its best rate on every seed, and not that of seed 0.
    """
    first = bench.run([Job(who=PEFT, task=task, rate=rate) for rate in grids[PEFT]])
    rates = grids[PEFT] if every else (min(first, key=lowest)["job"]["rate"],)
    best = [
        min(
            bench.run([Job(who=PEFT, task=task, rate=rate, seed=seed) for rate in rates]),
            key=lowest,
        )
        for seed in SEEDS
    ]
    goals = [lowest(line) for line in best]
    ours = [reached(line, goal) for line, goal in zip(best, goals, strict=True)]
    print(f"\nLosses to reach, of the three seeds: {', '.join(f'{goal:.4f}' for goal in goals)}.\n")
    print(
        "| contender | best rate | steps, three seeds | median | against PEFT | seconds | "
        "lowest loss | accuracy | good rates |"
    )
    print("|---|---|---|---:|---:|---|---|---|---:|")
    for who, own in grids.items():
        first = bench.run([Job(who=who, task=task, rate=rate) for rate in own])
        rate = min(first, key=lowest)["job"]["rate"]
        lines = best
        if who != PEFT:
            lines = bench.run([Job(who=who, task=task, rate=rate, seed=seed) for seed in SEEDS])
        found = [reached(line, goal) for line, goal in zip(lines, goals, strict=True)]
        steps = [one[0] if one else float("inf") for one in found]
        before = median(one[0] for one in ours if one)
        print(
            f"| {who} | {'best of each' if who == PEFT and every else f'{rate:.2g}'} "
            f"| {', '.join(f'{one:.0f}' for one in steps)} | {median(steps):.0f} "
            f"| {median(steps) / before:.2f} "
            f"| {', '.join(f'{one[1]:.0f}' if one else '–' for one in found)} "
            f"| {', '.join(f'{lowest(line):.3f}' for line in lines)} "
            f"| {', '.join(format(line['accuracy'][0], '.3f') for line in lines)} "
            f"| {_good(first)} |"
        )


def _good(lines: Sequence[Line]) -> int:
    """Rates whose lowest loss is at most a twentieth of the best gain above the best."""
    losses = [lowest(line) for line in lines]
    start = max(line["losses"][0][1] for line in lines)
    return sum(one <= min(losses) + (start - min(losses)) / 20 for one in losses)


def search(bench: Bench) -> None:
    """The rate that is found against the best of a grid of seven."""
    print(
        "| task | steps | rank | best of the grid | its loss | found | its loss | against it ",
        end="",
    )
    print("| search |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for task, epochs in SEARCHED:
        for rank in SEARCHED_RANKS:
            more = {"targets": UPPER[task], "dropout": False}
            job = Job(who="lora, muon", task=task, rank=rank, epochs=epochs, more=more)
            lines = bench.run([replace(job, rate=rate) for rate in DECADES])
            (found,) = bench.run([job])
            best = min(lines, key=lowest)
            share = found["search_steps"] / found["losses"][-1][0]
            print(
                f"| {task} | {found['losses'][-1][0]} | {rank} | {best['rate']:.1e} "
                f"| {lowest(best):.4f} "
                f"| {found['rate']:.1e} | {lowest(found):.4f} "
                f"| {lowest(found) / lowest(best) - 1:+.1%} | {share:.0%} |"
            )


def budgets(bench: Bench, who: str, rate: float) -> None:
    """Ranks by a budget against one rank, at the same number of parameters."""
    print("| seed | loss at rank 4 | loss at the budget | accuracy | accuracy | numbers |")
    print("|---:|---:|---:|---:|---:|---:|")
    for seed in SEEDS:
        job = Job(who=who, rate=rate, rank=4, seed=seed)
        (uniform,) = bench.run([job])
        nbytes = 4 * uniform["numbers"]
        (grown,) = bench.run([replace(job, rank=0, more={"budget": nbytes})])
        print(
            f"| {seed} | {lowest(uniform):.4f} | {lowest(grown):.4f} "
            f"| {uniform['accuracy'][0]:.3f} | {grown['accuracy'][0]:.3f} "
            f"| {uniform['numbers']}, {grown['numbers']} |"
        )


def learnt(bench: Bench, task: Inputs, made: Path, who: str, rate: float) -> None:
    """What is learnt at each rank beside what is extracted from the full fine-tune."""
    from finetune_extracted import extracted

    print("| rank | learnt | extracted | error of ΔW learnt | extracted | best of the rank |")
    print("|---:|---|---|---:|---:|---:|")
    rows = list(_at_ranks(bench, made, who, rate))
    for rank, lines, tuned in rows:
        found = [
            extracted(task, Path(line["job"]["keep"]) / "adapter", one, rank)
            for line, one in zip(lines, tuned, strict=True)
        ]
        print(
            f"| {rank} | {_mean(line['accuracy'][0] for line in lines)} "
            f"| {_mean(one.accuracy for one in found)} "
            f"| {_mean(one.learnt for one in found)} | {_mean(one.error for one in found)} "
            f"| {_mean(one.best for one in found)} |"
        )


def _at_ranks(
    bench: Bench, made: Path, who: str, rate: float
) -> Iterator[tuple[int, list[Line], list[Path]]]:
    tuned = [made / f"full-{seed}" for seed in SEEDS]
    for who_else, rates, kept in (("probe", PROBE, None), ("full", FULL, tuned)):
        first = bench.run([Job(who=who_else, rate=one) for one in rates])
        best = min(first, key=lowest)["job"]["rate"]
        whole = bench.run(
            [
                Job(
                    who=who_else, rate=best, seed=seed, keep="" if kept is None else str(kept[seed])
                )
                for seed in SEEDS
            ]
        )
        print(f"{who_else}, rate {best:.0e}: {_mean(line['accuracy'][0] for line in whole)}\n")
    for rank in RANKS:
        jobs = [
            Job(who=who, rate=rate, rank=rank, seed=seed, keep=str(made / f"learnt-{rank}-{seed}"))
            for seed in SEEDS
        ]
        yield rank, bench.run(jobs), tuned


def _mean(values: Iterable[float]) -> str:
    known = list(values)
    return f"{sum(known) / len(known):.3f} ({min(known):.3f} to {max(known):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    add_inputs(parser)
    parser.add_argument("--results", type=Path, required=True, help="file of the runs")
    parser.add_argument("--made", type=Path, help="folder of what is made from the inputs")
    parser.add_argument("--tables", type=int, nargs="+", default=[1, 2, 4, 5, 6])
    chosen = parser.parse_args()
    prepare_processes(1)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        made = chosen.made or Path(folder)
        made.mkdir(exist_ok=True)
        bench = Bench(chosen.inputs, chosen.results, made)
        if 1 in chosen.tables:
            race(bench, "reviews", GRIDS, every=True)
        if 2 in chosen.tables:
            search(bench)
        if 4 in chosen.tables:
            learnt(bench, reviews(chosen.inputs, made), made, DEFAULT, RATE)
        if 5 in chosen.tables:
            budgets(bench, DEFAULT, RATE)
        if 6 in chosen.tables:
            race(bench, "reactions", REACTIONS, every=False)


if __name__ == "__main__":
    main()
