"""`eckart recommend fit` and its options."""

import shlex
from pathlib import Path
from typing import Any, Final

import click

from eckart.errors import ArgumentError
from eckart.recommend.commands import (
    attribute_options,
    attribute_tables,
    check_files,
    column_names,
    column_options,
    length_option,
    titles,
)
from eckart.terminal import console
from eckart.terminal.answers import check_report, write_report
from eckart.terminal.options import EXIT_STATUS, FILE, reported_options, seed_option, together
from eckart.threads import limited_threads

METHODS: Final = ("als", "cholesky", "blocks", "gd", "gibbs")

data_options = together(
    click.option("--implicit", is_flag=True, help="Only the fact of an interaction counts."),
    click.option(
        "--min-rating",
        "at_least",
        type=float,
        help="Keep ratings of at least this as interactions.",
    ),
    click.option("--disliked", type=float, help="Take ratings of at most this as dislikes."),
    click.option(
        "--scale", type=(float, float), help="The lowest and the highest possible rating."
    ),
)
side_options = together(
    attribute_options,
    click.option(
        "--user-columns",
        help="Columns of --user-attributes that count, separated by commas; NAME:category reads "
        "numbers as categories, NAME:id marks the column of ids.",
    ),
    click.option("--item-columns", help="Columns of --item-attributes that count."),
    click.option(
        "--attribute-weight",
        type=float,
        help="How much each attribute counts beside an interaction.  [default: 1]",
    ),
)
model_options = together(
    click.option("--rank", type=click.IntRange(min=1), help="Columns of B.  [default: 32]"),
    click.option(
        "--regularization", type=float, help="λ; chosen on a part of the input if left out."
    ),
    click.option(
        "--count-exponent", type=float, help="ν: the penalty grows with counts^ν.  [default: 1]"
    ),
    click.option(
        "--unobserved-weight",
        type=float,
        help="α: weight of unobserved entries, without ratings.  [default: 0.1]",
    ),
    click.option("--implicit-features", type=float, help="Weight of the pattern of rated items."),
    click.option("--nonnegative", is_flag=True, help="Keep all factors nonnegative."),
    click.option(
        "--solver",
        "method",
        type=click.Choice(METHODS),
        help="als (conjugate gradients), cholesky, blocks, gd (stochastic), gibbs.  [default: als]",
    ),
    click.option(
        "--bayesian", is_flag=True, help="Short for --solver gibbs: predictions with a deviation."
    ),
    click.option("--epochs", type=click.IntRange(min=1), help="Sweeps over all users and items."),
    click.option("--tune", "tuned", is_flag=True, help="Choose rank, λ, α and ν by Optuna."),
    click.option("--trials", type=click.IntRange(min=1), help="Trials of --tune.  [default: 40]"),
    click.option("--time-limit", type=float, help="Seconds for --tune."),
    seed_option,
)
test_options = together(
    click.option(
        "--test",
        type=click.Choice(["random", "last", "users"]),
        help="Measure on a held-out part: random entries, the last ones of each user, or users.",
    ),
    click.option(
        "--share", type=float, default=0.1, show_default=True, help="Share taken as the test part."
    ),
    length_option("Length of the lists that are measured."),
)


def checked(options: dict[str, Any], *, has_data: bool) -> None:
    """Refuse options that contradict each other, before the data is read.

    Raises:
        ArgumentError: If options contradict each other, or one is out of range.
    """
    if not has_data and options["older"] is None:
        raise ArgumentError(
            "There is nothing to fit.",
            hint="Give a table of interactions, or --from with an older model.",
            code="missing-argument",
        )
    for first, second in (
        ("bayesian", "method"),
        ("tuned", "regularization"),
        ("tuned", "bayesian"),
    ):
        # each pair would set the same thing twice
        if options[first] and options[second]:
            raise ArgumentError(
                f"`{first}` and `{second}` do not go together.",
                hint="Leave one of them out.",
                code="option-does-not-apply",
            )
    for name, needed in (
        ("trials", "tuned"),
        ("time_limit", "tuned"),
        ("user_columns", "user_attributes"),
        ("item_columns", "item_attributes"),
    ):
        if options[name] is not None and not options[needed]:
            raise ArgumentError(
                f"`{name}` means nothing without `{needed}`.",
                hint=f"Leave it out, or add `{needed}`.",
                code="option-does-not-apply",
            )
    _check_numbers(options)


def _check_numbers(options: dict[str, Any]) -> None:
    scale = options["scale"]
    if scale and not scale[0] < scale[1]:
        raise ArgumentError(
            f"The scale is from {scale[0]:g} to {scale[1]:g}.",
            hint="Give the lowest and then the highest rating, such as --scale 1 5.",
            code="bad-scale",
        )
    # checked here too, since the library would refuse it only after the data was read
    if not 0 < options["share"] < 1:
        raise ArgumentError(
            f"The share of the test part is {options['share']:g}.",
            hint="Give a number between 0 and 1, such as 0.1.",
            code="bad-share",
        )


