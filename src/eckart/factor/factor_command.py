"""`eckart factor`, and the table of solvers: the name, the options and the class of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

import click

from eckart.errors import ArgumentError
from eckart.reporting import Document, factor_table, plan_table
from eckart.terminal import console
from eckart.terminal.console import check_report, deliver
from eckart.terminal.options import (
    FILE,
    Options,
    check_plan,
    cluster_option,
    plan_option,
    rank_options,
    reported_options,
    run_arguments,
    run_options,
    selection,
    selection_options,
    together,
)
from eckart.threads import limited_threads

STARTS: Final = {"lora": "LoRAStart", "spectral": "SpectralStart"}
"""Words that `--start` takes instead of a file, and their classes in `eckart.solvers.starts`."""
START_OPTIONS: Final = ("start", "gaussian", "sigma")
"""Options of every solver that begins at given factors."""


@final
@dataclass(frozen=True, slots=True)
class SolverEntry:
    """One entry of the table of solvers.

    Fields:
        words: Description for `--help`.
        place: Module in `eckart.solvers` and class, which are not imported for `--help`.
        settings: Options that are fields of the class.
        starts: Whether the solver begins at given factors, so that it has the options of a start.
    """

    words: str
    place: str
    settings: tuple[str, ...] = ()
    starts: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """All options of the solver."""
        return (*self.settings, *(START_OPTIONS if self.starts else ()))

    def make(self, given: Options) -> Any:
        """The solver, made with those of the given options that it has."""
        # imported here, so that `--help` does not wait for the solvers
        module, solver = self.place.split(":")
        made = getattr(import_module(f"eckart.solvers.{module}"), solver)
        return made(**{name: given[name] for name in self.settings if name in given})


# by the name that `--solver` takes, in the order of `--help`
SOLVERS: Final = {
    "svd": SolverEntry("exact decomposition", "svd:ExactSVD"),
    "krylov": SolverEntry("block Krylov iteration", "krylov:BlockKrylov", ("memory",)),
    "gd": SolverEntry(
        "gradient descent",
        "gradient:GradientDescent",
        ("learning_rate", "epochs", "momentum", "stop_early"),
        starts=True,
    ),
    "scaled-gd": SolverEntry(
        "scaled gradient descent",
        "scaled_gradient:ScaledGradientDescent",
        ("learning_rate", "epochs", "stop_early"),
        starts=True,
    ),
    "single-pass": SolverEntry("sketches of one pass", "single_pass:SinglePass", ("width",)),
}


SOLVERS_LISTED: Final = ", ".join(f"{name} ({entry.words})" for name, entry in SOLVERS.items())
"""All solvers with their descriptions, for `--help`."""


def owners(option: str) -> str:
    """The names of the solvers that have an option, such as "gd or scaled-gd"."""
    return " or ".join(name for name, entry in SOLVERS.items() if option in entry.options)


solver_options = together(
    click.option(
        "--learning-rate",
        type=float,
        help=f"Step size of {owners('learning_rate')}; chosen from the data if left out.",
    ),
    click.option(
        "--epochs",
        type=click.IntRange(min=1),
        help=f"Most epochs of {owners('epochs')}.  [default: 1000]",
    ),
    click.option("--momentum", type=float, help=f"Momentum of {owners('momentum')}.  [default: 0]"),
    click.option(
        "--early-stop/--no-early-stop",
        "stop_early",
        default=None,
        help=f"Whether {owners('stop_early')} stops once the loss has converged.  "
        "[default: early-stop]",
    ),
    click.option(
        "--width",
        type=click.IntRange(min=1),
        help=f"Directions of the sketches of {owners('width')}.  [default: 5·rank + 8]",
    ),
    click.option(
        "--memory", help=f"Most bytes of the subspace of {owners('memory')}, such as 2GB."
    ),
    click.option(
        "--start",
        metavar="|".join(["FILE", *STARTS]),
        help=f"The first B and A of {owners('start')}: a file or a word.  [default: lora]",
    ),
    click.option(
        "--gaussian",
        type=click.Choice(["A", "B"]),
        help="The random factor of --start lora; the other is zero.  [default: A]",
    ),
    click.option(
        "--sigma",
        type=float,
        help="Standard deviation of that factor; chosen from the data if left out.",
    ),
)


def make_solvers(names: Sequence[str], options: Options) -> tuple[dict[str, Any], Any]:
    """The named solvers and the start that the options describe; the start is None if unused.

    Raises:
        ArgumentError: If no named solver has a given option, or an option is out of range.
    """
    named = {name: SOLVERS[name] for name in names}
    own = [*START_OPTIONS, *(name for entry in SOLVERS.values() for name in entry.settings)]
    # None is an option that was left out, for which the class has its own default
    given = {name: options[name] for name in own if options[name] is not None}
    for option in given:
        if not any(option in entry.options for entry in named.values()):
            raise ArgumentError(
                f"--{option.replace('_', '-')} means nothing without the solver {owners(option)}.",
                hint=f"Leave it out, or choose {owners(option)}.",
                code="option-does-not-apply",
            )
    solvers = {name: entry.make(given) for name, entry in named.items()}
    return solvers, _make_start(given) if any(entry.starts for entry in named.values()) else None


def start_file(options: Options) -> Path | None:
    """The file of the start, or None if the start is a word or left out."""
    start = options["start"]
    return None if start is None or start in STARTS else Path(start)


def _make_start(given: Options) -> Any:
    """The start that a word names, or the factors in a file by part."""
    start = given.get("start", "lora")
    drawn = {name: given[name] for name in ("gaussian", "sigma") if name in given}
    # only this start draws a factor at random
    if drawn and start != "lora":
        raise ArgumentError(
            "--start gives both factors, so --gaussian and --sigma mean nothing beside it.",
            hint="Leave them out.",
            code="option-does-not-apply",
        )
    if start in STARTS:
        return getattr(import_module("eckart.solvers.starts"), STARTS[start])(**drawn)
    from eckart.files import read_factor_file

    # by part, since each part of a picture begins at its own factors
    return dict(read_factor_file(Path(start)).parts)


@click.command(
    epilog="Example: eckart factor examples/article.csv --rank 2 --solver gd --report article.html"
)
@click.argument("matrix", metavar="W", type=FILE)
@rank_options
@click.option(
    "--solver",
    type=click.Choice(list(SOLVERS)),
    help=f"{SOLVERS_LISTED}.  [default: svd, krylov for large matrices]",
)
@solver_options
@run_options
@selection_options
@cluster_option
@plan_option
@reported_options
def factor(matrix: Path, report: Path | None, as_json: bool, **options: Any) -> int:
    """Factor the matrix in the file W into B (rows × rank) and A (rank × columns), W ≈ B·A.

    Reads .npy, .npz, .csv, .tsv, .parquet, .mtx, .mtx.gz, .safetensors, .png and .jpg; writes
    W.factors.npz, or .npz, .safetensors or a folder of .csv with --output. Without an option that
    chooses the rank it shows the singular values and suggests a rank. With --cluster the workers
    read .npy (a file or a folder), .parquet or .zarr and write a .zarr.
    """
    chosen = selection(options)
    check_plan(options)
    if options["cluster"] is not None:
        return _factor_on_cluster(matrix, chosen, options, report=report, as_json=as_json)
    named, force = options["solver"], options["force"]
    solvers, start = make_solvers([named] if named else [], options)
    choice = _rank_choice(options)
    from eckart.files import check_factor_output, check_input, read_parts

    check_input(matrix, chosen)
    output = options["output"] or default_output(matrix)
    read = [matrix, start_file(options)]
    if choice is not None:  # paths that cannot be written are refused before any work
        check_factor_output(output, force=force, inputs=read)
        check_report(report, force=force, apart=[*read, output])
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
            **choice,
            solver=solvers.get(named),
            start=start,
            **run_arguments(options),
            force=force,
            command=console.this_command(),
            watch=console.watching(quiet=options["quiet"]),
        )
    return deliver(
        "factor", result, report, show=show_factoring, draw=_page,
        force=force, as_json=as_json, quiet=options["quiet"],
    )  # fmt: skip


NOT_ON_CLUSTER: Final = ("accuracy", *START_OPTIONS, "learning_rate", "epochs", "momentum", "width")
"""Options that mean nothing on a cluster, where the solver is a Krylov space or WᵀW."""


def _factor_on_cluster(
    matrix: Path, chosen: Any, options: Options, *, report: Path | None, as_json: bool
) -> int:
    """Do the work of `factor` on a cluster."""
    given = [one for one in NOT_ON_CLUSTER if options[one] is not None] + ["report"] * bool(report)
    choice = _rank_choice(options)
    if given or options["solver"] not in (None, "krylov") or choice is None:
        what = f"--{given[0].replace('_', '-')}" if given else f"--solver {options['solver']}"
        raise ArgumentError(
            f"{what} means nothing on a cluster." if choice else "The rank is not chosen.",
            hint="Leave it out." if choice else "Give --rank, --tolerance, --budget or --ratio.",
            code="option-does-not-apply" if choice else "rank-not-chosen",
        )
    from eckart.factor.on_cluster import factor_on_cluster, plan_factoring

    if options["plan"]:
        plan = plan_factoring(matrix, chosen, options["cluster"], **choice).to_dict()
        return console.answer_plan("factor", plan, plan_table(plan), as_json=as_json)
    output = options["output"] or default_output(matrix).with_suffix("").with_suffix(".zarr")
    with limited_threads(options["threads"]):
        result = factor_on_cluster(
            matrix,
            output,
            chosen,
            options["cluster"],
            **choice,
            **{name: options[name] for name in ("certificate", "time_limit", "seed", "force")},
            command=console.this_command(),
            watch=console.watching(quiet=options["quiet"]),
        )
    console.notes(result.notes, quiet=options["quiet"])
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


def _rank_choice(options: Options) -> Options | None:
    """The options that choose the rank, or None if none of them is given."""
    ways = {name: options[name] for name in ("rank", "tolerance", "budget", "ratio")}
    if all(value is None for value in ways.values()):
        return None
    from eckart.ranks import rank_rule

    rank_rule(*ways.values(), nbytes=1)  # for its errors alone, before the matrix is read
    return ways


HISTORY_LINES: Final = 10
"""Most records of the history that are shown, evenly spaced."""
SPECTRUM_LINES: Final = 16
"""Most singular values that are shown, beside the last one."""
BAR_CHARACTERS: Final = 40
"""Length of the bar of the largest singular value."""


def show_factoring(document: Document) -> None:
    """Print the figures of a `Factoring`."""
    first, *others = document["parts"]
    history = [] if others else first["history"]
    # rounded up, so that no more than `HISTORY_LINES` records are shown
    sampled = history[:: max(1, -(-len(history) // HISTORY_LINES))] if history[1:] else []
    losses = [record for record in sampled if record["loss"] is not None]
    if losses:
        unit = "block" if first["recipe"]["solver"]["name"] == "krylov" else "epoch"
        rows = [(str(record["step"]), f"{record['loss']:.4f}") for record in losses]
        console.answer_table((unit, "loss"), rows)
    console.answer_rows(factor_table(document))
    if "cluster" in document:
        console.answer_rows(plan_table(document["cluster"]["planned"], document["cluster"]))
    for part in document["parts"]:
        console.answer_text(f"{part['name']}: {part['message']}".removeprefix(": "))


def show_spectrum(parts: Any, source: Path, *, as_json: bool) -> int:
    """Show the singular values and the ranks that they suggest; the exit status is always 0."""
    from eckart.factor.factor import suggest_rank

    document = suggest_rank(parts, source)
    for choice in (*document["choices"], document["suggested"]):
        choice["why"] = f"--{choice['why']}"  # the rule is an option here
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
    console.answer_text(
        "Suggested: --rank {rank} (relative error {relative_error:.2g}).".format(
            **document["suggested"]
        )
    )
    return 0


def _bars(values: list[float]) -> list[tuple[str, str, str]]:
    """The first singular values as numbers and bars, and how many are left."""
    longest = values[0] or 1.0
    smallest = 1e-14 * longest  # a smaller singular value is a zero plus rounding in float64
    rows = [
        (
            str(place),
            f"{value:.4g}" if value > smallest else "0",
            # a bar shorter than half a character is a thin line
            "█" * round(BAR_CHARACTERS * value / longest) or "▏",
        )
        for place, value in enumerate(values[:SPECTRUM_LINES], start=1)
    ]
    if (more := len(values) - SPECTRUM_LINES) > 0:
        rows.append(("…", f"{values[-1]:.4g}", f"{more} more, this is the last"))
    return rows


def _page(document: Document) -> str:
    from eckart.factor.report import factor_page

    return factor_page(document)
