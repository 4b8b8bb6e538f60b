"""The commands of `eckart recommend` that ask a model: top, similar, explain and predict."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from eckart.errors import ArgumentError
from eckart.recommend.commands import (
    MODEL,
    check_files,
    column_names,
    column_options,
    k_option,
    line_rows,
    loaded,
    names_option,
    titles,
)
from eckart.terminal import console
from eckart.terminal.options import (
    FILE,
    answer_options,
    json_option,
    threads_option,
)
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
            return _show_lists(
                fitted, users, only, without, names, as_json=as_json, options=options
            )
        return _write_lists(fitted, users, only, without, names, as_json=as_json, options=options)


def _show_lists(
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


def _write_lists(
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
    from eckart.recommend.columns import read_ids

    return read_ids(options["users"], "user", fitted.named)


def _items(words: str | None, fitted: Any) -> Any:
    """The ids of items from a list separated by commas or from a table."""
    if words is None:
        return None
    if _is_table(words):
        from eckart.recommend.columns import read_ids

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
    from eckart.recommend.storing import check_model
    from eckart.recommend.top import similar_items

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


@click.command(epilog="Example: eckart recommend explain model --user 42 --item 50")
@MODEL
@click.option("--user", required=True, help="Id of the user.")
@click.option("--item", required=True, help="Id of the item.")
@k_option
@names_option
@json_option
def explain(model: Path, user: str, item: str, k: int, names: Path | None, as_json: bool) -> int:
    """Show which of a user's items raise or lower the score of an item; they sum to its score."""
    from eckart.recommend.predictions import explain
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
    from eckart.recommend.predictions import predict_pairs
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
