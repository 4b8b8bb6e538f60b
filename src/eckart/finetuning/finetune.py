"""Fine-tuning a model of texts: an adapter is learnt, written, loaded again, and compared."""

import time
from collections.abc import Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

from eckart.arguments import as_path, byte_count, check_flag, check_list, check_number
from eckart.errors import MissingExtra
from eckart.files import check_output, whole_file
from eckart.files.reading import check_utf8
from eckart.finetuning.dataset import (
    Rows,
    Task,
    TaskName,
    labelled,
    read_columns_of_text,
    split,
    task_of,
)
from eckart.finetuning.language import read_texts, split_texts
from eckart.finetuning.result import FineTuning, write_documents
from eckart.finetuning.settings import (
    DEFAULT_RANK,
    OptimizerName,
    Settings,
    StartName,
    bad_number,
)
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
    rank: int | None = None,
    budget: int | str | None = None,
    alpha: float | None = None,
    targets: Sequence[str] = (),
    start: StartName | PathLike[str] = "lora",
    head_steps: int | None = None,
    optimizer: OptimizerName = "muon",
    learning_rate: float | None = None,
    head_rate: float = 1e-3,
    weight_decay: float = 0.0,
    clip: float | None = None,
    epochs: float = 3.0,
    batch: int = 16,
    length: int = 128,
    dropout: bool = False,
    patience: int | None = None,
    time_limit: float | None = None,
    seed: int = 0,
    resume: bool = False,
    force: bool = False,
    watch: Watch = unwatched,
    command: str = "",
) -> FineTuning:
    """Learn ΔW = s·B·A of the linear layers of a model from texts, as an adapter for PEFT.

    The weights of the model stay as they are. Before the adapter is in its place, it is loaded into
    the model anew, and its outputs for rows held back have to be those of the training.

    Args:
        model: Folder of a model of transformers and its tokenizer.
        table: Table with a column of texts and one of labels: CSV, Parquet or JSON lines. For a
            language: a column of texts, the columns `prompt` and `completion`, of which the latter
            is learnt, or a file of running text (.txt).
        out: Folder of the adapter.
        text: Name of the column of texts.
        label: Name of the column of labels; a language has none.
        task: "classification", "regression" or "language"; None takes labels for numbers to be
            learnt if they are numbers that are not all whole, else for classes.
        validation: Table of rows to validate with; None holds a share back, of each class the same.
        share: That share.
        rank: Rank of every layer; None takes 8 without a budget.
        budget: Bytes of all factors, a number or text such as "2MB": half of it is given to all
            layers alike at first, the rest while the run learns to those that use it.
        alpha: α of s = α / rank; None takes s = 2.
        targets: Kinds of layers (attention, mlp), last names or shell patterns of the linear layers
            to adapt; empty takes all outside of the head.
        start: Start of the factors: "lora", "gradient", "whitened" or "pissa", see `start_`, or the
            folder of an adapter.
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
        dropout: Whether the dropout of the model is on while it learns. Without it, what lies below
            the first adapted layer is computed once for each text.
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
        MatrixError: If a loss is not finite, or the run takes more memory than is free.
        MissingExtra: If PyTorch, transformers or PEFT is not installed.

    Cost:
        Memory of the model, of its activations for a batch, and of twelve times what is learnt;
        the result has the bytes that were expected and those that were held. A search for the rate
        takes at most a quarter of the steps more.
    """
    settings = Settings(
        text=text,
        label=label,
        task=task,
        rank=DEFAULT_RANK if rank is None and budget is None else rank,
        budget=None if budget is None else byte_count(budget),
        alpha=alpha,
        targets=tuple(check_list("targets", targets)),
        start=start if isinstance(start, str) else str(as_path(start)),
        head_steps=head_steps,
        optimizer=optimizer,
        learning_rate=learning_rate,
        head_rate=head_rate,
        weight_decay=weight_decay,
        clip=clip,
        epochs=epochs,
        batch=batch,
        length=length,
        dropout=check_flag("dropout", dropout),
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
    inputs = [base, *tables, *(() if settings.adapter is None else (settings.adapter,))]
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
    from eckart.finetuning.written import write

    # a job that was killed after the adapter was in place left its work: `resume` may finish that
    forced = force or (resume and Unfinished.place(target).exists())
    check_output(target, force=forced, inputs=inputs, is_folder=True)
    began = time.perf_counter()
    kind, train, held = _rows(tables, settings)
    run = Run.begun(base, target, kind, train, held, settings)
    with whole_file(target, force=forced) as place:
        run.learn(
            resume=resume,
            force=force,
            time_limit=time_limit,
            watch=watch,
            inputs=inputs,
        )
        result = write(run, place, target, command, began)
        write_documents(result, place)
    run.unfinished.remove()
    return result


def _rows(tables: Sequence[Path], settings: Settings) -> tuple[Task, Rows, Rows]:
    """The task, the rows to learn from, and the rows to validate with."""
    if settings.task == "language":
        task = Task(name="language")
        rows = read_texts(tables[0], settings.text)
        if len(tables) == 1:
            return task, *split_texts(rows, settings.share, settings.seed)
        return task, rows, read_texts(tables[1], settings.text)
    texts, labels = read_columns_of_text(tables[0], settings.text, settings.label)
    task = task_of(labels, settings.task)
    rows = labelled(texts, labels, task, tables[0])
    if len(tables) == 1:
        return task, *split(rows, task, settings.share, settings.seed)
    others, known = read_columns_of_text(tables[1], settings.text, settings.label)
    return task, rows, labelled(others, known, task, tables[1])
