"""`eckart recommend fit` and its options."""

import shlex
from dataclasses import fields
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
from eckart.recommend.settings import Feedback, Scale, Settings
from eckart.terminal import console
from eckart.terminal.console import check_report, write_report
from eckart.terminal.options import (
    EXIT_STATUS,
    FILE,
    cluster_option,
    reported_options,
    seed_option,
    together,
)
from eckart.threads import limited_threads

KINDS: Final[dict[object, dict[str, Any]]] = {
    int: {"type": click.IntRange(min=1)},
    float: {"type": float},
    bool: {"is_flag": True},
    Scale: {"type": (float, float)},
}
"""Type of the option of a setting of each kind."""


def options_of(settings: type[Feedback | Settings]) -> dict[str, Any]:
    """The options of all settings that have a help text, by the name of the setting."""
    return {
        one.name: click.option(
            one.metadata["flag"] or f"--{one.name.replace('_', '-')}",
            one.name,
            help=one.metadata["help"],
            **(KINDS.get(one.metadata["kind"]) or {"type": click.Choice(one.metadata["kind"])}),
        )
        for one in fields(settings)
        if one.metadata["help"]
    }


model_settings = options_of(Settings)
attribute_weight_option, epochs_option = (
    model_settings.pop(name) for name in ("attribute_weight", "epochs")
)
side_options = together(
    attribute_options,
    click.option(
        "--user-columns",
        help="Columns of --user-attributes that count, separated by commas; NAME:category reads "
        "numbers as categories, NAME:id marks the column of ids.",
    ),
    click.option("--item-columns", help="Columns of --item-attributes that count."),
    attribute_weight_option,
)
model_options = together(
    *model_settings.values(),
    click.option(
        "--bayesian", is_flag=True, help="Short for --solver gibbs: predictions with a deviation."
    ),
    epochs_option,
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


def check_options(options: dict[str, Any], *, has_data: bool) -> None:
    """Refuse options that contradict each other, before the data is read."""
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
        ("cluster", "bayesian"),
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
@together(*options_of(Feedback).values())
@side_options
@model_options
@test_options
@click.option("--from", "older", type=FILE, help="An older model to start from, with its history.")
@click.option("--names", type=FILE, help="A table of ids and titles, for the report.")
@cluster_option
@reported_options
def fit(data: Path | None, report: Path | None, as_json: bool, **options: Any) -> int:
    """Fit a model to a table of ratings, or of interactions without ratings.

    Reads .csv, .tsv, .dat (with ::), .data, .parquet and .jsonl, text also compressed as .gz.
    Columns are found by their names or named by options; ids may be of any type. The model is a
    folder, by default beside the table, with its name and .model.
    """
    check_options(options, has_data=data is not None)
    output = options["output"] or _default(data or options["older"])
    _check_paths(data, output, report, options)
    # imported after all checks, so that `--help` and refusals load no numerical library
    from eckart.completion.kernels import compiling_noted_by
    from eckart.recommend.fit import fit_recommender
    from eckart.recommend.report import fit_rows, metric_table, recommend_page

    quiet = options["quiet"]
    with (
        limited_threads(options["threads"]),
        # the first run compiles the kernels for some seconds, which would look like a stall
        compiling_noted_by(lambda text: console.note(text, quiet=quiet)),
    ):
        result = fit_recommender(
            data,
            output,
            named=column_names(options),
            feedback=Feedback(**_given(Feedback, options)),
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
            cluster=options["cluster"],
            watch=console.watching(quiet=quiet),
        )
    document = result.to_dict()
    if report is not None:
        names = titles(options["names"], result.model)
        command = shlex.join(["eckart", *click.get_current_context().obj])
        page = recommend_page(result.report_document(names, command))
        write_report(report, page, force=options["force"])
    if as_json:
        console.answer_json("recommend fit", document)
    else:
        console.notes(result.notes, quiet=quiet)
        console.answer_rows(fit_rows(document))
        if document["evaluation"] is not None:
            console.answer_table(*metric_table(document["evaluation"]))
    console.note(f"Wrote {output}", quiet=quiet)
    if report is not None:
        console.note(f"Wrote {report}", quiet=quiet)
    return EXIT_STATUS[result.grade]


def _given(settings: type[Feedback | Settings], options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given; a flag that was not given, or nothing, is none."""
    # by identity, since 0 equals False but is a number that was given
    return {
        name: options[name]
        for name in options_of(settings)
        if options[name] is not None and options[name] is not False
    }


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given; the others are those of an older model or the defaults."""
    given = {**_given(Settings, options), "seed": options["seed"]}
    if options["bayesian"]:
        given["method"] = "gibbs"
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
