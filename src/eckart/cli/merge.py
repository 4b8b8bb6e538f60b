"""`eckart merge`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.answers import wrote
from eckart.cli.options import (
    FILE,
    WeightsType,
    threads_option,
    writing_options,
)
from eckart.threads import limited_threads


@click.command(epilog="Example: eckart merge base/ adapter/ other/ --weights 0.7,0.3 -o merged/")
@click.argument("base", metavar="BASE", type=FILE)
@click.argument("adapters", metavar="ADAPTER...", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Folder of the merged model.")
@click.option("--weights", type=WeightsType(), help="One for each adapter.  [default: 1 for each]")
@writing_options
@threads_option
def merge(
    base: Path,
    adapters: tuple[Path, ...],
    output: Path,
    weights: tuple[float, ...] | None,
    dtype: Any,
    force: bool,
    as_json: bool,
    quiet: bool,
    threads: int | None,
) -> int:
    """Write the model BASE with W + weight·B·A in the place of every weight W of the adapters.

    One tensor at a time, in the dtype of the base; its config and tokenizer go along.
    """
    from eckart.jobs.merge import merge_adapters

    with limited_threads(threads):
        result = merge_adapters(
            base,
            adapters,
            output,
            weights=weights,
            dtype=None if dtype == "same" else dtype,
            force=force,
            watch=partial(console.tensor_progress, quiet=quiet, verb="Merging"),
        )
    console.notes(result.notes, quiet=quiet)
    return wrote("merge", result, output, as_json=as_json, quiet=quiet)
