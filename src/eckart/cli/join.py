"""`eckart join`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli.answers import wrote
from eckart.cli.options import (
    FILE,
    WeightsType,
    threads_option,
    writing_options,
)
from eckart.threads import limited_threads


@click.command(epilog="Example: eckart join adapter/ other/ --weights 0.7,0.3 -o joined/")
@click.argument("adapters", metavar="ADAPTER...", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Folder of the new adapter.")
@click.option("--weights", type=WeightsType(), required=True, help="One for each adapter.")
@click.option(
    "--rank", type=click.IntRange(min=1), help="Most columns of B.  [default: the sum of the ranks]"
)
@writing_options
@threads_option
def join(
    adapters: tuple[Path, ...],
    output: Path,
    weights: tuple[float, ...],
    rank: int | None,
    dtype: Any,
    force: bool,
    as_json: bool,
    quiet: bool,
    threads: int | None,
) -> int:
    """Join adapters of one model into one whose change is the weighted sum of theirs.

    Exact without --rank, and else the best of that rank; the model is not needed.
    """
    from eckart.jobs.join import join_folders

    with limited_threads(threads):
        result = join_folders(
            adapters,
            weights,
            output,
            rank=rank,
            dtype=None if dtype == "same" else dtype,
            force=force,
        )
    return wrote("join", result, output, as_json=as_json, quiet=quiet)
