"""Fine-tuning a model of texts: an adapter is learnt, written, loaded again, and compared."""

import time
from collections.abc import Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

from eckart.arguments import as_path, check_flag, check_list, check_number, check_whole
from eckart.errors import MissingExtra
from eckart.files import check_output, whole_file
from eckart.files.reading import check_utf8
from eckart.finetuning.dataset import Rows, Task, TaskName, labelled, read_rows, split, task_of
from eckart.finetuning.result import FineTuning, write_documents
from eckart.finetuning.settings import OptimizerName, Settings, StartName, bad_number
from eckart.progress import Watch, unwatched


def finetune(
    model: str | PathLike[str],
    table: str | PathLike[str],
    out: str | PathLike[str],
    *,
    text: str = "text",
    label: str = "label",
    task: TaskName | None = None,
    validation: str | PathLike[str] | None = None,
    share: float = 0.1,
    rank: int = 8,
    alpha: float | None = None,
    targets: Sequence[str] = (),
    start: StartName = "lora",
    head_steps: int | None = None,
    optimizer: OptimizerName = "adamw",
    learning_rate: float | None = None,
    head_rate: float = 1e-3,
    weight_decay: float = 0.0,
    clip: float | None = None,
    epochs: float = 3.0,
    batch: int = 16,
    length: int = 128,
    patience: int | None = None,
    time_limit: float | None = None,
    seed: int = 0,
    resume: bool = False,
    force: bool = False,
    watch: Watch = unwatched,
    command: str = "",
) -> FineTuning:
    """Learn ΔW = s·B·A of the linear layers of a model from texts and labels, for PEFT.

    The weights of the model stay as they are. Before the adapter is in its place, it is loaded into
    the model anew, and its outputs for rows held back have to be those of the training.

    Args:
        model: Folder of a model of transformers and its tokenizer.
        table: Table with a column of texts and one of labels: CSV, Parquet or JSON lines.
        out: Folder of the adapter.
        text: Name of the column of texts.
        label: Name of the column of labels.
        task: "classification" or "regression"; None takes labels for numbers to be learnt if they
            are numbers that are not all whole.
        validation: Table of rows to validate with; None holds a share of each class back.
        share: That share.
        rank: Rank of every layer.
        alpha: α of s = α / rank; None takes 2·rank.
        targets: Shell patterns of the linear layers to adapt; empty takes all outside of the head.
        start: Start of the factors: "lora", "gradient" or "whitened", see `start_`.
        head_steps: Steps in which the head is learnt alone first; None takes 32 if the head is
            drawn and the start needs a gradient, else 0.
        optimizer: "adamw", "lora+", "scaled", "rite" or "muon".
        learning_rate: Highest learning rate of the factors; None searches for it.
        head_rate: Highest learning rate of the head.
        weight_decay: Share of ΔW and of the head by which a step decays them, times the rate.
        clip: Largest norm of the gradient, which does not depend on the gauge; None clips nothing.
        epochs: Passes over the rows to learn from.
        batch: Rows of a step.
        length: Most tokens of a text.
        patience: Evaluations without a lower loss after which the run ends; None never ends it.
        time_limit: Seconds after which the run ends.
        seed: Seed of everything random.
        resume: Whether to go on with the unfinished work of an earlier run.
        force: Whether to overwrite `out` and unfinished work.
        watch: Shows the progress, in steps.
        command: Command line that the report names, or empty.

    Returns:
        What was learnt, with figures over the rows held back.

    Raises:
        ArgumentError: If an argument is out of its range, a column or a path does not exist, or
            `out` does.
        FormatError: If the model or the table cannot be used, or the adapter, loaded again, gives
            other outputs; nothing is written then.
        MatrixError: If a loss is not finite.
        MissingExtra: If PyTorch, transformers or PEFT is not installed.

    Cost:
        Memory of the model, of its activations for a batch, and of four times what is learnt. A
        search for the rate takes at most a quarter of the steps more.
    """
    settings = Settings(
        text=text,
        label=label,
        task=task,
        rank=rank,
        alpha=2.0 * check_whole("rank", rank) if alpha is None else alpha,
        targets=tuple(check_list("targets", targets)),
        start=start,
        head_steps=head_steps,
        optimizer=optimizer,
        learning_rate=learning_rate,
        head_rate=head_rate,
        weight_decay=weight_decay,
        clip=clip,
        epochs=epochs,
        batch=batch,
        length=length,
        share=share,
        patience=patience,
        seed=seed,
    )
    if time_limit is not None and not check_number("time_limit", time_limit) > 0:
        raise bad_number("time_limit", time_limit, "a number above 0")
    check_flag("force", force)
    check_flag("resume", resume)
    base, target = as_path(model), as_path(out)
    tables = [as_path(table), *(() if validation is None else (as_path(validation),))]
    check_utf8(target)  # safetensors, which PEFT writes, opens no other
    if not all(map(find_spec, ("torch", "transformers", "peft"))):
        raise MissingExtra(
            "Fine-tuning needs PyTorch, transformers and PEFT.",
            hint="pip install 'eckart[adapters]'",
            code="missing-extra",
        )
    # imported here, since it imports PyTorch, which takes seconds and may not be there
    from eckart.finetuning.run import Run
    from eckart.finetuning.unfinished import Unfinished

    # a job that was killed after the adapter was in place left its work: `resume` may finish that
    forced = force or (resume and Unfinished.place(target).exists())
    check_output(target, force=forced, inputs=[base, *tables], is_folder=True)
    began = time.perf_counter()
    kind, train, held = _rows(tables, settings)
    run = Run.begun(base, target, kind, train, held, settings)
    with whole_file(target, force=forced) as place:
        run.learn(
            resume=resume,
            force=force,
            time_limit=time_limit,
            watch=watch,
            inputs=[base, *tables],
        )
        result = run.write(place, target, command, began)
        write_documents(result, place)
    run.unfinished.remove()
    return result


def _rows(tables: Sequence[Path], settings: Settings) -> tuple[Task, Rows, Rows]:
    """The task, the rows to learn from, and the rows to validate with."""
    texts, labels = read_rows(tables[0], settings.text, settings.label)
    task = task_of(labels, settings.task)
    rows = labelled(texts, labels, task, tables[0])
    if len(tables) == 1:
        return task, *split(rows, task, settings.share, settings.seed)
    return (
        task,
        rows,
        labelled(*read_rows(tables[1], settings.text, settings.label), task, tables[1]),
    )
