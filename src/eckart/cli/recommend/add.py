"""`eckart recommend add`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.options import (
    FILE,
    force_option,
    json_option,
    output_option,
    quiet_option,
    threads_option,
)
from eckart.cli.recommend.shared import (
    MODEL,
    check_files,
    column_names,
    column_options,
    loaded,
)
from eckart.threads import limited_threads


@click.command(epilog="Example: eckart recommend add model new_ratings.csv -o model2")
@MODEL
@click.argument("data", metavar="INTERACTIONS", type=FILE)
@column_options
@output_option
@force_option
@json_option
@quiet_option
@threads_option
def command(model: Path, data: Path, as_json: bool, **options: Any) -> int:
    """Take new interactions, users and items into a model, by the equations of its fit.

    Without --output the model itself is replaced, whole or not at all. Known items keep their
    factors; `eckart recommend fit --from MODEL` fits everything again, from where it was.
    """
    from eckart.jobs.recommend.folding import add_interactions
    from eckart.jobs.recommend.storing import check_model, save_model
    from eckart.storage import check_output

    check_model(model)
    check_files(data)
    target = options["output"] or model
    force = options["force"] or target == model
    check_output(target, force=force)
    with limited_threads(options["threads"]):
        result = add_interactions(loaded(model), data, column_names(options))
    save_model(result.model, target, force=force)
    if as_json:
        console.answer_json("recommend add", {**result.to_dict(), "folder": str(target)})
    else:
        console.notes(result.notes, quiet=options["quiet"])
        console.answer_text(result.sentence())
    console.note(f"Wrote {target}", quiet=options["quiet"])
    return 0