@click.command(
    epilog="Example: eckart recommend fit ratings.csv --test random -o model --report model.html"
)
@click.argument("data", metavar="[INTERACTIONS]", type=FILE, required=False)
@column_options
@data_options
@side_options
@model_options
@test_options
@click.option("--from", "older", type=FILE, help="An older model to start from, with its history.")
@click.option("--names", type=FILE, help="A table of ids and titles, for the report.")
@reported_options
def fit(data: Path | None, report: Path | None, as_json: bool, **options: Any) -> int:
    """Fit a model to a table of ratings, or of interactions without ratings.

    Reads .csv, .tsv, .dat (with ::), .data, .parquet and .jsonl, text also compressed as .gz.
    Columns are found by their names or named by options; ids may be of any type. The model is a
    folder, by default beside the table, with its name and .model.
    """
    checked(options, has_data=data is not None)
    output = options["output"] or _default(data or options["older"])
    _check_paths(data, output, report, options)
    # imported after all checks, so that `--help` and refusals load no numerical library
    from eckart.completion.kernels import compiling_said_by
    from eckart.recommend.fit import fit_recommender

    quiet = options["quiet"]
    with (
        limited_threads(options["threads"]),
        # the first run compiles the kernels for some seconds, which would look like a stall
        compiling_said_by(lambda text: console.note(text, quiet=quiet)),
    ):
        result = fit_recommender(
            data,
            output,
            named=column_names(options),
            feedback=_feedback(options),
            attributes=attribute_tables(options),
            settings=_settings(options),
            test=options["test"],
            share=options["share"],
            k=options["k"],
            tuned=options["tuned"],
            trials=options["trials"],
            time_limit=options["time_limit"],
            older=options["older"],
            force=options["force"],
            watch=console.watching(quiet=quiet),
        )
    document = result.to_dict()
    if report is not None:
        _report(result, report, titles(options["names"], result.model), force=options["force"])
    if as_json:
        console.answer_json("recommend fit", document)
    else:
        console.notes(result.notes, quiet=quiet)
        _show(document)
    console.note(f"Wrote {output}", quiet=quiet)
    if report is not None:
        console.note(f"Wrote {report}", quiet=quiet)
    return EXIT_STATUS[result.grade]


def _feedback(options: dict[str, Any]) -> Any:
    """What ratings stand for; None leaves it to the older model or to the data."""
    from eckart.recommend.settings import Feedback

    given = Feedback(
        implicit=True if options["implicit"] else None,
        at_least=options["at_least"],
        disliked=options["disliked"],
        scale=options["scale"] or None,
    )
    return None if given == Feedback() else given


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given; the others are those of an older model or the defaults.

    Raises:
        ArgumentError: If a setting is out of its range.
    """
    from eckart.recommend.settings import Settings

    names = ("rank", "regularization", "count_exponent", "unobserved_weight",
             "implicit_features", "nonnegative", "attribute_weight", "method",
             "epochs")  # fmt: skip
    # by identity, since 0 equals False but is a number that was given
    given = {
        name: options[name]
        for name in names
        if options[name] is not None and options[name] is not False
    }
    if options["bayesian"]:
        given["method"] = "gibbs"
    given["seed"] = options["seed"]
    # refuses bad numbers before any file is read
    Settings(**given)
    return given


def _check_paths(
    data: Path | None, output: Path, report: Path | None, options: dict[str, Any]
) -> None:
    from eckart.files import check_output
    from eckart.recommend.storing import check_model

    tables = (data, options["names"], options["user_attributes"], options["item_attributes"])
    check_files(*tables)
    if options["older"] is not None:
        check_model(options["older"])
    # no output may overwrite what is read, nor the report the model
    read = [*tables, options["older"]]
    check_output(output, force=options["force"], inputs=read, is_folder=True)
    check_report(report, force=options["force"], apart=[*read, output])


def _default(source: Path) -> Path:
    """The folder of the model if no output is named: beside the input."""
    from eckart.files import beside, named_path

    # the stem of `ratings.csv.gz` is to be `ratings`
    name = named_path(source).name.removesuffix(".gz")
    return beside(source, f"{Path(name).stem}.model")


def _show(document: dict[str, Any]) -> None:
    from eckart.recommend.report import fit_rows, metric_table

    console.answer_rows(fit_rows(document))
    if document["evaluation"] is not None:
        header, rows = metric_table(document["evaluation"])
        console.answer_table(header, rows)


def _report(result: Any, path: Path, names: dict[str, str] | None, *, force: bool) -> None:
    from eckart.recommend.report import recommend_page

    command = shlex.join(["eckart", *click.get_current_context().obj])
    write_report(path, recommend_page(result.report_document(names, command)), force=force)
