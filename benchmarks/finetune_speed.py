"""Seconds of a step of a fine-tune beside PEFT in Trainer, at the same settings.

    python benchmarks/finetune_speed.py --inputs FOLDER [--turns 3]

Both have all linear layers, rank 8, AdamW, batches of 16 of the same snippets, cut at 128 tokens
and filled up to the longest of a batch, and dropout as the model has it. A step is the time from
the end of one to the end of the next; the median of 32. Both run in turns, each in a process of
its own with two threads.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from finetune_inputs import Inputs, add_inputs, reviews
from machine import machine, prepare_processes

STEPS: Final = 32
ROWS: Final = 16 * STEPS
LENGTH: Final = 128


def ours(task: Inputs, optimizer: str, *, dropout: bool) -> dict[str, float]:
    """Seconds of a step of `eckart.finetune`, and of its optimiser."""
    import eckart

    ends: list[float] = []

    @contextmanager
    def watch(what: str, _total: int | None) -> Generator[Any, None, None]:
        def report(_advance: int, /, **_more: Any) -> None:
            if what == "Learning":
                ends.append(time.perf_counter())

        yield report

    with tempfile.TemporaryDirectory() as folder:
        done = eckart.finetune(
            task.model, task.train, Path(folder) / "a", validation=task.held, epochs=1.0,
            batch=16, length=LENGTH, optimizer=optimizer, learning_rate=1e-3, dropout=dropout,
            watch=watch,
        )  # fmt: skip
    steps = done.run["step"]
    return {"step": _median(ends), "optimizer": done.run["seconds"]["optimizer"] / steps}


def trainer(task: Inputs) -> dict[str, float]:
    """Seconds of a step of PEFT in Trainer, and of its optimiser."""
    import torch
    from finetune_contender import Job, adapted, encoded_rows
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    class Ends(TrainerCallback):
        """Notes when steps end."""

        def on_step_end(self, *_args: Any, **_named: Any) -> None:
            ends.append(time.perf_counter())

        def on_pre_optimizer_step(self, *_args: Any, **_named: Any) -> None:
            moves.append(-time.perf_counter())

        def on_optimizer_step(self, *_args: Any, **_named: Any) -> None:
            moves[-1] += time.perf_counter()

    ends: list[float] = []
    moves: list[float] = []
    kind, train, _ = encoded_rows(task, LENGTH)
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_pretrained(task.model, num_labels=kind.outputs)
    model = adapted(base, Job(who="peft"))
    rows = [
        {**{name: column[place] for name, column in train.columns.items()},
         "labels": int(train.labels[place])}
        for place in range(len(train))
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder, per_device_train_batch_size=16, num_train_epochs=1,
                learning_rate=1e-3, save_strategy="no", report_to=[], disable_tqdm=True,
                logging_strategy="no", use_cpu=True,
            ),
            train_dataset=rows,  # pyright: ignore[reportArgumentType] a list is one
            data_collator=DataCollatorWithPadding(train.tokenizer),
            callbacks=[Ends()],
        ).train()  # fmt: skip
    return {"step": _median(ends), "optimizer": median(moves)}


def _median(ends: list[float]) -> float:
    return median(after - before for before, after in itertools.pairwise(ends))


CONTENDERS: Final = {
    "PEFT and Trainer": trainer,
    "eckart, AdamW": lambda task: ours(task, "adamw", dropout=True),
    "eckart, Muon, no dropout": lambda task: ours(task, "muon", dropout=False),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    add_inputs(parser)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        task = reviews(chosen.inputs, Path(folder), ROWS)
        if chosen.one:
            print(json.dumps(CONTENDERS[chosen.one](task)))
            return
    prepare_processes(2)
    print(f"{machine()}\n")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(chosen.turns):
        for name, lines in found.items():
            command = [sys.executable, "-W", "ignore", *sys.argv, "--one", name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name}: {done.stderr.strip().splitlines()[-1:]}")
            # Trainer prints figures of its own before
            lines.append(json.loads(done.stdout.splitlines()[-1]))
    print("| contender | seconds of a step, each turn | least | optimiser of it |")
    print("|---|---|---:|---:|")
    for name, lines in found.items():
        steps = [one["step"] for one in lines]
        share = median(one["optimizer"] / one["step"] for one in lines)
        each = ", ".join(f"{one:.3f}" for one in steps)
        print(f"| {name} | {each} | {min(steps):.3f} | {share:.1%} |")


if __name__ == "__main__":
    main()
