"""`eckart recommend export`."""

from pathlib import Path

import click

from eckart.cli import console
from eckart.cli.options import FILE, force_option, json_option, quiet_option
from eckart.cli.recommend.shared import MODEL, loaded


@click.command(epilog="Example: eckart recommend export model -o items.parquet")
@MODEL
@click.option("-o", "--output", type=FILE, required=True, help="A .parquet or .npy file.")
@click.option(
    "--side",
    type=click.Choice(["users", "items"]),
    default="items",
    show_default=True,
    help="Whose factors.",
)
@force_option
@json_option
@quiet_option
def export(model: Path, output: Path, side: str, force: bool, as_json: bool, quiet: bool) -> int:
    """Write the vectors of users or items so that their inner product ranks as the model does.

    A .parquet holds ids and vectors; a .npy the vectors, with the ids in a .ids.txt beside it.
    """
    from eckart.jobs.recommend.exporting import check_export, export_factors
    from eckart.jobs.recommend.storing import check_model

    check_model(model)
    check_export(output, side, force=force, inputs=[model])
    fitted = loaded(model)
    files = export_factors(fitted, output, side, force=force)
    count = len(fitted.data.users if side == "users" else fitted.data.items)
    width = fitted.offset.rank + fitted.objective.has_biases
    if as_json:
        document = {"side": side, "vectors": count, "width": width}
        console.answer_json(
            "recommend export", {**document, "files": [str(path) for path in files]}
        )
    else:
        console.answer_text(f"{count:,} vectors of {width} numbers.")
    for path in files:
        console.note(f"Wrote {path}", quiet=quiet)
    return 0
