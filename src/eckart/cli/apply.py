"""`eckart apply`."""

from pathlib import Path

import click

from eckart.cli import console
from eckart.cli.options import (
    FILE,
    force_option,
    json_option,
    output_option,
    part_option,
    quiet_option,
    selection,
    selection_options,
)


@click.command(epilog="Example: eckart apply W.factors.npz X.csv -o Y.csv")
@click.argument("factors", metavar="FACTORS", type=FILE)
@click.argument("data", metavar="X", type=FILE)
@click.option("--transpose", is_flag=True, help="Multiply by (B·A)ᵀ instead.")
@part_option
@selection_options
@output_option
@force_option
@json_option
@quiet_option
def apply(
    factors: Path,
    data: Path,
    transpose: bool,
    part: str | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    header: bool | None,
    index: bool | None,
    columns: str | None,
    tensor: str | None,
) -> int:
    """Multiply factors with the matrix in the file X: B·(A·X), without forming B·A.

    X has as many rows as W has columns (with --transpose: as W has rows). Writes X.applied.npy, or
    any matrix format with --output.
    """
    from eckart.jobs.multiply import multiply
    from eckart.storage import beside, named_path

    target = output or beside(data, f"{named_path(data).name.split('.')[0]}.applied.npy")
    chosen = selection(header, index, columns, tensor)
    result = multiply(factors, data, target, chosen, part=part, transpose=transpose, force=force)
    console.notes(result.notes, quiet=quiet)
    if as_json:
        console.answer_json("apply", result.to_dict())
    else:
        rows, columns_out = result.shape
        console.answer_text(f"{rows} × {columns_out} in {result.seconds:.3g} s")
    console.note(f"Wrote {target}", quiet=quiet)
    return 0
