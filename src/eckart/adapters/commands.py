"""The commands on adapters: calibrate, compare-adapters, join, merge, truncate and verify."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

# Jobs are imported inside the commands, so that `eckart --help` loads no NumPy.
import click

from eckart.errors import ArgumentError
from eckart.terminal import console
from eckart.terminal.console import check_report, deliver, wrote
from eckart.terminal.options import (
    EXIT_STATUS,
    FILE,
    WEIGHTS,
    json_option,
    output_option,
    overwriting_options,
    quiet_option,
    report_option,
    seed_option,
    threads_option,
    writing_options,
)
from eckart.threads import limited_threads


@click.command(epilog="Example: eckart calibrate model texts.txt -o activations.safetensors")
@click.argument("model", metavar="MODEL", type=FILE)
@click.argument("texts", metavar="TEXTS", type=FILE)
@output_option
@click.option(
    "--length",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Most tokens of a text.",
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Take only modules that match.")
@overwriting_options
def calibrate(
    model: Path, texts: Path, output: Path | None, as_json: bool, quiet: bool, **options: Any
) -> int:
    """Run MODEL over TEXTS, one in each line, and write the second moments of its layers' inputs.

    The file is the input of `eckart extract --calibration`. Needs PyTorch and transformers.
    """
    target = output or Path("activations.safetensors")
    if target.suffix != ".safetensors":
        raise ArgumentError(
            f"Moments are a .safetensors file, not {target}.",
            hint=f"Write them to {target.stem.strip('.') or 'activations'}.safetensors.",
            code="unknown-suffix",
        )
    if not texts.is_file():
        raise ArgumentError(
            f"There is no file {texts}.", hint="Check the path.", code="no-such-file"
        )
    from eckart.adapters.calibrate import calibrate

    result = calibrate(model, texts, target, **options, watch=console.watching(quiet=quiet))
    return wrote("calibrate", result, target, as_json=as_json, quiet=quiet)


@click.command(
    "compare-adapters",
    epilog="Example: eckart compare-adapters adapter/ other/ --delta base/ tuned/ --report c.html",
)
@click.argument("adapters", metavar="ADAPTER...", type=FILE, nargs=-1, required=True)
@click.option(
    "--delta",
    type=FILE,
    nargs=2,
    metavar="BASE TUNED",
    help="A base and its fine-tune, with whose change the adapters are compared too.",
)
@report_option
@seed_option
@overwriting_options
@threads_option
def compare_adapters(
    adapters: tuple[Path, ...], delta: tuple[Path, Path] | None, report: Path | None, **options: Any
) -> int:
    """Compare adapters of one model with the first of them, layer by layer.

    Shows the difference, the cosine, the principal angles and the energy of each in the spaces of
    the first. With --delta also the error of each beside the best possible error of its rank; the
    exit status is 1 if an adapter changes what the models do not have.
    """
    check_report(report, force=options["force"], apart=[*adapters, *(delta or ())])
    from eckart.adapters.compare import compare_adapters

    quiet, (base, tuned) = options["quiet"], delta or (None, None)
    with limited_threads(options["threads"]):
        result = compare_adapters(
            adapters,
            base=base,
            tuned=tuned,
            seed=options["seed"],
            watch=console.watching(quiet=quiet),
        )
    console.notes(result.notes, quiet=quiet)
    return deliver(
        "compare-adapters", result, report, show=_show_comparison, draw=_comparison_page,
        force=options["force"], as_json=options["as_json"], quiet=quiet,
    )  # fmt: skip


def _show_comparison(document: dict[str, Any]) -> None:
    """Print the layers of every pair of adapters, and of each adapter beside the models."""
    from eckart.adapters.compare_report import LEARNT, PAIR, learnt_rows, missed_rows, pair_rows

    for pair in document["pairs"]:
        title = f"{pair['first']} and {pair['other']}"
        console.answer_table(PAIR, pair_rows(pair), title=title)
    for one in document["learnt"]:
        title = f"{one['adapter']} and the change"
        console.answer_table(LEARNT, learnt_rows(one), title=title)
        missed = missed_rows(one, 20)
        if missed:
            header = (f"not in {one['adapter']}", "of the change", "why")
            console.answer_table(header, missed, aside=True)
    for one in (*document["pairs"], *document["learnt"]):
        console.answer_text(one["message"])


def _comparison_page(document: dict[str, Any]) -> str:
    from eckart.adapters.compare_report import comparison_page

    return comparison_page(document, console.this_command())


@click.command(epilog="Example: eckart join adapter/ other/ --weights 0.7,0.3 -o joined/")
@click.argument("adapters", metavar="ADAPTER...", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Folder of the new adapter.")
@click.option("--weights", type=WEIGHTS, required=True, help="One weight for each adapter.")
@click.option(
    "--rank", type=click.IntRange(min=1), help="Largest rank.  [default: the sum of the ranks]"
)
@writing_options
@threads_option
def join(adapters: tuple[Path, ...], output: Path, rank: int | None, **options: Any) -> int:
    """Join adapters of one model into one whose change is the weighted sum of theirs.

    The sum is exact without --rank and the best of that rank with it. The model is not needed.
    """
    from eckart.adapters.join_and_truncate import join_adapters

    return _write("join", join_adapters, adapters, out=output, rank=rank, **options)


@click.command(epilog="Example: eckart merge base/ adapter/ other/ --weights 0.7,0.3 -o merged/")
@click.argument("base", metavar="BASE", type=FILE)
@click.argument("adapters", metavar="ADAPTER...", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Folder of the merged model.")
@click.option("--weights", type=WEIGHTS, help="Weight of each adapter.  [default: 1 each]")
@writing_options
@threads_option
def merge(base: Path, adapters: tuple[Path, ...], output: Path, **options: Any) -> int:
    """Write the model BASE with W + weight·B·A in the place of every weight W of the adapters.

    Works on one tensor at a time, in the dtype of the base, and copies its config and tokenizer.
    """
    from eckart.adapters.merge import merge_adapters

    watch = console.watching(quiet=options["quiet"])
    return _write("merge", merge_adapters, base, adapters, out=output, watch=watch, **options)


@click.command(epilog="Example: eckart truncate W.factors.npz --rank 1 -o W.rank1.npz")
@click.argument("factors", metavar="FACTORS|ADAPTER", type=FILE)
@click.option("--rank", type=click.IntRange(min=1), help="Columns of B to keep.")
@click.option("--budget", help="Bytes of an adapter, such as 50MB, spent where they count most.")
@output_option
@writing_options
def truncate(
    factors: Path, rank: int | None, budget: str | None, output: Path | None, **options: Any
) -> int:
    """Reduce factors to a smaller rank, by the singular value decomposition of B·A.

    A folder with adapter_config.json is an adapter: each of its layers is cut to --rank, or all of
    them to one --budget. Writes FACTORS.rankR beside the input, or to --output. W is not needed.
    """
    from eckart.files import beside, named_path

    # PEFT loads no adapter without this file
    if (factors / "adapter_config.json").is_file():
        from eckart.adapters.join_and_truncate import truncate_adapter
        from eckart.ranks import byte_count

        target = output or beside(factors, f"{named_path(factors).name}.{budget or f'rank{rank}'}")
        most = None if budget is None else byte_count(budget)
        return _write(
            "truncate", truncate_adapter, factors, out=target, rank=rank, budget=most, **options
        )
    if rank is None or budget is not None or options["dtype"] != "same":
        raise ArgumentError(
            f"{factors} is no adapter, so it is cut by --rank alone.",
            hint="Give --rank, without --budget and --dtype.",
            code="rank-not-chosen" if rank is None else "option-does-not-apply",
        )
    from eckart.files.factor_files import truncate

    # a folder has no suffix: a dot is part of its name
    name, suffix = named_path(factors).name, "" if factors.is_dir() else factors.suffix
    target = output or beside(factors, f"{name.removesuffix(suffix)}.rank{rank}{suffix}")
    result = truncate(factors, target, rank, force=options["force"])
    as_json, quiet = options["as_json"], options["quiet"]
    return wrote("truncate", result, target, as_json=as_json, quiet=quiet)


def _write(
    command: str,
    job: Callable[..., Any],
    *sources: Any,
    out: Path,
    dtype: str,
    as_json: bool,
    quiet: bool,
    threads: int | None = None,
    **options: Any,
) -> int:
    """Run a job that writes weights made from others, and say what it wrote."""
    with limited_threads(threads):
        result = job(*sources, out=out, dtype=None if dtype == "same" else dtype, **options)
    console.notes(getattr(result, "notes", ()), quiet=quiet)
    return wrote(command, result, out, as_json=as_json, quiet=quiet)


@click.command(epilog="Example: eckart verify adapter/ base/ tuned/ --tolerance 0.05")
@click.argument("adapter", metavar="ADAPTER", type=FILE)
@click.argument("base", metavar="BASE", type=FILE)
@click.argument("tuned", metavar="TUNED", type=FILE)
@click.option(
    "--tolerance", type=float, help="Largest relative error to accept, of layers and of the whole."
)
@json_option
@quiet_option
@threads_option
def verify(
    adapter: Path, base: Path, tuned: Path, as_json: bool, quiet: bool, **options: Any
) -> int:
    """Compare the adapter in a folder, eckart's or PEFT's, with the change from BASE to TUNED.

    The exit status is 0 if the adapter fits, and 1 if names, shapes or values contradict the models
    or an error is larger than eckart recorded. With --tolerance, a larger error gives 3.
    """
    from eckart.adapters.verify import verify_adapter

    watch, tolerance = console.watching(quiet=quiet), options["tolerance"]
    with limited_threads(options["threads"]):
        result = verify_adapter(adapter, base, tuned, tolerance=tolerance, watch=watch)
    console.notes(result.notes, quiet=quiet)
    document = result.to_dict()
    if as_json:
        console.answer_json("verify", document)
    else:
        from eckart.adapters.report import HEADER, change_rows, verify_rows, verify_verdict

        console.answer_table(HEADER, verify_rows(document))
        missing = change_rows(document["uncovered"], 20)
        if missing:
            header = ("not in the adapter", "of the change", "why")
            console.answer_table(header, missing, aside=True)
        for sentence in verify_verdict(document):
            console.answer_text(sentence)
    return EXIT_STATUS[result.grade]
