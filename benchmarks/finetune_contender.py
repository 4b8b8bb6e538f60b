"""One run of one contender of the benchmarks of fine-tuning, in a process of its own.

    python benchmarks/finetune_contender.py JOB INPUTS MADE

JOB is a JSON object, see `Job`. Every contender sees the same rows in the same order, 16 at a time,
and is evaluated six times on the same rows. Those of PEFT have one rate for factors and head, which
falls to 0 along a line, and a norm of the gradient of at most 1, as Trainer has it. Prints one JSON
object: the losses over the rows held back with the steps and seconds before them, seconds of what
comes before the first step, median seconds of a step and of its optimiser, and the accuracy.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from finetune_inputs import Inputs, reactions, reviews

BATCH: Final = 16
EVALUATIONS: Final = 6
TASKS: Final = {"reviews": reviews, "reactions": reactions}
PEERS: Final = ("peft", "peft pissa_niter_4", "peft LoRA+", "peft Riemannian", "full", "probe")
"""Contenders that are no part of eckart: PEFT with AdamW or another optimiser, all weights, or the
head alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one contender does.

    Fields:
        who: One of `PEERS`, or a start and an optimiser of eckart with a comma between them, and
            after another one "no dropout".
        rate: Highest learning rate; None searches for it.
        more: Further arguments of `eckart.finetune`.
        keep: Folder to leave the adapter, or the model, in.
    """

    who: str
    task: str = "reviews"
    rate: float | None = None
    seed: int = 0
    rank: int = 8
    epochs: float = 1.0
    more: dict[str, Any] | None = None
    keep: str = ""


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    inputs, made = (Path(one) for one in sys.argv[2:4])
    task = TASKS[job.task](inputs, made)
    found = _peer(job, task) if job.who in PEERS else _ours(job, task)
    print(json.dumps({"job": asdict(job), **found}))


def _ours(job: Job, task: Inputs) -> dict[str, Any]:
    import eckart

    start, optimizer, *rest = job.who.split(", ")
    with tempfile.TemporaryDirectory() as folder:
        Path(job.keep or folder).mkdir(exist_ok=True)
        began = time.perf_counter()
        done = eckart.finetune(
            task.model,
            task.train,
            Path(job.keep or folder) / "adapter",
            validation=task.held,
            rank=job.rank or None,
            epochs=job.epochs,
            batch=BATCH,
            length=task.length,
            start=start,
            optimizer=optimizer,
            learning_rate=job.rate,
            seed=job.seed,
            force=True,
            **{"dropout": not rest, **(job.more or {})},
        )
        total = time.perf_counter() - began
    run, spent = done.run, done.spent
    before = sum(seconds for name, seconds in spent.items() if name != "loading")
    steps = len(run["history"])
    step = sum(run["seconds"][name] for name in ("forward", "backward", "optimizer")) / steps
    evaluated = run["seconds"]["evaluation"] / len(run["evaluations"])
    return {
        "losses": [
            [one["step"], one["loss"], before + step * one["step"] + evaluated * place]
            for place, one in enumerate(run["evaluations"], 1)
        ],
        "before": before,
        "step": step,
        "optimizer": run["seconds"]["optimizer"] / steps,
        "accuracy": list(done.metrics["accuracy"]),
        "rate": done.search["rate"],
        "search_steps": sum(one["steps"] for one in done.search["trials"]),
        "search": done.search,
        "numbers": sum(sum(one.shape) * one.rank for one in done.layers),
        "total": total,
    }


def encoded_rows(task: Inputs, length: int | None = None) -> tuple[Any, Any, Any]:
    """The task of a table, and its rows to learn from and to validate with as tokens."""
    from transformers import AutoTokenizer

    from eckart.finetuning.dataset import labelled, read_columns_of_text, task_of
    from eckart.finetuning.encoded import encoded

    tables = [read_columns_of_text(path, "text", "label") for path in (task.train, task.held)]
    kind = task_of(tables[0][1], None)
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    names = ("input_ids", "attention_mask", "token_type_ids")
    train, held = (
        encoded(labelled(texts, labels, kind, ""), kind, tokenizer, names, length or task.length)
        for texts, labels in tables
    )
    return kind, train, held


def _peer(job: Job, task: Inputs) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForSequenceClassification

    kind, train, held = encoded_rows(task)
    torch.manual_seed(job.seed)
    base = AutoModelForSequenceClassification.from_pretrained(
        task.model, num_labels=kind.outputs, dtype=torch.float32
    )
    began = time.perf_counter()
    model = base if job.who in ("full", "probe") else adapted(base, job)
    if job.who == "probe":
        base.requires_grad_(False)
        base.classifier.requires_grad_(True)
    optimizer = _optimizer(model, job)
    before = time.perf_counter() - began
    steps = round(job.epochs * -(-len(train) // BATCH))
    losses: list[list[float]] = []
    spent: list[tuple[float, float]] = []
    best: tuple[float, list[float]] = (float("inf"), [])
    for step in range(steps):
        spent.append(_step(model, optimizer, train, job, (step, steps)))
        if (step + 1) % (steps // EVALUATIONS) == 0:
            found = _measured(model, held, kind)
            losses.append([step + 1, found["loss"][0], time.perf_counter() - began])
            best = min(best, (found["loss"][0], list(found["accuracy"])))
    if job.keep:
        model.save_pretrained(job.keep)
    return {
        "losses": losses,
        "before": before,
        "step": float(np.mean([one for one, _ in spent])),
        "optimizer": float(np.mean([one for _, one in spent])),
        "accuracy": best[1],
        "rate": job.rate,
        "search_steps": 0,
    }


def _step(
    model: Any, optimizer: Any, train: Any, job: Job, place: tuple[int, int]
) -> tuple[float, float]:
    """Take a step; its seconds, and those of the optimiser."""
    import torch

    step, steps = place
    now = time.perf_counter()
    number, part = divmod(step, -(-len(train) // BATCH))
    batch = train.batch(train.epoch(number, BATCH, job.seed)[part])
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("highest", group["lr"]) * (1 - step / steps)
    model.train()
    loss = model(**batch).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    moves = time.perf_counter()
    optimizer.step()
    ended = time.perf_counter()
    return ended - now, ended - moves


def _measured(model: Any, held: Any, kind: Any) -> Any:
    from eckart.finetuning.metrics import measured
    from eckart.finetuning.training import answers

    return measured(answers(model, held, BATCH), held.labels, kind, 0)


def adapted(base: Any, job: Job) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(job.seed)
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=job.rank,
        lora_alpha=2 * job.rank,
        target_modules="all-linear",
        init_lora_weights="pissa_niter_4" if "pissa" in job.who else True,
    )
    return get_peft_model(base, config)


def _optimizer(model: Any, job: Job) -> Any:
    import torch
    from peft.optimizers import create_loraplus_optimizer, create_riemannian_optimizer

    kind = torch.optim.AdamW
    if "LoRA+" in job.who:
        return create_loraplus_optimizer(model, kind, lr=job.rate, loraplus_lr_ratio=16)
    if "Riemannian" in job.who:
        return create_riemannian_optimizer(model, optimizer_cls=kind, lr=job.rate)
    learnt = [one for one in model.parameters() if one.requires_grad]
    return kind(learnt, lr=job.rate, weight_decay=0.0)


if __name__ == "__main__":
    main()
