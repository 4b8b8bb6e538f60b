"""`eckart truncate`."""

from pathlib import Path

import click

from eckart.cli import console
from eckart.cli.options import (
    FILE,
    force_option,
    json_option,
    output_option,
    quiet_option,
)


@click.command(epilog="Example: eckart truncate W.factors.npz --rank 1 -o W.rank1.npz")
@click.argument("factors", metavar="FACTORS", type=FILE)
@click.option("--rank", type=click.IntRange(min=1), required=True, help="Columns of B to keep.")
@output_option
@force_option
@json_option
@quiet_option
def command(
    factors: Path,
    rank: int,
    output: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Reduce factors to a smaller rank, by the singular value decomposition of B·A.

    Writes FACTORS.rankR beside the input, or to --output; W is not needed.
    """
    from eckart.jobs.reshape import truncate

    stem = factors.name.removesuffix(factors.suffix)
    target = output or factors.with_name(f"{stem}.rank{rank}{factors.suffix}")
    result = truncate(factors, target, rank, force=force)
    if as_json:
        console.answer_json("truncate", result.to_dict())
    else:
        console.answer_text(result.sentence())
    console.note(f"Wrote {target}", quiet=quiet)
    return 0
