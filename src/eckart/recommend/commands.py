"""`eckart recommend`: its table of commands, what these share, and add, remove and export."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from eckart.errors import ArgumentError
from eckart.terminal import console
from eckart.terminal.options import (
    FILE,
    LazyGroup,
    answer_options,
    force_option,
    json_option,
    quiet_option,
    threads_option,
    together,
)
from eckart.threads import limited_threads

# imports of the library are late in every command, so that `--help` loads no numerical library
if TYPE_CHECKING:
    from eckart.recommend.attribute_tables import AttributeTables
    from eckart.recommend.columns import ColumnNames
    from eckart.recommend.model import Model

ANSWERS: Final = "eckart.recommend.answer_commands"
COMMANDS: Final = {
    "fit": ("eckart.recommend.fit_command", "Fit a model to ratings or to interactions."),
    "top": (ANSWERS, "The best items for one user, some or all."),
    "similar": (ANSWERS, "The items that are most similar to one."),
    "explain": (ANSWERS, "What each item of a user adds to the score of one."),
    "predict": (ANSWERS, "The ratings of pairs of users and items."),
    "add": (
        "eckart.recommend.commands",
        "Add new interactions, users and items, without a new fit.",
    ),
    "remove": ("eckart.recommend.commands", "Forget a user."),
    "export": ("eckart.recommend.commands", "Write the factors for a vector store."),
}
MODEL: Final = click.argument("model", metavar="MODEL", type=FILE)
names_option = click.option(
    "--names", type=FILE, help="A table of ids and titles; the answers show the titles."
)


def length_option(words: str) -> Any:
    """The option for the length of lists, with a given help text."""
    return click.option(
        "-k", "--number", "k", type=click.IntRange(min=1), default=10, show_default=True, help=words
    )


k_option = length_option("Length of the list.")
column_options = together(
    click.option("--user", "user_column", help="Name of the column of users, if it is unusual."),
    click.option("--item", "item_column", help="Name of the column of items, if it is unusual."),
    click.option("--rating", "rating_column", help="The column of ratings, if there is one."),
    click.option("--weight", "weight_column", help="The column of weights or counts."),
    click.option("--time", "time_column", help="The column of times."),
)
attribute_options = together(
    click.option("--user-attributes", type=FILE, help="A table of attributes of users, by id."),
    click.option("--item-attributes", type=FILE, help="A table of attributes of items, by id."),
)


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


def attribute_tables(options: dict[str, Any]) -> "AttributeTables | None":
    """The tables of attributes that were given; None if there are none."""
    from eckart.recommend.attribute_tables import AttributeTables

    if options["user_attributes"] is None and options["item_attributes"] is None:
        return None
    columns = (options.get(f"{role}_columns") for role in ("user", "item"))
    users, items = (None if one is None else tuple(one.split(",")) for one in columns)
    return AttributeTables(
        users=options["user_attributes"],
        items=options["item_attributes"],
        user_columns=users,
        item_columns=items,
    )


def column_names(options: dict[str, Any]) -> "ColumnNames":
    """The names of columns that were given."""
    from eckart.recommend.columns import NAMES, ColumnNames

    return ColumnNames(**{role: options[f"{role}_column"] for role in NAMES})


def check_files(*paths: Path | None) -> None:
    """Refuse tables that do not exist or have an unknown suffix."""
    from eckart.files.tables import check_table

    for path in paths:
        if path is not None:
            check_table(path)


def ask(
    model: Path, *tables: Path | None, names: Path | None, **output: Any
) -> tuple["Model", dict[str, str] | None]:
    """A model and the titles of its items, after a look at all files that are read or written."""
    from eckart.files.tables import check_table_output
    from eckart.recommend.storing import check_model, load_model

    check_model(model)
    check_files(*tables)
    if output.get("output") is not None:
        check_table_output(output["output"], force=output["force"], inputs=[model, *tables])
    fitted = load_model(model)
    return fitted, titles(names, fitted)


def titles(names: Path | None, fitted: "Model") -> dict[str, str] | None:
    """Titles by id from a file, if one was given; a note says if it has none of the items."""
    if names is None:
        return None
    from eckart.recommend.columns import read_names

    found = read_names(names)
    # some of its ids are shown, since the wrong column may have been taken for them
    if not any(str(one) in found for one in fitted.data.items.to_list()):
        ids = ", ".join(list(found)[:3])
        console.note(f"note: None of the items is in {names}, where ids are such as {ids}.")
    return found


def _answer(
    command: str, document: dict[str, Any], sentence: str, folder: Path, options: dict[str, Any]
) -> int:
    """Show what was done to a model, and note where the later model was written."""
    if options["as_json"]:
        console.answer_json(command, {**document, "folder": str(folder)})
    else:
        console.answer_text(sentence)
    console.note(f"Wrote {folder}", quiet=options["quiet"])
    try:
        Path.cwd()
    except FileNotFoundError:
        # a replaced folder no longer exists for a shell that stands in it
        note = "note: the folder that you are in was replaced; cd . is the new"
        console.note(note, quiet=options["quiet"])
    return 0


@click.command(epilog="Example: eckart recommend add model new_ratings.csv -o model2")
@MODEL
@click.argument("data", metavar="[INTERACTIONS]", type=FILE, required=False)
@column_options
@attribute_options
@answer_options
@threads_option
def add(model: Path, data: Path | None, **options: Any) -> int:
    """Add new interactions, users and items to a model, by the equations of its fit.

    Tables of attributes can be added too, also alone, if the model was fitted with attributes.

    Without --output the model itself is replaced, completely or not at all. Known items keep their
    factors; `eckart recommend fit --from MODEL` fits everything again, starting from this model.
    """
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
    if not options["as_json"]:
        console.notes(result.notes, quiet=options["quiet"])
    return _answer("recommend add", result.to_dict(), result.sentence(), target, options)


@click.command(epilog="Example: eckart recommend remove model --user 42")
@MODEL
@click.option("--user", required=True, help="Id of the user.")
@answer_options
def remove(model: Path, user: str, **options: Any) -> int:
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
    document = {"user": user, "interactions": gone, "users": len(after.data.users)}
    sentence = f"Removed user {user} and {gone:,} interactions."
    return _answer("recommend remove", document, sentence, target, options)


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
    from eckart.recommend.storing import check_export, check_model, export_factors, load_model

    check_model(model)
    check_export(output, side, force=force, inputs=[model])
    fitted = load_model(model)
    files = export_factors(fitted, output, side, force=force)
    count = len(fitted.data.users if side == "users" else fitted.data.items)
    # one number more for the biases, as `Model.vectors` appends them
    width = fitted.offset.rank + fitted.objective.has_biases
    if as_json:
        names = [str(path) for path in files]
        document = {"side": side, "vectors": count, "width": width, "files": names}
        console.answer_json("recommend export", document)
    else:
        console.answer_text(f"{count:,} vectors of {width} numbers.")
    for path in files:
        console.note(f"Wrote {path}", quiet=quiet)
    return 0
