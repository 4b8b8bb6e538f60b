"""`eckart recommend top`."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from eckart.errors import ArgumentError
from eckart.recommend.options import (
    MODEL,
    check_files,
    k_option,
    line_rows,
    loaded,
    names_option,
    titles,
)
from eckart.terminal import console
from eckart.terminal.options import FILE, answer_options, threads_option
from eckart.threads import limited_threads


@click.command(epilog="Example: eckart recommend top model --user 42 -k 10 --names items.csv")
@MODEL
@click.option("--user", "user_ids", multiple=True, help="Id of a user; may be repeated.")
@click.option("--users", type=FILE, help="A table with a column of users.")
@click.option("--all", "everyone", is_flag=True, help="Recommend to all users.")
@k_option
@click.option("--seen", is_flag=True, help="Also list items that the user has interacted with.")
@click.option("--only", help="The items that may be listed, separated by commas, or a table.")
@click.option("--without", help="Items to leave out, separated by commas, or a table.")
@names_option
@answer_options
@threads_option
def top(model: Path, as_json: bool, **options: Any) -> int:
    """Recommend the best items to users, without those that they have interacted with.

    The lists are shown, or written to --output: a .parquet, .csv, .tsv or .jsonl file with the
    columns user, item, place, score, popular. Users of whom nothing is known get the most popular
    items, and a note says so.
    """
    # imported here, so that `--help` loads no numerical library
    from eckart.recommend.storing import check_model

    check_model(model)
    # everything that can be refused without the model comes first: reading it takes longest
    _check_wanted(options)
    check_files(options["names"], options["users"])
    output = options["output"]
    if output is not None:
        from eckart.files.tables import check_table_output

        read = [model, *(options[name] for name in ("names", "users")), *_tables(options)]
        check_table_output(output, force=options["force"], inputs=read)
    with limited_threads(options["threads"]):
        fitted = loaded(model)
        names = titles(options["names"], fitted)
        users = _wanted(options, fitted)
        only, without = (_items(options[name], fitted) for name in ("only", "without"))
        if output is None:
            return _show(fitted, users, only, without, names, as_json=as_json, options=options)
        return _write(fitted, users, only, without, names, as_json=as_json, options=options)


def _show(
    fitted: Any, users: Any, only: Any, without: Any, names: Any, *, as_json: bool, options: Any
) -> int:
    from eckart.recommend.top import top_items

    chosen = fitted.data.users.listed() if users is None else users
    lists = top_items(
        fitted,
        chosen,
        options["k"],
        seen=options["seen"],
        only=only,
        without=without,
        names=names,
    )
    documents = [one.to_dict() for one in lists]
    if as_json:
        console.answer_json("recommend top", {"k": options["k"], "users": documents})
        return 0
    for one in documents:
        header, rows = line_rows(one["items"])
        title = f"User {one['user']}" if len(documents) > 1 else ""
        console.answer_table(header, rows, title=title, aside="title" in header)
        if one["popular"]:
            console.note(
                f"Nothing is known of user {one['user']}: these are the items most users chose.",
                quiet=options["quiet"],
            )
        # a shorter list is not an error, but it would look like one
        if len(one["items"]) < options["k"]:
            console.note(
                f"No more than {len(one['items'])} items are left for user {one['user']}.",
                quiet=options["quiet"],
            )
    return 0


def _write(
    fitted: Any, users: Any, only: Any, without: Any, names: Any, *, as_json: bool, options: Any
) -> int:
    from eckart.recommend.top import write_top

    result = write_top(
        fitted,
        options["output"],
        users,
        options["k"],
        seen=options["seen"],
        only=only,
        without=without,
        names=names,
        watch=console.watching(quiet=options["quiet"]),
        force=options["force"],
    )
    if as_json:
        console.answer_json("recommend top", result.to_dict())
    else:
        console.answer_text(result.sentence())
    console.note(f"Wrote {options['output']}", quiet=options["quiet"])
    return 0


def _check_wanted(options: dict[str, Any]) -> None:
    """Refuse options that do not name the users in exactly one way.

    Raises:
        ArgumentError: If they do not.
    """
    ways = [bool(options["user_ids"]), options["users"] is not None, options["everyone"]]
    if sum(ways) != 1:
        raise ArgumentError(
            "Whose list it should be is not clear.",
            hint="Give exactly one of --user ID, --users FILE and --all.",
            code="bad-users",
        )
    if not all(one.strip() for one in options["user_ids"]):
        raise ArgumentError("The id of a user is empty.", hint="Name the user.", code="bad-users")


def _wanted(options: dict[str, Any], fitted: Any) -> Any:
    """The ids of the requested users; None for all users."""
    if options["everyone"]:
        return None
    if options["user_ids"]:
        return list(options["user_ids"])
    from eckart.recommend.top import read_ids

    return read_ids(options["users"], "user", fitted.named)


def _items(words: str | None, fitted: Any) -> Any:
    """The ids of items from a list separated by commas or from a table."""
    if words is None:
        return None
    if _is_table(words):
        from eckart.recommend.top import read_ids

        return read_ids(Path(words), "item", fitted.named)
    items = [word.strip() for word in words.split(",") if word.strip()]
    if not items:
        raise ArgumentError(
            "No item is named.",
            hint="Name items, separated by commas, or a table.",
            code="no-items",
        )
    return items


def _tables(options: dict[str, Any]) -> list[Path]:
    """The tables among the options --only and --without."""
    words = [options[name] for name in ("only", "without")]
    return [Path(one) for one in words if one is not None and _is_table(one)]


def _is_table(words: str) -> bool:
    with suppress(OSError, ValueError):  # a long list is not a valid name of a file
        return Path(words).is_file()
    return False
