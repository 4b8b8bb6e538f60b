"""`eckart recommend fit`."""

import shlex
from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.answers import check_report, write_report
from eckart.cli.options import EXIT_STATUS, FILE, reported_options
from eckart.cli.recommend.fit_options import (
    checked,
    data_options,
    model_options,
    side_options,
    test_options,
)
from eckart.cli.recommend.shared import (
    attribute_tables,
    check_files,
    column_names,
    column_options,
    titles,
)
from eckart.threads import limited_threads


@click.command(
    epilog="Example: eckart recommend fit ratings.csv --test random -o model --report model.html"
)
@click.argument("data", metavar="[INTERACTIONS]", type=FILE, required=False)
@column_options
@data_options
@side_options
@model_options
@test_options
@click.option("--from", "older", type=FILE, help="An older model to begin at; its history is kept.")
@click.option("--names", type=FILE, help="A table of ids and titles, for the report.")
@reported_options
def fit(data: Path | None, report: Path | None, as_json: bool, **options: Any) -> int:
    """Fit a model to a table of ratings, or of interactions without ratings.

    Reads .csv, .tsv, .dat (with ::), .data, .parquet and .jsonl, the text also as .gz. Columns are
    found by their names, or named; ids may be of any type. The model is a folder, MODEL by default
    the name of the table with .model.
    """
    checked(options, has_data=data is not None)
    output = options["output"] or _default(data or options["older"])
    _check_paths(data, output, report, options)
    from eckart.jobs.recommend.job import fit_recommender
    from eckart.kernels.compiled import compiling_said_by

    quiet = options["quiet"]
    with (
        limited_threads(options["threads"]),
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
            watch=lambda what, total: console.work(what, total, quiet=quiet),
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
    """What ratings stand for; None where an older model's answer is to be taken."""
    from eckart.jobs.recommend.feedback import Feedback

    given = Feedback(
        implicit=True if options["implicit"] else None,
        at_least=options["min_rating"],
        disliked=options["disliked"],
        scale=options["scale"] or None,
    )
    return None if given == Feedback() else given


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given; those of an older model are taken beside them.

    Raises:
        ArgumentError: If one is out of its range.
    """
    from eckart.jobs.recommend.settings import Settings

    names = ("rank", "regularization", "count_exponent", "unobserved_weight",
             "implicit_features", "nonnegative", "attribute_weight", "method",
             "epochs")  # fmt: skip
    # by identity: 0 is a number that was given, and equals False
    given = {
        name: options[name]
        for name in names
        if options[name] is not None and options[name] is not False
    }
    if options["bayesian"]:
        given["method"] = "gibbs"
    given["seed"] = options["seed"]
    Settings(**given)
    return given


def _check_paths(
    data: Path | None, output: Path, report: Path | None, options: dict[str, Any]
) -> None:
    from eckart.jobs.recommend.storing import check_model
    from eckart.storage import check_output

    tables = (data, options["names"], options["user_attributes"], options["item_attributes"])
    check_files(*tables)
    if options["older"] is not None:
        check_model(options["older"])
    read = [*tables, options["older"]]
    check_output(output, force=options["force"], inputs=read, is_folder=True)
    check_report(report, force=options["force"], apart=[*read, output])


def _default(source: Path) -> Path:
    """Where the model goes when no output is named: beside the input."""
    from eckart.storage import beside, named_path

    name = named_path(source).name.removesuffix(".gz")
    return beside(source, f"{Path(name).stem}.model")


def _show(document: dict[str, Any]) -> None:
    from eckart.reports import fit_rows, metric_table

    console.answer_rows(fit_rows(document))
    if document["evaluation"] is not None:
        header, rows = metric_table(document["evaluation"])
        console.answer_table(header, rows)


def _report(result: Any, path: Path, names: dict[str, str] | None, *, force: bool) -> None:
    from eckart.reports import recommend_page

    command = shlex.join(["eckart", *click.get_current_context().obj])
    write_report(path, recommend_page(result.report_document(names, command)), force=force)
