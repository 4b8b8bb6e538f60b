"""`eckart expand`."""

from pathlib import Path

import click

from eckart.cli.answers import wrote
from eckart.cli.options import FILE, force_option, json_option, part_option, quiet_option


@click.command(epilog="Example: eckart expand W.factors.npz -o W2.csv")
@click.argument("factors", metavar="FACTORS", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Where to write the matrix.")
@part_option
@force_option
@json_option
@quiet_option
def expand(
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
    return wrote("expand", result, output, as_json=as_json, quiet=quiet)
