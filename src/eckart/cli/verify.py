"""`eckart verify`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.options import EXIT_STATUS, FILE, json_option, quiet_option, threads_option
from eckart.threads import limited_threads


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
    adapter: Path,
    base: Path,
    tuned: Path,
    tolerance: float | None,
    as_json: bool,
    quiet: bool,
    threads: int | None,
) -> int:
    """Hold the adapter in a folder, eckart's or PEFT's, against the change from BASE to TUNED.

    Exit 0 if it fits, 1 if it does not: names, shapes or values contradict the models, or an error
    is larger than eckart recorded. With --tolerance, a larger error is exit 3.
    """
    from eckart.jobs.verify import verify_adapter

    watch = partial(console.tensor_progress, quiet=quiet, verb="Verifying")
    with limited_threads(threads):
        result = verify_adapter(adapter, base, tuned, tolerance=tolerance, watch=watch)
    console.notes(result.notes, quiet=quiet)
    document = result.to_dict()
    if as_json:
        console.answer_json("verify", document)
    else:
        _show(document)
    return EXIT_STATUS[result.grade]


def _show(document: dict[str, Any]) -> None:
    from eckart.reports import VERIFY_HEADER, uncovered_rows, verify_rows, verify_verdict

    console.answer_table(VERIFY_HEADER, verify_rows(document))
    missing = uncovered_rows(document)
    if missing:
        header = ("not in the adapter", "of the change", "why")
        console.answer_table(header, missing, aside=True)
    for sentence in verify_verdict(document):
        console.answer_text(sentence)
