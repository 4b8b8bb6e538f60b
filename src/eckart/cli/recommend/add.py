"""`eckart recommend add`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.options import FILE, answer_options, threads_option
from eckart.cli.recommend.shared import (
    MODEL,
    attribute_options,
    attribute_tables,
    check_files,
    column_names,
    column_options,
    wrote_model,
)
from eckart.errors import ArgumentError
from eckart.threads import limited_threads


@click.command(epilog="Example: eckart recommend add model new_ratings.csv -o model2")
@MODEL
@click.argument("data", metavar="[INTERACTIONS]", type=FILE, required=False)
@column_options
@attribute_options
@answer_options
@threads_option
def add(model: Path, data: Path | None, as_json: bool, **options: Any) -> int:
    """Take new interactions, users and items into a model, by the equations of its fit.

    Tables of attributes may come along, or alone, where it was fitted with some.

    Without --output the model itself is replaced, whole or not at all. Known items keep their
    factors; `eckart recommend fit --from MODEL` fits everything again, from where it was.
    """
    from eckart.jobs.recommend.folding import add_interactions
    from eckart.jobs.recommend.storing import updated_model, write_model

    tables = attribute_tables(options)
    if data is None and tables is None:
        raise ArgumentError(
            "There is nothing to add.",
            hint="Give a table of interactions, or of attributes.",
            code="missing-argument",
        )
    sources = (data, options["user_attributes"], options["item_attributes"])
    check_files(*sources)
    target = options["output"] or model
    with (
        limited_threads(options["threads"]),
        updated_model(model, target, force=options["force"], inputs=sources) as (before, place),
    ):
        result = add_interactions(before, data, column_names(options), attributes=tables)
        write_model(result.model, place)
    if as_json:
        console.answer_json("recommend add", {**result.to_dict(), "folder": str(target)})
    else:
        console.notes(result.notes, quiet=options["quiet"])
        console.answer_text(result.sentence())
    wrote_model(target, quiet=options["quiet"])
    return 0
