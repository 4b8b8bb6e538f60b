"""The commands on factors: apply, certify, compare, demo, expand and show."""

import difflib
from pathlib import Path
from typing import Any, Final

# Jobs are imported inside the commands, so that `eckart --help` loads no NumPy.
import click

from eckart.factor.factor_command import (
    SOLVERS,
    SOLVERS_LISTED,
    make_solvers,
    show_factoring,
    solver_options,
    start_file,
)
from eckart.reporting import (
    Document,
    certificate_table,
    compare_table,
    compare_verdict,
    factor_table,
)
from eckart.terminal import console
from eckart.terminal.console import check_report, deliver, wrote
from eckart.terminal.options import (
    EXIT_STATUS,
    FILE,
    POSITIVE,
    ParsedType,
    answer_options,
    json_option,
    overwriting_options,
    part_option,
    quiet_option,
    report_option,
    run_arguments,
    run_options,
    selection,
    selection_options,
    threads_option,
)
from eckart.threads import limited_threads


@click.command(epilog="Example: eckart apply W.factors.npz X.csv -o Y.csv")
@click.argument("factors", metavar="FACTORS", type=FILE)
@click.argument("data", metavar="X", type=FILE)
@click.option("--transpose", is_flag=True, help="Multiply by (B·A)ᵀ instead.")
@part_option
@selection_options
@answer_options
def apply(factors: Path, data: Path, as_json: bool, quiet: bool, **options: Any) -> int:
    """Multiply factors with the matrix in the file X: B·(A·X), without forming B·A.

    X has as many rows as W has columns; with --transpose, as many as W has rows. Writes
    X.applied.npy, or any matrix format with --output.
    """
    from eckart.factor.stored import multiply
    from eckart.files import beside, named_path

    stem = named_path(data).name.split(".")[0]
    target = options["output"] or beside(data, f"{stem}.applied.npy")
    own = {name: options[name] for name in ("part", "transpose", "force")}
    result = multiply(factors, data, target, selection(options), **own)
    console.notes(result.notes, quiet=quiet)
    return wrote("apply", result, target, as_json=as_json, quiet=quiet)


@click.command(epilog="Example: eckart certify W.npy W.factors.npz --accuracy 0.001")
@click.argument("matrix", metavar="W", type=FILE)
@click.argument("factors", metavar="FACTORS", type=FILE)
@click.option("--accuracy", type=POSITIVE, help="Largest certified gap to accept, 0.001 for 0.1 %.")
@selection_options
@json_option
@quiet_option
@threads_option
def certify(matrix: Path, factors: Path, as_json: bool, quiet: bool, **options: Any) -> int:
    """Say how far factors, from any program, are from W and from the best of their rank.

    With --accuracy, the exit status is 3 if the gap is above it or cannot be bounded.
    """
    from eckart.factor.stored import prove

    with limited_threads(options["threads"]):
        document, notes = prove(matrix, factors, selection(options))
    console.notes(notes, quiet=quiet)
    if as_json:
        console.answer_json("certify", document)
    else:
        console.answer_rows(certificate_table(document))
    accuracy, gap = options["accuracy"], document["gap"]
    # a gap that nothing bounds may be any, so it meets no target
    short = accuracy is not None and (gap is None or gap > accuracy)
    return EXIT_STATUS["short" if short else "success"]


