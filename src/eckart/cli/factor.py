"""`eckart factor`."""

import shlex
from pathlib import Path
from typing import Any, Final, Literal

import click

from eckart.cli import console
from eckart.cli.answers import deliver, show_spectrum
from eckart.cli.options import (
    FILE,
    force_option,
    json_option,
    limited_threads,
    output_option,
    quiet_option,
    rank_options,
    selection,
    selection_options,
    threads_option,
)
from eckart.errors import ArgumentError

GRADIENT_ONLY: Final = (
    "learning_rate", "epochs", "momentum", "stop_early", "start", "gaussian", "sigma"
)  # fmt: skip


@click.command(
    epilog="Example: eckart factor examples/article.csv --rank 2 --solver gd --report article.html"
)
@click.argument("matrix", metavar="W", type=FILE)
@rank_options
@click.option(
    "--solver",
    type=click.Choice(["svd", "krylov", "gd"]),
    help="Exact decomposition, block Krylov iteration or gradient descent.  [default: svd, "
    "krylov for large matrices]",
)
@click.option(
    "--learning-rate", type=float, help="Step size of gd; chosen from the data if left out."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Most epochs of gd.  [default: 1000]")
@click.option("--momentum", type=float, help="Momentum of gd.  [default: 0]")
@click.option(
    "--early-stop/--no-early-stop",
    "stop_early",
    default=None,
    help="Whether gd stops once the loss has converged.  [default: early-stop]",
)
@click.option("--start", type=FILE, help="File with the first B and A of gd.")
@click.option(
    "--gaussian",
    type=click.Choice(["A", "B"]),
    help="The random factor at the start; the other is zero.  [default: A]",
)
@click.option(
    "--sigma", type=float, help="Its standard deviation; chosen from the data if left out."
)
@click.option("--accuracy", type=float, help="Largest certified gap to accept, 0.001 for 0.1 %.")
@click.option(
    "--certificate/--no-certificate", default=True, help="Whether to bound the best possible error."
)
@click.option("--time-limit", type=float, help="Seconds after which gd stops.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random start."
)
@selection_options
@output_option
@click.option("--report", type=FILE, help="Write a report with pictures to this .html file.")
@force_option
@json_option
@quiet_option
@threads_option
def command(matrix: Path, report: Path | None, as_json: bool, **options: Any) -> int:
    """Factor the matrix in the file W into B (rows × rank) and A (rank × columns), W ≈ B·A.

    Reads .npy, .npz, .csv, .tsv, .parquet, .mtx, .mtx.gz, .safetensors, .png and .jpg; writes
    W.factors.npz, or .npz, .safetensors or a folder of .csv with --output. Without a way to choose
    the rank it shows the singular values and suggests one.
    """
    chosen = selection(options["header"], options["index"], options["columns"], options["tensor"])
    solver, start = _solver(options)
    choice = _rank_choice(options)
    output = options["output"] or default_output(matrix)
    _check_paths(matrix, chosen, output, report, choosing=choice is None, force=options["force"])
    from eckart.storage import read_parts

    with limited_threads(options["threads"]):
        contents = read_parts(matrix, chosen)
        for text in contents.notes:
            console.note(f"note: {text}", quiet=options["quiet"])
        if choice is None:
            return show_spectrum(contents.parts, matrix, as_json=as_json)
        from eckart.jobs.factor import factor_parts

        total = getattr(solver, "epochs", None)
        with console.progress(total, quiet=options["quiet"]) as on_step:
            result = factor_parts(
                contents.parts,
                matrix,
                output,
                choice,
                solver=solver,
                start=start,
                accuracy=options["accuracy"],
                certificate=options["certificate"],
                time_limit=options["time_limit"],
                seed=options["seed"],
                force=options["force"],
                command=shlex.join(["eckart", *click.get_current_context().obj]),
                on_step=on_step,
            )
    return deliver(result, report, as_json=as_json, quiet=options["quiet"])


def default_output(matrix: Path) -> Path:
    """Where factors go when no output is named: beside the input.

    Example:
        >>> default_output(Path("W.mtx.gz")).name
        'W.factors.npz'
    """
    name = matrix.name
    for suffix in reversed(matrix.suffixes[-2:]):
        if suffix.lower() in (".gz", matrix.suffix.lower(), ".mtx"):
            name = name.removesuffix(suffix)
    return matrix.with_name(f"{name}.factors.npz")


def _check_paths(
    matrix: Path,
    chosen: Any,
    output: Path,
    report: Path | None,
    *,
    choosing: bool,
    force: bool,
) -> None:
    """Refuse what the existence of paths alone shows to be wrong, before any work."""
    from eckart.storage import check_factor_suffix, check_input, check_output

    check_input(matrix, chosen)
    if choosing:
        return
    check_factor_suffix(output)
    check_output(output, force=force)
    if report is not None:
        if report.suffix.lower() not in (".html", ".htm"):
            raise ArgumentError(
                f"A report is an .html file, not {report.name}.",
                hint=f"Write it to {report.with_suffix('.html').name}.",
                code="unknown-suffix",
            )
        check_output(report, force=force)


def _rank_choice(options: dict[str, Any]) -> Any:
    """The way to choose the rank; None where there is none."""
    ways = {name: options[name] for name in ("rank", "tolerance", "budget", "ratio")}
    given = [name for name, value in ways.items() if value is not None]
    if not given:
        return None
    from eckart.jobs.factor import RankChoice
    from eckart.ranks import rank_rule

    rank_rule(*ways.values(), nbytes=1)
    return RankChoice(**ways)


def _solver(options: dict[str, Any]) -> tuple[Any, Any]:
    """The solver and the start that the options describe."""
    given = {name: options[name] for name in GRADIENT_ONLY if options[name] is not None}
    if options["solver"] != "gd":
        if given:
            raise ArgumentError(
                f"--{next(iter(given)).replace('_', '-')} means nothing without --solver gd.",
                hint="Leave it out, or choose --solver gd.",
                code="option-does-not-apply",
            )
        from eckart.solvers import BlockKrylov, ExactSVD

        direct = {"svd": ExactSVD, "krylov": BlockKrylov, None: lambda: None}
        return direct[options["solver"]](), None
    from eckart.solvers import GradientDescent

    settings = {
        name: given.pop(name)
        for name in ("learning_rate", "epochs", "momentum", "stop_early")
        if name in given
    }
    return GradientDescent(**settings), _start(**given)


def _start(
    start: Path | None = None, gaussian: Literal["A", "B"] = "A", sigma: float | None = None
) -> Any:
    from eckart.starts import LoRAStart

    if start is None:
        return LoRAStart(gaussian=gaussian, sigma=sigma)
    if sigma is not None or gaussian != "A":
        raise ArgumentError(
            "--start gives both factors, so --gaussian and --sigma mean nothing beside it.",
            hint="Leave them out.",
            code="option-does-not-apply",
        )
    from eckart.storage import read_factor_file

    return dict(read_factor_file(start).parts)
