"""`eckart extract`."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import click

from eckart.adapters.settings import Document, LayerRanks, Option, Patterns, Settings
from eckart.errors import ArgumentError
from eckart.terminal import console
from eckart.terminal.options import (
    EXIT_STATUS,
    FILE,
    F,
    cluster_option,
    output_option,
    overwriting_options,
    threads_option,
    together,
)
from eckart.threads import limited_threads

T = TypeVar("T", LayerRanks, Patterns, Settings)


def _annotated(record: type) -> dict[str, tuple[Any, Option]]:
    """The types and options of the fields of some settings, by name."""
    hints = get_type_hints(record, include_extras=True)
    return {
        name: (hint.__origin__, hint.__metadata__[0])
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
    }


def _options(*records: type) -> Callable[[F], F]:
    """The options of some settings, as their fields describe them."""
    made: list[Callable[[Any], Any]] = []
    for record in records:
        defaults = {one.name: one.default for one in fields(record)}
        for name, (hint, option) in _annotated(record).items():
            kind = next((one for one in get_args(hint) if isinstance(one, type)), hint)
            told: dict[str, Any] = {"help": option.help, "metavar": option.metavar}
            if option.choices:
                choices = click.Choice(option.choices)
                told |= {"type": choices, "default": defaults[name], "show_default": True}
            elif get_origin(hint) in (tuple, Mapping):
                told |= {"multiple": True}
            elif kind is bool:
                told |= {"is_flag": True, "default": defaults[name]}
            elif option.least is not None:
                told |= {"type": click.IntRange(min=option.least), "show_default": True}
                told["default"] = defaults[name]
            elif option.parse is None:
                told |= {"type": FILE if kind is Path else kind}
            made.append(click.option(option.flag, name, **told))
    return together(*made)


def _settings(record: type[T], options: Mapping[str, Any], **more: Any) -> T:
    """The settings that the options describe."""
    given = dict(more)
    for name, (_, option) in _annotated(record).items():
        if options[name] is not None:
            given[name] = option.parse(options[name]) if option.parse else options[name]
    return record(**given)


@click.command(epilog="Example: eckart extract base tuned --rank 16 -o adapter")
@click.argument("models", metavar="BASE TUNED", nargs=-1, type=FILE)
@output_option
@_options(LayerRanks, Patterns, Settings)
@click.option("--again", type=FILE, help="Cut this adapter instead of factoring two models.")
@click.option("--plan", is_flag=True, help="Say what the job would take, and do not begin.")
@cluster_option
@click.option("--resume", is_flag=True, help="Go on with the unfinished work of an earlier run.")
@overwriting_options
@threads_option
def extract(models: tuple[Path, ...], output: Path | None, as_json: bool, **options: Any) -> int:
    """Write the change from the model BASE to its fine-tune TUNED as an adapter that PEFT loads.

    For every weight W_tuned − W_base ≈ B·A, with the error measured on the factors as they are
    stored. Changed biases and norms are taken in too; a change without a place in an adapter is
    named with its share of the whole. BASE and TUNED are folders or files, safetensors or PyTorch.
    """
    ranks, patterns = _settings(LayerRanks, options), _settings(Patterns, options)
    settings = _settings(Settings, options, ranks=ranks, patterns=patterns)
    pair = _pair(models, again=options["again"])
    if options["plan"]:
        if pair is None:
            raise ArgumentError(
                "--again needs no plan: it factors nothing.",
                hint="Leave --plan out.",
                code="option-does-not-apply",
            )
        return _show_estimate(*pair, settings, as_json=as_json)
    if output is None:
        raise ArgumentError(
            "There is no place for the adapter.",
            hint="Name a folder with --output.",
            code="no-output",
        )
    words = console.this_command()
    if pair is not None:
        document = _extract(*pair, output, settings, words, options)
    else:
        from eckart.adapters.cut_extraction import extract_again

        document = extract_again(
            options["again"], output, ranks, command=words, force=options["force"]
        )
    if as_json:
        console.answer_json("extract", document)
    else:
        show_extraction(document)
    console.note(f"Wrote {output}", quiet=options["quiet"])
    return EXIT_STATUS[document["grade"]]


def _pair(models: tuple[Path, ...], *, again: Path | None) -> tuple[Path, Path] | None:
    """The two models, or None if an adapter is to be cut instead."""
    if again is not None and not models:
        return None
    if again is None and len(models) == 2:
        return models[0], models[1]
    raise ArgumentError(
        f"{len(models)} models are given" + (" beside --again." if again else "."),
        hint="Give BASE and TUNED, or --again ADAPTER alone.",
        code="bad-usage",
    )


def _extract(
    base: Path, tuned: Path, output: Path, settings: Settings, words: str, options: dict[str, Any]
) -> Document:
    """Extract with a progress bar and return the document of the result."""
    from eckart.adapters.extract import extract
    from eckart.adapters.resume_store import ResumeStore

    try:
        with limited_threads(options["threads"]):
            result = extract(
                base,
                tuned,
                output,
                settings,
                resume=options["resume"],
                force=options["force"],
                watch=console.watching(quiet=options["quiet"]),
                command=words,
                cluster=options["cluster"],
            )
    except KeyboardInterrupt as interrupt:
        kept = ResumeStore.beside(output).folder
        said = f"Interrupted; {kept} holds what was finished: go on with --resume."
        # the command line prints the message of the interruption
        raise KeyboardInterrupt(said) from interrupt
    return result.to_dict()


def show_extraction(document: Document) -> None:
    """Print the figures of an `Extraction`; its layers are in the report only."""
    from eckart.adapters.report import MISSING, extract_table, extract_verdict, missing_rows

    console.answer_rows(extract_table(document))
    missing = missing_rows(document, 8)
    if missing:
        console.answer_table(("not covered", *MISSING[1:]), missing, aside=True)
    for sentence in (extract_verdict(document), *document["notes"]):
        console.answer_text(sentence)


def _show_estimate(base: Path, tuned: Path, settings: Settings, *, as_json: bool) -> int:
    from eckart.adapters.budget import estimate_resources
    from eckart.reporting.tables import byte_size, seconds

    document = estimate_resources(base, tuned, settings)
    if as_json:
        console.answer_json("extract", document)
        return 0
    about = "about " if document["is_guess"] else "at most "
    console.answer_rows(
        [
            ("layers that may become factors", str(document["layers"])),
            ("to be read", byte_size(document["read_bytes"])),
            ("the adapter", about + byte_size(document["adapter_bytes"])),
            ("disk while it runs", about + byte_size(document["disk_bytes"])),
            ("memory", "at most " + byte_size(document["memory_bytes"])),
            ("time", "about " + seconds(document["seconds"])),
        ]
    )
    return 0
