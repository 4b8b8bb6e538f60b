"""Options and checks that the commands of `eckart recommend` share."""

from pathlib import Path
from typing import Any, Final

import click

from eckart.terminal import console
from eckart.terminal.options import FILE, together

MODEL: Final = click.argument("model", metavar="MODEL", type=FILE)
names_option = click.option(
    "--names", type=FILE, help="A table of ids and titles; the answers show the titles."
)


def length_option(words: str) -> Any:
    """The option for the length of lists, with a given help text."""
    return click.option(
        "-k",
        "--number",
        "k",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        help=words,
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


def attribute_tables(options: dict[str, Any]) -> Any:
    """The tables of attributes that were given; None if there are none."""
    # imported here, so that `--help` loads no numerical library
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


def column_names(options: dict[str, Any]) -> Any:
    """The names of columns that were given."""
    from eckart.recommend.columns import NAMES, ColumnNames

    return ColumnNames(**{role: options[f"{role}_column"] for role in NAMES})


def loaded(model: Path) -> Any:
    """The model that a folder holds."""
    from eckart.recommend.storing import load_model

    return load_model(model)


def wrote_model(folder: Path, *, quiet: bool) -> None:
    """Note where a model was written, and what to do in a shell whose folder was replaced."""
    console.note(f"Wrote {folder}", quiet=quiet)
    try:
        Path.cwd()
    except FileNotFoundError:
        # a replaced folder no longer exists for a shell that stands in it
        console.note("note: the folder that you are in was replaced; cd . is the new", quiet=quiet)


def titles(names: Path | None, fitted: Any) -> dict[str, str] | None:
    """Titles by id from a file, if one was given; a note says if it has none of the items."""
    if names is None:
        return None
    from eckart.recommend.answers import read_names

    found = read_names(names)
    # some of its ids are shown, since the wrong column may have been taken for them
    if not any(str(one) in found for one in fitted.data.items.listed()):
        ids = ", ".join(list(found)[:3])
        console.note(f"note: None of the items is in {names}, where ids are such as {ids}.")
    return found


def check_files(*paths: Path | None) -> None:
    """Refuse tables that do not exist or have an unknown suffix."""
    from eckart.files.tables import check_table

    for path in paths:
        if path is not None:
            check_table(path)


def line_rows(lines: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows of a list of items, as text."""
    # a column without a single title is left out
    titled = any("title" in line for line in lines)
    header = ("place", "item", "score", *(("title",) if titled else ()))
    rows = [
        (
            str(place),
            str(line["item"]),
            f"{line['score']:.4f}",
            *((line["title"],) if titled else ()),
        )
        for place, line in enumerate(lines, start=1)
    ]
    return header, rows
