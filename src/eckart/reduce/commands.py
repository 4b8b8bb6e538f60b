"""`eckart reduce`."""

import shlex
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from eckart.errors import ArgumentError
from eckart.reduce import Document
from eckart.reporting.tables import byte_size, figure, plan_table, seconds, share
from eckart.terminal import console
from eckart.terminal.console import check_report, deliver
from eckart.terminal.options import (
    FILE,
    RANK,
    check_plan,
    cluster_option,
    column_names,
    plan_option,
    reported_options,
    seed_option,
)

SOLVERS = {"svd": "ExactSVD", "gram": "GramSVD", "krylov": "BlockKrylov"}
RANK_OPTIONS = ("rank", "tolerance", "variance")
FIT_OPTIONS = (*RANK_OPTIONS, "centre", "scale", "whiten", "tol", "solver", "seed", "certificate")
"""The options that are arguments of `fit_pca` of the same names."""
MOST_LINES: Final = 10
"""Rows of the table of components; of more components the last is shown beside the first."""
MOST_NAMED: Final = 3
"""Columns that are named in each of these rows."""


@click.command(epilog="Example: eckart reduce table.parquet --rank 50 -o scores.parquet")
@click.argument("table", metavar="TABLE", type=FILE)
@click.option("--rank", type=RANK, help="Number of components, or auto: those above noise.")
@click.option("--tolerance", type=float, help="The fewest components within this relative error.")
@click.option("--variance", type=float, help="The fewest components with this share of variance.")
@click.option("--centre/--no-centre", default=True, help="Whether to subtract the means.")
@click.option("--scale", is_flag=True, help="Divide the columns by their standard deviations.")
@click.option("--whiten", is_flag=True, help="Divide the scores by their standard deviations.")
@click.option("--tol", type=float, help="Residual of each component, relative to its σ².")
@click.option("--id", "ids", multiple=True, help="A column to pass through; may be repeated.")
@click.option("--color", "colour", help="A column by which the figure of the report is coloured.")
@click.option("--columns", help="Columns of numbers to keep, separated by commas.")
@click.option("--header/--no-header", default=None, help="Whether a text file has a header.")
@click.option("--index/--no-index", default=None, help="Whether the first column is an index.")
@click.option("--tensor", help="Name of the array, in a file that holds several.")
@click.option("--memory", help="Memory limit such as 500MB; the file is then read in blocks.")
@click.option("--model", type=FILE, help="Project the rows with this saved reduction.")
@click.option("--inverse", is_flag=True, help="With --model: turn scores back into rows.")
@click.option("--update", type=FILE, help="Add the rows to this saved reduction.")
@click.option(
    "--solver",
    type=click.Choice(list(SOLVERS)),
    help="svd, gram (all of WᵀW, in one pass) or krylov; chosen by the size if left out.",
)
@seed_option
@click.option(
    "--certificate/--no-certificate",
    default=True,
    help="Whether to bound the best possible error.",
)
@cluster_option
@plan_option
@reported_options
def reduce(table: Path, **options: Any) -> int:
    """Reduce a table to a few principal components, with scores, loadings and shares of variance.

    Writes the scores to --output (.parquet, .csv, .tsv, .npy), and beside it NAME.loadings with one
    row for each column of the table, and NAME.model.npz, with which new rows are projected.
    """
    # imported here, so that `--help` loads no numerical library
    from eckart.files import Selection
    from eckart.threads import limited_threads

    _check(options)
    selection = Selection(
        columns=column_names(options["columns"]),
        # each column once, in the order given
        ids=tuple(dict.fromkeys(options["ids"])),
        **{name: options[name] for name in ("colour", "header", "index", "tensor", "memory")},
    )
    check_plan(options)
    _check_paths(table, options)
    if options["plan"]:
        from eckart.reduce.parted_scores import plan_reduction

        rank = options["rank"] if isinstance(options["rank"], int) else None
        plan = plan_reduction(table, selection, options["cluster"], rank).to_dict()
        return console.answer_plan("reduce", plan, plan_table(plan), as_json=options["as_json"])
    with limited_threads(options["threads"]):
        result = _run(table, selection, options)
    console.notes(result.notes, quiet=options["quiet"])
    return deliver(
        "reduce", result, options["report"], show=_show_reduction, draw=_page,
        force=options["force"], as_json=options["as_json"], quiet=options["quiet"],
    )  # fmt: skip


def _run(table: Path, selection: Any, options: dict[str, Any]) -> Any:
    """Run the job that the options ask for."""
    from eckart.reduce.reduce import project_file, reduce_file, update_file

    output, force = _output(table, options), options["force"]
    # quoted, so that the report shows a command that can be pasted
    words = shlex.join(["eckart", *click.get_current_context().obj])
    if options["model"] is not None:
        return project_file(
            table, options["model"], output, selection,
            inverse=options["inverse"], force=force, command=words,
        )  # fmt: skip
    if options["update"] is not None:
        # without --output the saved reduction itself is replaced, as the user asked by --update
        own = options["output"] is None
        return update_file(
            table, options["update"], output, selection, force=force or own, command=words
        )
    return reduce_file(
        table,
        output,
        selection,
        force=force,
        command=words,
        watch=console.watching(quiet=options["quiet"]),
        cluster=options["cluster"],
        **{name: options[name] for name in FIT_OPTIONS},
    )


