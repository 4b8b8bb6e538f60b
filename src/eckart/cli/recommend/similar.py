"""`eckart recommend similar`."""

from pathlib import Path

import click

from eckart.cli import console
from eckart.cli.options import json_option
from eckart.cli.recommend.shared import (
    MODEL,
    check_files,
    k_option,
    line_rows,
    loaded,
    names_option,
    titles,
)


@click.command(epilog="Example: eckart recommend similar model --item 50 --names items.csv")
@MODEL
@click.option("--item", required=True, help="Its id.")
@k_option
@names_option
@json_option
def similar(model: Path, item: str, k: int, names: Path | None, as_json: bool) -> int:
    """The items most like one: those whose factors point most nearly where its own do.

    The score is the cosine of the angle between the two, from −1 to 1.
    """
    from eckart.jobs.recommend.similarity import similar_items
    from eckart.jobs.recommend.storing import check_model

    check_model(model)
    check_files(names)
    fitted = loaded(model)
    result = similar_items(fitted, item, k, names=titles(names, fitted)).to_dict()
    if as_json:
        console.answer_json("recommend similar", {"item": item, **result})
        return 0
    header, rows = line_rows(result["items"])
    console.answer_table(header, rows, aside="title" in header)
    return 0
