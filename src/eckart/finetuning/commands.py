"""`eckart finetune`."""

import shlex
from pathlib import Path
from typing import Any

import click

from eckart.errors import ArgumentError
from eckart.terminal import console
from eckart.terminal.options import (
    EXIT_STATUS,
    FILE,
    force_option,
    json_option,
    output_option,
    quiet_option,
    seed_option,
    threads_option,
    together,
)
from eckart.threads import limited_threads


def _rate(_context: click.Context, _option: click.Parameter, text: str) -> float | None:
    try:
        return None if text == "auto" else float(text)
    except ValueError:
        raise click.BadParameter(f"{text} is no rate: give a number, or auto.") from None


data_options = together(
    click.option("--text", default="text", show_default=True, help="Column of the texts."),
    click.option("--label", default="label", show_default=True, help="Column of the labels."),
    click.option(
        "--task",
        type=click.Choice(["classification", "regression", "language"]),
        help="What is learnt.  [default: a class, or numbers that are not all whole]",
    ),
    click.option("--lm", is_flag=True, help="Learn the texts themselves: --task language."),
    click.option("--validation", type=FILE, help="Table of rows to validate with."),
    click.option(
        "--share", default=0.1, show_default=True, help="Share of each class to hold back instead."
    ),
    click.option("--length", default=128, show_default=True, help="Most tokens of a text."),
)
factor_options = together(
    click.option("--rank", type=int, help="Rank of every layer.  [default: 8]"),
    click.option("--budget", help="Bytes of all factors instead, such as 2MB; ranks then grow."),
    click.option("--alpha", type=float, help="α of s = α / rank.  [default: 2 × rank]"),
    click.option(
        "--targets",
        multiple=True,
        metavar="attention|mlp|PATTERN",
        help="Adapt only these linear layers.",
    ),
    click.option(
        "--start",
        default="lora",
        show_default=True,
        metavar="lora|gradient|whitened|pissa|FOLDER",
        help="Drawn factors, A from the first gradient, both from W, or an adapter.",
    ),
    click.option("--head-steps", type=int, help="Steps of the head alone before the gradient."),
)
learning_options = together(
    click.option(
        "--optimizer",
        type=click.Choice(["adamw", "lora+", "scaled", "rite", "muon"]),
        default="muon",
        show_default=True,
        help="How the factors are moved.",
    ),
    click.option(
        "--learning-rate",
        default="auto",
        show_default=True,
        metavar="number|auto",
        callback=_rate,
        help="Highest learning rate of the factors.",
    ),
    click.option("--head-rate", default=1e-3, show_default=True, help="That of the head."),
    click.option(
        "--weight-decay", default=0.0, show_default=True, help="Decay of ΔW and the head."
    ),
    click.option("--clip", type=float, help="Largest norm of the gradient."),
    click.option("--epochs", default=3.0, show_default=True, help="Passes over the rows."),
    click.option("--batch", default=16, show_default=True, help="Rows of a step."),
    click.option(
        "--dropout/--no-dropout",
        default=False,
        show_default=True,
        help="Keep the dropout of the model on, or not.",
    ),
    click.option("--patience", type=int, help="Evaluations without a lower loss, then it ends."),
    click.option("--time-limit", type=float, help="Seconds after which it ends."),
)


@click.command(epilog="Example: eckart finetune model/ train.csv --rank 8 -o adapter/")
@click.argument("model", metavar="MODEL", type=FILE)
@click.argument("table", metavar="TABLE", type=FILE)
@output_option
@data_options
@factor_options
@learning_options
@seed_option
@click.option("--resume", is_flag=True, help="Go on with the unfinished work of an earlier run.")
@force_option
@json_option
@quiet_option
@threads_option
def finetune(
    model: Path, table: Path, output: Path | None, threads: int | None, **options: Any
) -> int:
    """Learn an adapter of MODEL from the texts and labels of TABLE, and prove that PEFT loads it.

    W = W₀ + s·B·A: the weights W₀ stay as they are, and B and A are learnt. TABLE is CSV, Parquet
    or JSON lines, and with --lm a column of texts, the columns prompt and completion, or a file of
    running text (.txt). Before the adapter is in its place, it is loaded into MODEL again, and
    gives the outputs of the training, or nothing is written. Needs PyTorch, transformers and PEFT.
    """
    if output is None:
        raise ArgumentError(
            "There is no place for the adapter.",
            hint="Name a folder with --output.",
            code="no-output",
        )
    from eckart.finetuning.finetune import finetune

    as_json, quiet = options.pop("as_json"), options.pop("quiet")
    if options.pop("lm"):
        if options["task"] not in (None, "language"):
            raise ArgumentError(
                f"Both --lm and --task {options['task']} are given.",
                hint="Give one of the two.",
                code="task-chosen-twice",
            )
        options["task"] = "language"
    with limited_threads(threads):
        result = finetune(
            model,
            table,
            output,
            **options,
            watch=console.watching(quiet=quiet),
            command=shlex.join(["eckart", *click.get_current_context().obj]),
        )
    console.notes(result.notes, quiet=quiet)
    if as_json:
        console.answer_json("finetune", result.to_dict())
    else:
        from eckart.finetuning.report import finetune_table

        console.answer_rows(finetune_table(result.to_dict()))
        console.answer_text(result.message)
    console.note(f"Wrote {output}", quiet=quiet)
    return EXIT_STATUS[result.grade]
