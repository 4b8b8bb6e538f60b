"""`eckart certify`."""

from pathlib import Path

import click

from eckart.cli import console
from eckart.cli.options import (
    EXIT_STATUS,
    FILE,
    PositiveType,
    json_option,
    quiet_option,
    selection,
    selection_options,
    threads_option,
)
from eckart.threads import limited_threads


@click.command(epilog="Example: eckart certify W.npy W.factors.npz --accuracy 0.001")
@click.argument("matrix", metavar="W", type=FILE)
@click.argument("factors", metavar="FACTORS", type=FILE)
@click.option(
    "--accuracy", type=PositiveType(), help="Largest certified gap to accept, 0.001 for 0.1 %."
)
@selection_options
@json_option
@quiet_option
@threads_option
def certify(
    matrix: Path,
    factors: Path,
    accuracy: float | None,
    as_json: bool,
    quiet: bool,
    threads: int | None,
    header: bool | None,
    index: bool | None,
    columns: str | None,
    tensor: str | None,
) -> int:
    """Say how far factors, from any program, are from W and from the best of their rank.

    With --accuracy, a gap above it, or one that cannot be bounded, is exit 3.
    """
    from eckart.jobs.prove import prove

    with limited_threads(threads):
        proof = prove(matrix, factors, selection(header, index, columns, tensor))
    console.notes(proof.notes, quiet=quiet)
    document = proof.to_dict()
    if as_json:
        console.answer_json("certify", document)
    else:
        from eckart.reports import certificate_table

        console.answer_rows(certificate_table(document))
    gap = document["gap"]
    short = accuracy is not None and (gap is None or gap > accuracy)
    return EXIT_STATUS["short" if short else "success"]
