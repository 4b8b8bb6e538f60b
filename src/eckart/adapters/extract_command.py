"""`eckart extract`."""

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

rank_options = together(
    click.option(
        "--rank",
        metavar="N|noise",
        help="Rank of every layer; noise counts what rounding cannot explain.",
    ),
    click.option("--tolerance", type=float, help="Largest relative error of every layer."),
    click.option(
        "--tolerance-of",
        type=click.Choice(["delta", "W"]),
        default="delta",
        show_default=True,
        help="Reference of the tolerance.",
    ),
    click.option("--budget", help="Bytes of all factors together, such as 100MB."),
    click.option("--ratio", type=float, help="Budget as a share of the weights' bytes."),
    click.option("--relative", is_flag=True, help="Spend a budget by errors relative to ‖W‖."),
    click.option(
        "--rank-of",
        multiple=True,
        metavar="PATTERN=N",
        help="Rank of the modules that match, such as '*.q_proj=8'; 0 leaves them out.",
    ),
    click.option(
        "--min-rank", type=click.IntRange(min=0), default=0, help="Smallest rank of a layer."
    ),
    click.option("--max-rank", type=click.IntRange(min=1), help="Largest rank of a layer."),
    click.option(
        "--multiple",
        type=click.IntRange(min=1),
        default=1,
        help="Raise ranks to multiples of this number.",
    ),
)
content_options = together(
    click.option("--include", multiple=True, metavar="PATTERN", help="Take only matching tensors."),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out matching tensors."),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float16", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Dtype of the stored factors.",
    ),
    click.option(
        "--profile",
        type=click.Choice(["peft", "portable"]),
        default="peft",
        show_default=True,
        help="portable makes an adapter that vLLM and llama.cpp accept.",
    ),
    click.option(
        "--calibration", type=FILE, help="Second moments of inputs, from eckart calibrate."
    ),
    click.option("--base-name", help="Name of the base that the adapter states."),
    click.option(
        "--check/--no-check",
        default=True,
        help="Attach the adapter to the model, without its numbers, before it is written.",
    ),
    click.option(
        "--check-forward",
        is_flag=True,
        help="Run base + adapter and the fine-tune once, and say how far apart they are.",
    ),
    seed_option,
)


@click.command(epilog="Example: eckart extract base tuned --rank 16 -o adapter")
@click.argument("models", metavar="BASE TUNED", nargs=-1, type=FILE)
@output_option
@rank_options
@content_options
@click.option("--again", type=FILE, help="Cut this adapter instead of factoring two models.")
@click.option("--plan", is_flag=True, help="Say what the job would take, and do not begin.")
@click.option("--resume", is_flag=True, help="Go on with the unfinished work of an earlier run.")
@force_option
@json_option
@quiet_option
@threads_option
def extract(models: tuple[Path, ...], output: Path | None, as_json: bool, **options: Any) -> int:
    """Write the change from the model BASE to its fine-tune TUNED as an adapter that PEFT loads.

    For every weight W_tuned − W_base ≈ B·A, with the error measured on the factors as they are
    stored. Changed biases and norms are taken in too; a change without a place in an adapter is
    named with its share of the whole. BASE and TUNED are folders or files, safetensors or PyTorch.
    """
    settings = _settings(options)
    pair = _pair(models, again=options["again"])
    if options["plan"]:
        if pair is None:
            raise ArgumentError(
                "--again needs no plan: it factors nothing.",
                hint="Leave --plan out.",
                code="option-does-not-apply",
            )
        return _show_plan(*pair, settings, as_json=as_json)
    if output is None:
        raise ArgumentError(
            "There is no place for the adapter.",
            hint="Name a folder with --output.",
            code="no-output",
        )
    # quoted for a shell, so that the command in the report can be pasted
    words = shlex.join(["eckart", *click.get_current_context().obj])
    if pair is not None:
        document = _extracted(*pair, output, settings, words, options)
    else:
        from eckart.adapters.again import extract_again

        document = extract_again(
            options["again"], output, settings.ranks, command=words, force=options["force"]
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


def _extracted(
    base: Path, tuned: Path, output: Path, settings: Any, words: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Extract with a progress bar and return the document of the result."""
    from eckart.adapters.extract import extract
    from eckart.adapters.resume import ResumeStore

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
            )
    except KeyboardInterrupt as interrupt:
        kept = ResumeStore.beside(output).folder
        said = f"Interrupted; {kept} holds what was finished: go on with --resume."
        # the command line prints the message of the interruption
        raise KeyboardInterrupt(said) from interrupt
    return result.to_dict()


def show_extraction(document: dict[str, Any]) -> None:
    """Print the figures of an `Extraction`; its layers are in the report only."""
    from eckart.adapters.report import extract_table, extract_verdict, missing_rows

    console.answer_rows(extract_table(document))
    missing = missing_rows(document)
    if missing:
        # the report holds all of them
        shown = missing[:8]
        more = [(f"and {len(missing) - 8} more", "", "")] if missing[8:] else []
        console.answer_table(
            ("not covered", "share of the change", "why"), [*shown, *more], aside=True
        )
    console.answer_text(extract_verdict(document))
    for note in document["notes"]:
        console.answer_text(note)


def _settings(options: dict[str, Any]) -> Any:
    """The settings that the options describe.

    Raises:
        ArgumentError: If a rank is no whole number, or not exactly one way to choose it is given.
    """
    from eckart.adapters.choice import LayerRanks
    from eckart.adapters.coverage import Patterns
    from eckart.adapters.extract import Settings
    from eckart.ranks import byte_count

    rank = options["rank"]
    budget = options["budget"]
    ranks = LayerRanks(
        rank=_rank(rank) if rank not in (None, "noise") else rank,
        tolerance=options["tolerance"],
        budget=None if budget is None else byte_count(budget),
        ratio=options["ratio"],
        of=options["tolerance_of"],
        relative=options["relative"],
        overrides=dict(_override(text) for text in options["rank_of"]),
        least=options["min_rank"],
        most=options["max_rank"],
        multiple=options["multiple"],
    )
    return Settings(
        ranks=ranks,
        patterns=Patterns(include=options["include"], exclude=options["exclude"]),
        dtype=options["dtype"],
        profile=options["profile"],
        base_name=options["base_name"],
        seed=options["seed"],
        calibration=options["calibration"],
        check=options["check"],
        check_forward=options["check_forward"],
    )


def _override(text: str) -> tuple[str, int]:
    # the last sign: a pattern may hold one itself
    pattern, _, rank = text.rpartition("=")
    if not pattern:
        raise ArgumentError(
            f"'{text}' names no rank.", hint="Write it like '*.q_proj=8'.", code="bad-override"
        )
    return pattern, _rank(rank)


def _rank(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # raised for text, and for more digits than Python converts
        raise ArgumentError(
            f"'{text[:100]}' is not a rank.", hint="Give a whole number.", code="rank-not-whole"
        ) from None


def _show_plan(base: Path, tuned: Path, settings: Any, *, as_json: bool) -> int:
    from eckart.adapters.plan import plan_extraction
    from eckart.reporting.tables import byte_size, seconds

    document = plan_extraction(base, tuned, settings).to_dict()
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
