"""`eckart compare`."""

import difflib
import shlex
from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.answers import check_report, deliver
from eckart.cli.options import (
    FILE,
    force_option,
    json_option,
    part_option,
    quiet_option,
    report_option,
    run_arguments,
    run_options,
    selection,
    selection_options,
    threads_option,
)
from eckart.cli.solvers import SOLVERS, listed, make_solvers, solver_options, start_file
from eckart.threads import limited_threads


class SolversType(click.ParamType[tuple[str, ...]]):
    """Names of solvers, separated by commas, each once."""

    name = "name,name,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names, in the order given."""
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if not names:
            self.fail(f"No solver is named: give some of {', '.join(SOLVERS)}.", param, ctx)
        for place, name in enumerate(names):
            if name not in SOLVERS:
                near = difflib.get_close_matches(name, SOLVERS, n=1)
                known = f"the nearest is {near[0]}" if near else f"there are {', '.join(SOLVERS)}"
                self.fail(f"There is no solver {name}: {known}.", param, ctx)
            if name in names[:place]:
                self.fail(f"{name} is named twice.", param, ctx)
        return names


@click.command(
    epilog="Example: eckart compare W.npy --solvers svd,krylov,gd --rank 20 --report compare.html"
)
@click.argument("matrix", metavar="W", type=FILE)
@click.option(
    "--solvers",
    type=SolversType(),
    required=True,
    help=f"Which to run, in this order: {listed()}.",
)
@click.option("--rank", type=click.IntRange(min=1), required=True, help="Columns of every B.")
@solver_options
@run_options
@part_option
@selection_options
@report_option
@force_option
@json_option
@quiet_option
@threads_option
def compare(matrix: Path, report: Path | None, as_json: bool, **options: Any) -> int:
    """Factor the matrix in the file W with several solvers at one rank, beside one another.

    All have the same seed and, where they begin at given factors, the same start. An option of a
    solver is for each of the named ones that has it. Writes no factors; --report draws the losses
    over one another.
    """
    chosen = selection(options["header"], options["index"], options["columns"], options["tensor"])
    solvers, start = make_solvers(options["solvers"], options)
    from eckart.storage import check_input, choose_part, read_parts

    check_input(matrix, chosen)
    check_report(report, force=options["force"], apart=[matrix, start_file(options)])
    with limited_threads(options["threads"]):
        contents = read_parts(matrix, chosen)
        console.notes(contents.notes, quiet=options["quiet"])
        part = choose_part({one.name: one for one in contents.parts}, options["part"], matrix)
        from eckart.jobs.compare import compare_solvers

        result = compare_solvers(
            part,
            str(matrix),
            options["rank"],
            solvers,
            start=start,
            **run_arguments(options),
            command=shlex.join(["eckart", *click.get_current_context().obj]),
            watch=lambda solver: console.progress(
                getattr(solver, "epochs", None), quiet=options["quiet"]
            ),
        )
    return deliver(
        "compare", result, report, show=_show_comparison, draw=_page,
        force=options["force"], as_json=as_json, quiet=options["quiet"],
    )  # fmt: skip


def _show_comparison(document: dict[str, Any]) -> None:
    """The figures of a `Comparison` for a person."""
    from eckart.reports import compare_table, compare_verdict

    header, rows = compare_table(document)
    console.answer_table(header, rows, aside=True)
    for run in document["runs"]:
        if run["grade"] != "success":
            console.answer_text(f"{run['name']}: {run['message']}")
    console.answer_text(compare_verdict(document))


def _page(document: dict[str, Any]) -> str:
    from eckart.reports import compare_page

    return compare_page(document)