def _output(table: Path, options: dict[str, Any]) -> Path:
    """The output if none is named: beside the table, or the saved reduction that is updated."""
    if options["output"] is not None:
        return options["output"]
    if options["update"] is not None:
        return options["update"]
    suffix = table.suffix.lower() if table.suffix.lower() in (".csv", ".tsv") else ".parquet"
    word = "restored" if options["inverse"] else "scores"
    from eckart.files import beside, named_path

    return beside(table, f"{named_path(table).stem}.{word}{suffix}")


def _check(options: dict[str, Any]) -> None:
    """Refuse options that contradict each other."""
    given = [f"--{name}" for name in RANK_OPTIONS if options[name] is not None]
    saved = [f"--{name}" for name in ("model", "update") if options[name] is not None]
    if saved:
        # the given options on how components are found, which a saved reduction has already
        source = click.get_current_context().get_parameter_source
        given += [
            f"--{'no-' if options[name] is False else ''}{name}"
            for name in FIT_OPTIONS
            if name not in RANK_OPTIONS and source(name) is not ParameterSource.DEFAULT
        ]
    if saved and options["cluster"] is not None:
        raise ArgumentError(
            f"{saved[0]} is worked on here, not on a cluster.",
            hint="Leave --cluster out.",
            code="option-does-not-apply",
        )
    # an update writes no scores that these columns could accompany
    if options["update"] is not None:
        given += [f"--{name}" for name, key in (("id", "ids"), ("color", "colour")) if options[key]]
    if saved and (given or len(saved) > 1):
        raise ArgumentError(
            f"{' and '.join([*saved, *given])} do not go together.",
            hint="A saved reduction has its rank and all that it was fitted with.",
            code="option-does-not-apply",
        )
    if options["inverse"] and options["model"] is None:
        raise ArgumentError(
            "--inverse goes back with a saved reduction.",
            hint="Name it with --model.",
            code="option-does-not-apply",
        )
    if not saved and len(given) != 1:
        raise ArgumentError(
            f"{len(given) or 'None'} of {', '.join(f'--{name}' for name in RANK_OPTIONS)} "
            f"{'is' if len(given) < 2 else 'are'} given.",
            hint="Give exactly one of them.",
            code="rank-chosen-twice" if given else "rank-not-chosen",
        )


def _check_paths(table: Path, options: dict[str, Any]) -> None:
    """Refuse paths that do not exist or would be overwritten, before any work."""
    from eckart.files import Selection, check_input
    from eckart.files.registry import is_read_by_rows
    from eckart.ranks import byte_count

    if not table.exists() or not is_read_by_rows(table):
        check_input(table, Selection())
    for name in ("model", "update"):
        path = options[name]
        if path is not None and not path.exists():
            raise ArgumentError(
                f"There is no file {path}.", hint="Check the path.", code="no-such-file"
            )
    if options["memory"] is not None:
        byte_count(options["memory"])
    apart = [table, options["model"], options["update"], _output(table, options)]
    check_report(options["report"], force=options["force"], apart=apart)


def _show_reduction(document: Document) -> None:
    """Print the figures of a `Reduced`."""
    header, rows = component_rows(document)
    console.answer_table(header, rows, aside=True)
    console.answer_rows(reduce_table(document))
    console.answer_text(document["message"])


def _page(document: Document) -> str:
    from eckart.reduce.report import reduce_page

    return reduce_page(document)


def component_rows(document: Document) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows of a table of the first components, from `Reduced.to_dict()`."""
    header = ("component", "variance", "share", "together", "strongest columns")
    lines = zip(
        document["explained_variance"],
        document["explained_share"],
        document["cumulative_share"],
        document["components"],
        strict=True,
    )
    rows = [
        (f"PC{place}", f"{variance:.4g}", f"{own:.2%}", f"{together:.2%}", strongest_words(named))
        for place, (variance, own, together, named) in enumerate(lines, start=1)
    ]
    if len(rows) > MOST_LINES:
        left = len(rows) - MOST_LINES
        # the last component stays, since its cumulative share is that of all
        rows = [*rows[: MOST_LINES - 1], ("…", "", "", "", f"{left} more"), rows[-1]]
    return header, rows


def reduce_table(document: Document) -> list[tuple[str, str]]:
    """The main facts of a reduction as labels and values, from `Reduced.to_dict()`."""
    proof, (rows, columns) = document["certificate"], document["shape"]
    optimum = None if proof["gap"] is None else 1 / (1 + proof["gap"])
    table = [
        ("rows × columns", f"{rows} × {columns}"),
        ("components", str(document["rank"])),
        ("relative error", figure(proof["relative_error"])),
        ("share of the optimum", share(proof.get("share_of_optimum", optimum))),
    ]
    if document["streamed"]:
        each = byte_size(document["read_bytes"])
        table.append(("passes over the data", f"{document['passes']}, of {each} each"))
    if document["seconds"]:
        table.append(("time", seconds(document["seconds"])))
    return table


def strongest_words(named: Document) -> str:
    """The strongest columns of a component with their signs: "+height −width"."""
    pairs = zip(named["columns"][:MOST_NAMED], named["loadings"], strict=False)
    return " ".join(f"{'−' if loading < 0 else '+'}{name}" for name, loading in pairs)