def _solvers(text: str) -> tuple[str, ...]:
    """The names of solvers, in the given order."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError(f"No solver is named: give some of {', '.join(SOLVERS)}.")
    for place, name in enumerate(names):
        if name not in SOLVERS:
            # a misspelled name is answered with the nearest one
            near = difflib.get_close_matches(name, SOLVERS, n=1)
            known = f"the nearest is {near[0]}" if near else f"there are {', '.join(SOLVERS)}"
            raise ValueError(f"There is no solver {name}: {known}.")
        if name in names[:place]:
            raise ValueError(f"{name} is named twice.")
    return names


@click.command(
    epilog="Example: eckart compare W.npy --solvers svd,krylov,gd --rank 20 --report compare.html"
)
@click.argument("matrix", metavar="W", type=FILE)
@click.option(
    "--solvers",
    type=ParsedType("name,name,…", _solvers),
    required=True,
    help=f"Solvers to run, in this order: {SOLVERS_LISTED}.",
)
@click.option("--rank", type=click.IntRange(min=1), required=True, help="Columns of every B.")
@solver_options
@run_options
@part_option
@selection_options
@report_option
@overwriting_options
@threads_option
def compare(matrix: Path, report: Path | None, as_json: bool, **options: Any) -> int:
    """Factor the matrix in the file W with several solvers at one rank, and compare them.

    All solvers have the same seed, and those that begin at given factors have the same start. An
    option of a solver applies to each named solver that has it. Writes no factors; --report draws
    the losses in one figure.
    """
    chosen = selection(options)
    solvers, start = make_solvers(options["solvers"], options)
    from eckart.files import check_input, choose_part, read_parts

    check_input(matrix, chosen)
    check_report(report, force=options["force"], apart=[matrix, start_file(options)])
    with limited_threads(options["threads"]):
        contents = read_parts(matrix, chosen)
        console.notes(contents.notes, quiet=options["quiet"])
        part = choose_part({one.name: one for one in contents.parts}, options["part"], matrix)
        from eckart.factor.compare import compare_solvers

        result = compare_solvers(
            part,
            str(matrix),
            options["rank"],
            solvers,
            start=start,
            **run_arguments(options),
            command=console.this_command(),
            watch=console.watching(quiet=options["quiet"]),
        )
    return deliver(
        "compare", result, report, show=_show_comparison, draw=_page,
        force=options["force"], as_json=as_json, quiet=options["quiet"],
    )  # fmt: skip


def _show_comparison(document: Document) -> None:
    """Print the figures of a `Comparison`."""
    header, rows = compare_table(document)
    console.answer_table(header, rows, aside=True)
    for run in document["runs"]:
        if run["grade"] != "success":
            console.answer_text(f"{run['name']}: {run['message']}")
    console.answer_text(compare_verdict(document))


def _page(document: Document) -> str:
    from eckart.factor.report import compare_page

    return compare_page(document)


@click.command()
@click.option(
    "-o", "--output", type=FILE, default=Path("demo"), show_default=True, help="Folder to write to."
)
@overwriting_options
def demo(output: Path, force: bool, as_json: bool, quiet: bool) -> int:
    """Factor the worked example by gradient descent and a photograph, each with a report.

    The photograph comes with scikit-image: pip install 'eckart[demo]'.
    """
    from eckart.factor.demo import run_demo

    results = run_demo(output, force=force, watch=console.watching(quiet=quiet))
    reports = {name: str((output / f"{name}.html").resolve()) for name in results}
    documents = {name: result.to_dict() for name, result in results.items()}
    if as_json:
        console.answer_json("demo", {"runs": documents, "reports": reports})
    else:
        for name, document in documents.items():
            console.answer_text(f"\n{TITLES[name]}")
            show_factoring(document)
        console.answer_text("\nThe reports, to open in a browser:")
        for path in reports.values():
            console.answer_text(f"  {path}")
    # the status of the worse of the two runs
    return max(EXIT_STATUS[result.grade] for result in results.values())


TITLES = {
    "article": "The worked example: a 4 × 4 matrix, rank 2, gradient descent",
    "photograph": "A photograph: 512 × 512 pixels in three colours, within 10 % of the original",
}
"""Headings of the two runs of the demonstration in the terminal."""


@click.command(epilog="Example: eckart expand W.factors.npz -o W2.csv")
@click.argument("factors", metavar="FACTORS", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Where to write the matrix.")
@part_option
@overwriting_options
def expand(
    factors: Path, output: Path, part: str | None, force: bool, as_json: bool, quiet: bool
) -> int:
    """Write B·A out as a matrix, in the format of the output's suffix.

    The channels of a picture are written into one .png or .jpg.
    """
    from eckart.files.factor_files import expand

    result = expand(factors, output, part=part, force=force)
    return wrote("expand", result, output, as_json=as_json, quiet=quiet)


WRONG: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""Errors that reading a document raises if eckart did not write it so."""


@click.command(epilog="Example: eckart show examples/article_start.npz")
@click.argument("factors", metavar="FACTORS", type=FILE)
@json_option
def show(factors: Path, as_json: bool) -> int:
    """Describe a file of factors: parts, shapes, bytes, and how they were made."""
    from eckart.factor.stored import describe
    from eckart.files.factor_files import other_document

    result = describe(factors)
    try:
        made = _made_by(result["made_by"]) if result["made_by"] else None
        if as_json:
            console.answer_json("show", result)
            return 0
    except WRONG as error:  # JSON fails too: a foreign document may hold NaN
        raise other_document(factors) from error
    header = ("part", "rows × columns", "rank", "dtype", "bytes", "largest singular values")
    rows = [_row(part) for part in result["parts"]]
    console.answer_table(header, rows)
    if made is not None:
        command, figures, messages = made
        console.answer_text(f"Made by: {command}")
        console.answer_rows(figures)
        for message in messages:
            console.answer_text(message)
    return 0


def _made_by(made: Document) -> tuple[str, list[tuple[str, str]], list[str]]:
    """The command, the figures and the messages of the run that wrote the factors."""
    messages = [f"{part['name']}: {part['message']}".removeprefix(": ") for part in made["parts"]]
    return str(made.get("command") or made["source"]), factor_table(made), messages


def _row(part: Document) -> tuple[str, ...]:
    rows, columns = part["shape"]
    values = "  ".join(f"{value:.4g}" for value in part["singular_values"][:4])
    more = " …" if len(part["singular_values"]) > 4 else ""
    return (
        part["name"] or "(no name)",
        f"{rows} × {columns}",
        str(part["rank"]),
        part["dtype"],
        f"{part['bytes']:,}",
        values + more,
    )
