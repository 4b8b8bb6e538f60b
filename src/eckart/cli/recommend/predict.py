"""`eckart recommend predict`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.options import FILE, answer_options
from eckart.cli.recommend.shared import (
    MODEL,
    check_files,
    column_names,
    column_options,
    loaded,
    names_option,
    titles,
)


@click.command(epilog="Example: eckart recommend predict model pairs.csv -o predicted.csv --clip")
@MODEL
@click.argument("pairs", metavar="PAIRS", type=FILE)
@column_options
@click.option("--clip", is_flag=True, help="Keep predictions within the scale of the ratings.")
@names_option
@answer_options
def predict(model: Path, pairs: Path, as_json: bool, **options: Any) -> int:
    """The rating of each pair of a table of users and items.

    With a column of ratings it also says how far the predictions are off. Of an unknown user the
    prediction is the mean and what the item adds to it, of an unknown item the mean and what the
    user adds. --output writes user, item, predicted (and deviation, rating) to a table.
    """
    from eckart.jobs.recommend.predict import predict_pairs
    from eckart.jobs.recommend.storing import check_model

    check_model(model)
    check_files(pairs, options["names"])
    output = options["output"]
    if output is not None:
        from eckart.storage.tables import check_table_output

        read = [model, pairs, options["names"]]
        check_table_output(output, force=options["force"], inputs=read)
    fitted = loaded(model)
    result = predict_pairs(
        fitted,
        pairs,
        column_names(options),
        clip=options["clip"],
        names=titles(options["names"], fitted),
    )
    if output is not None:
        from eckart.storage.tables import write_table

        write_table(output, result.columns(), force=options["force"])
    document = result.to_dict()
    if as_json:
        console.answer_json("recommend predict", document)
    else:
        console.notes(result.notes, quiet=options["quiet"])
        _show(document, written=output is not None)
    if output is not None:
        console.note(f"Wrote {output}", quiet=options["quiet"])
    return 0


def _show(document: dict[str, Any], *, written: bool, lines: int = 10) -> None:
    if not written:
        shown = document["predictions"][:lines]
        spread = any("deviation" in one for one in shown)
        titled = any("title" in one for one in shown)
        rows = [
            (
                str(one["user"]),
                str(one["item"]),
                f"{one['predicted']:.4f}",
                *((_number(one["deviation"]),) if spread else ()),
                *((one["title"],) if titled else ()),
            )
            for one in shown
        ]
        header = ("user", "item", "predicted", *(("deviation",) if spread else ()))
        console.answer_table((*header, *(("title",) if titled else ())), rows, aside=titled)
    figures = [("pairs", f"{document['pairs']:,}")]
    unknown = [name for name in ("unknown_users", "unknown_items") if document[name]]
    figures += [(name.replace("_", " "), f"{document[name]:,}") for name in unknown]
    for name in ("rmse", "mae"):
        if document[name] is not None:
            error = document[f"{name}_error"]
            spread_of = "" if error is None else f" ± {error:.4f}"
            figures.append((name.upper(), f"{document[name]:.4f}{spread_of}"))
    console.answer_rows(figures)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
