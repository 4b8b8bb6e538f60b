"""`eckart recommend`: the table of its commands, and all commands except `fit` and `top`."""

from pathlib import Path
from typing import Any, Final

import click

from eckart.errors import ArgumentError
from eckart.recommend.options import (
    MODEL,
    attribute_options,
    attribute_tables,
    check_files,
    column_names,
    column_options,
    k_option,
    line_rows,
    loaded,
    names_option,
    titles,
    wrote_model,
)
from eckart.terminal import console
from eckart.terminal.options import (
    FILE,
    LazyGroup,
    answer_options,
    force_option,
    json_option,
    quiet_option,
    threads_option,
)
from eckart.threads import limited_threads

COMMANDS: Final = {
    "fit": ("eckart.recommend.fit_command", "Fit a model to ratings or to interactions."),
    "top": ("eckart.recommend.top_command", "The best items for one user, some or all."),
    "similar": ("eckart.recommend.commands", "The items that are most similar to one."),
    "explain": ("eckart.recommend.commands", "What each item of a user adds to the score of one."),
    "predict": ("eckart.recommend.commands", "The ratings of pairs of users and items."),
    "add": (
        "eckart.recommend.commands",
        "Add new interactions, users and items, without a new fit.",
    ),
    "remove": ("eckart.recommend.commands", "Forget a user."),
    "export": ("eckart.recommend.commands", "Write the factors for a vector store."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    epilog="Example: eckart recommend fit ratings.csv -o model && eckart recommend top model "
    "--user 42",
)
def recommend() -> None:
    """Recommend items to users, from ratings or from what they bought, heard or clicked.

    The matrix is users × items and most of its entries are unknown: the known ones are factored,
    and the product of the factors predicts the others.
    """


@click.command(epilog="Example: eckart recommend add model new_ratings.csv -o model2")
@MODEL
@click.argument("data", metavar="[INTERACTIONS]", type=FILE, required=False)
@column_options
@attribute_options
@answer_options
@threads_option
def add(model: Path, data: Path | None, as_json: bool, **options: Any) -> int:
    """Add new interactions, users and items to a model, by the equations of its fit.

    Tables of attributes can be added too, also alone, if the model was fitted with attributes.

    Without --output the model itself is replaced, completely or not at all. Known items keep their
    factors; `eckart recommend fit --from MODEL` fits everything again, starting from this model.
    """
    # imports of this kind are late in every command, so that `--help` loads no numerical library
    from eckart.recommend.folding import add_interactions
    from eckart.recommend.storing import updated_model, write_model

    tables = attribute_tables(options)
    if data is None and tables is None:
        raise ArgumentError(
            "There is nothing to add.",
            hint="Give a table of interactions, or of attributes.",
            code="missing-argument",
        )
    # none of them may be overwritten by the output
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


@click.command(epilog="Example: eckart recommend explain model --user 42 --item 50")
@MODEL
@click.option("--user", required=True, help="Id of the user.")
@click.option("--item", required=True, help="Id of the item.")
@k_option
@names_option
@json_option
def explain(model: Path, user: str, item: str, k: int, names: Path | None, as_json: bool) -> int:
    """Show which of a user's items raise or lower the score of an item; they sum to its score."""
    from eckart.recommend.explain import explain
    from eckart.recommend.storing import check_model

    check_model(model)
    check_files(names)
    fitted = loaded(model)
    document = explain(fitted, user, item, names=titles(names, fitted)).to_dict()
    if as_json:
        console.answer_json("recommend explain", document)
    else:
        _show_explanation(document, k)
    return 0


def _show_explanation(document: dict[str, Any], k: int) -> None:
    """Print the items that add most in size, the others in one line, and the sum."""
    reasons = document["reasons"]
    # the largest in size are chosen, then listed from the most positive to the most negative
    strongest = sorted(reasons, key=lambda one: -abs(one["adds"]))[:k]
    shown = sorted(strongest, key=lambda one: -one["adds"])
    titled, rated = "title" in document, bool(reasons) and reasons[0]["rating"] is not None
    rows = [
        (
            str(one["item"]),
            f"{one['adds']:+.4f}",
            *((f"{one['rating']:g}",) if rated else ()),
            *((one["title"],) if titled else ()),
        )
        for one in shown
    ]
    rest = len(reasons) - len(shown)
    padding = ("",) * (rated + titled)
    if rest:
        # so that the column still sums to the score
        left = sum(one["adds"] for one in reasons) - sum(one["adds"] for one in shown)
        rows.append((f"{rest} others", f"{left:+.4f}", *padding))
    if document.get("attributes"):
        rows.append(("attributes", f"{document['attributes']:+.4f}", *padding))
    if document["base"]:
        rows.append(("for anybody", f"{document['base']:+.4f}", *padding))
    rows.append(("score", f"{document['score']:.4f}", *padding))
    header = ("item", "adds", *(("rating",) if rated else ()), *(("title",) if titled else ()))
    named = document.get("title") or document["item"]
    title = f"User {document['user']}, item {named}"
    console.answer_table(header, rows, title=title, aside=titled)


@click.command(epilog="Example: eckart recommend export model -o items.parquet")
@MODEL
@click.option("-o", "--output", type=FILE, required=True, help="A .parquet or .npy file.")
@click.option(
    "--side",
    type=click.Choice(["users", "items"]),
    default="items",
    show_default=True,
    help="Whether the factors of users or of items are written.",
)
@force_option
@json_option
@quiet_option
def export(model: Path, output: Path, side: str, force: bool, as_json: bool, quiet: bool) -> int:
    """Write vectors of users or items whose inner products rank items as the model does.

    A .parquet file holds ids and vectors; a .npy file holds the vectors, with the ids in a .ids.txt
    file beside it.
    """
    from eckart.recommend.export import check_export, export_factors
    from eckart.recommend.storing import check_model

    check_model(model)
    check_export(output, side, force=force, inputs=[model])
    fitted = loaded(model)
    files = export_factors(fitted, output, side, force=force)
    count = len(fitted.data.users if side == "users" else fitted.data.items)
    # one number more for the biases, as `vectors_of` appends them
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


@click.command(epilog="Example: eckart recommend predict model pairs.csv -o predicted.csv --clip")
@MODEL
@click.argument("pairs", metavar="PAIRS", type=FILE)
@column_options
@click.option("--clip", is_flag=True, help="Keep predictions within the scale of the ratings.")
@names_option
@answer_options
def predict(model: Path, pairs: Path, as_json: bool, **options: Any) -> int:
    """Predict the rating of each pair of a table of users and items.

    With a column of ratings the error of the predictions is reported too. The prediction for an
    unknown user is the mean plus the bias of the item, and for an unknown item the mean plus the
    bias of the user. --output writes user, item, predicted (and deviation, rating) to a table.
    """
    from eckart.recommend.predict import predict_pairs
    from eckart.recommend.storing import check_model

    check_model(model)
    check_files(pairs, options["names"])
    output = options["output"]
    if output is not None:
        from eckart.files.tables import check_table_output

        # refused before the model is read, which takes long
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
        from eckart.files.tables import write_table

        write_table(output, result.columns(), force=options["force"])
    document = result.to_dict()
    if as_json:
        console.answer_json("recommend predict", document)
    else:
        console.notes(result.notes, quiet=options["quiet"])
        _show_predictions(document, written=output is not None)
    if output is not None:
        console.note(f"Wrote {output}", quiet=options["quiet"])
    return 0


def _show_predictions(document: dict[str, Any], *, written: bool, lines: int = 10) -> None:
    if not written:
        # the document holds the first thousand; a terminal shows ten
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


@click.command(epilog="Example: eckart recommend remove model --user 42")
@MODEL
@click.option("--user", required=True, help="Id of the user.")
@answer_options
def remove(model: Path, user: str, as_json: bool, **options: Any) -> int:
    """Forget a user: their id, factors and history.

    Without --output the model itself is replaced, completely or not at all. The factors of the
    items stay as the fit with this user left them; `eckart recommend fit --from MODEL` fits them
    again without this user.
    """
    from eckart.recommend.folding import remove_user
    from eckart.recommend.storing import updated_model, write_model

    target = options["output"] or model
    with updated_model(model, target, force=options["force"]) as (before, place):
        after = remove_user(before, user)
        write_model(after, place)
    gone = len(before.data) - len(after.data)
    if as_json:
        document = {"user": user, "interactions": gone, "users": len(after.data.users)}
        console.answer_json("recommend remove", {**document, "folder": str(target)})
    else:
        console.answer_text(f"Removed user {user} and {gone:,} interactions.")
    wrote_model(target, quiet=options["quiet"])
    return 0


@click.command(epilog="Example: eckart recommend similar model --item 50 --names items.csv")
@MODEL
@click.option("--item", required=True, help="Id of the item.")
@k_option
@names_option
@json_option
def similar(model: Path, item: str, k: int, names: Path | None, as_json: bool) -> int:
    """The items most similar to one: those whose factors have the nearest directions.

    The score is the cosine of the angle between the factors of both items, from −1 to 1.
    """
    from eckart.recommend.answers import similar_items
    from eckart.recommend.storing import check_model

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
