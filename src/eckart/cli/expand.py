"""`eckart expand`."""

from pathlib import Path

import click

from eckart.cli import console
from eckart.cli.options import FILE, force_option, json_option, part_option, quiet_option


@click.command(epilog="Example: eckart expand W.factors.npz -o W2.csv")
@click.argument("factors", metavar="FACTORS", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Where to write the matrix.")
@part_option
@force_option
@json_option
@quiet_option
def command(
    factors: Path,
    output: Path,
    part: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Write B·A out as a matrix, in the format of the output's suffix.

    The channels of a picture go into a .png or .jpg together.
    """
    from eckart.jobs.reshape import expand

    result = expand(factors, output, part=part, force=force)
    if as_json:
        console.answer_json("expand", result.to_dict())
    else:
        console.answer_text(result.sentence())
    console.note(f"Wrote {output}", quiet=quiet)
    return 0
