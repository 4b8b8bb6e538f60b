"""`eckart factor`."""

import shlex
from pathlib import Path
from typing import Any

# Jobs are imported inside the command, so that `eckart --help` loads no NumPy.
import click

from eckart.factor.solvers import SOLVERS, listed, make_solvers, solver_options, start_file
from eckart.terminal import console
from eckart.terminal.answers import check_report, deliver
from eckart.terminal.options import (
    FILE,
    force_option,
    json_option,
    output_option,
    quiet_option,
    rank_options,
    report_option,
    run_arguments,
    run_options,
    selection,
    selection_options,
    threads_option,
)
from eckart.threads import limited_threads


@click.command(
    epilog="Example: eckart factor examples/article.csv --rank 2 --solver gd --report article.html"
)
@click.argument("matrix", metavar="W", type=FILE)
@rank_options
@click.option(
    "--solver",
    type=click.Choice(list(SOLVERS)),
    help=f"{listed()}.  [default: svd, krylov for large matrices]",
)
@solver_options
@run_options
@selection_options
@output_option
@report_option
@force_option
@json_option
@quiet_option
@threads_option
def factor(matrix: Path, report: Path | None, as_json: bool, **options: Any) -> int:
    """Factor the matrix in the file W into B (rows × rank) and A (rank × columns), W ≈ B·A.

    Reads .npy, .npz, .csv, .tsv, .parquet, .mtx, .mtx.gz, .safetensors, .png and .jpg; writes
    W.factors.npz, or .npz, .safetensors or a folder of .csv with --output. Without an option that
    chooses the rank it shows the singular values and suggests a rank.
    """
    chosen = selection(options["header"], options["index"], options["columns"], options["tensor"])
    named = options["solver"]
    solvers, start = make_solvers([named] if named else [], options)
    solver = solvers.get(named)
    choice = _rank_choice(options)
    from eckart.files import check_input, read_parts

    check_input(matrix, chosen)
    output = options["output"] or default_output(matrix)
    read = [matrix, start_file(options)]
    if choice is not None:
        _check_paths(read, output, report, force=options["force"])
    with limited_threads(options["threads"]):
        contents = read_parts(matrix, chosen)
        console.notes(contents.notes, quiet=options["quiet"])
        if choice is None:
            return show_spectrum(contents.parts, matrix, as_json=as_json)
        from eckart.factor.factor import factor_parts

        result = factor_parts(
            contents.parts,
            matrix,
            output,
            choice,
            solver=solver,
            start=start,
            **run_arguments(options),
            force=options["force"],
            command=shlex.join(["eckart", *click.get_current_context().obj]),
            watch=console.watching(quiet=options["quiet"]),
        )
    return deliver(
        "factor", result, report, show=show_factoring, draw=_page,
        force=options["force"], as_json=as_json, quiet=options["quiet"],
    )  # fmt: skip


def default_output(matrix: Path) -> Path:
    """The default path of the factors, beside the input.

    Example:
        >>> default_output(Path("W.mtx.gz")).name
        'W.factors.npz'
    """
    from eckart.files import beside, named_path

    name = named_path(matrix).name
    # W.mtx.gz has two suffixes; the 5 of W.5.csv is part of the name
    for suffix in reversed(matrix.suffixes[-2:]):
        if suffix.lower() in (".gz", matrix.suffix.lower(), ".mtx"):
            name = name.removesuffix(suffix)
    return beside(matrix, f"{name}.factors.npz")


def _check_paths(
    read: list[Path | None], output: Path, report: Path | None, *, force: bool
) -> None:
    """Refuse outputs that cannot be written, before any work."""
    from eckart.files import check_factor_output

    check_factor_output(output, force=force, inputs=read)
    check_report(report, force=force, apart=[*read, output])


def _rank_choice(options: dict[str, Any]) -> Any:
    """The choice of the rank by the options, or None if no option chooses it."""
    ways = {name: options[name] for name in ("rank", "tolerance", "budget", "ratio")}
    given = [name for name, value in ways.items() if value is not None]
    if not given:
        return None
    from eckart.factor.factor import RankChoice
    from eckart.ranks import rank_rule

    rank_rule(*ways.values(), nbytes=1)  # for its errors alone, before the matrix is read
    return RankChoice(**ways)


def show_factoring(document: dict[str, Any]) -> None:
    """Print the figures of a `Factoring`."""
    from eckart.reporting import factor_table

    losses = [record for record in _sampled(document) if record["loss"] is not None]
    if losses:
        solver = document["parts"][0]["recipe"]["solver"]["name"]
        rows = [(str(record["step"]), f"{record['loss']:.4f}") for record in losses]
        console.answer_table(("block" if solver == "krylov" else "epoch", "loss"), rows)
    console.answer_rows(factor_table(document))
    for part in document["parts"]:
        console.answer_text(f"{part['name']}: {part['message']}".removeprefix(": "))


def _sampled(document: dict[str, Any], lines: int = 10) -> list[dict[str, Any]]:
    """About ten evenly spaced records of the history of a single part, such as every 100th."""
    if len(document["parts"]) != 1:
        return []
    history = document["parts"][0]["history"]
    if len(history) < 2:
        return []
    # rounded up, so that no more than `lines` records are shown
    stride = max(1, -(-len(history) // lines))
    return history[::stride]


def show_spectrum(parts: Any, source: Path, *, as_json: bool) -> int:
    """Show the singular values and the ranks that they suggest; the exit status is always 0."""
    from eckart.factor.spectrum import suggest_rank

    spectrum = suggest_rank(parts, source)
    document = spectrum.to_dict()
    if as_json:
        console.answer_json("factor", document)
        return 0
    for name, values in document["singular_values"].items():
        rows, columns = document["shapes"][name]
        title = f"{f'{source.name} {name}'.rstrip()}: {rows} × {columns}, its singular values"
        console.answer_table(("", "σ", ""), _bars(values), title=title, aside=True)
    console.answer_table(
        ("choice", "rank", "relative error", "bytes of the factors"),
        [
            (
                choice["why"],
                str(choice["rank"]),
                f"{choice['relative_error']:.4g}",
                f"{choice['factor_bytes']:,}",
            )
            for choice in document["choices"]
        ],
    )
    best = document["suggested"]
    console.answer_text(
        f"Suggested: --rank {best['rank']} (relative error {best['relative_error']:.2g})."
    )
    return 0


def _bars(values: list[float], lines: int = 16) -> list[tuple[str, str, str]]:
    """The first singular values as numbers and bars, and how many are left."""
    longest = values[0] or 1.0
    smallest = 1e-14 * longest  # a smaller singular value is a zero plus rounding in float64
    rows = [
        (
            str(place),
            f"{value:.4g}" if value > smallest else "0",
            # a bar shorter than half a character is a thin line
            "█" * round(40 * value / longest) or "▏",
        )
        for place, value in enumerate(values[:lines], start=1)
    ]
    if len(values) > lines:
        rows.append(("…", f"{values[-1]:.4g}", f"{len(values) - lines} more, this is the last"))
    return rows


def _page(document: dict[str, Any]) -> str:
    from eckart.factor.report import factor_page

    return factor_page(document)
