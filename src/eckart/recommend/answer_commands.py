"""The commands of `eckart recommend` that ask a model: top, similar, explain and predict."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from eckart.errors import ArgumentError
from eckart.recommend.commands import (
    MODEL,
    ask,
    column_names,
    column_options,
    k_option,
    names_option,
)
from eckart.terminal import console
from eckart.terminal.options import FILE, answer_options, json_option, threads_option
from eckart.threads import limited_threads

# late in the commands too, so that `--help` loads no numerical library
if TYPE_CHECKING:
    from eckart.recommend.model import Model

Line: TypeAlias = dict[str, Any]
"""A line of an answer, by the names of its columns."""
OPTIONAL: Final = frozenset({"rating", "deviation", "title"})
"""Columns that are shown only if some line has them."""


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
def top(model: Path, **options: Any) -> int:
    """Recommend the best items to users, without those that they have interacted with.

    The lists are shown, or written to --output: a .parquet, .csv, .tsv or .jsonl file with the
    columns user, item, place, score, popular. Users of whom nothing is known get the most popular
    items, and a note says so.
    """
    # everything that can be refused without the model comes first: reading it takes longest
    _check_users(options)
    tables = [options["names"], options["users"]]
    words = [options[name] for name in ("only", "without")]
    tables += [Path(one) for one in words if one is not None and _is_table(one)]
    outputs = {name: options[name] for name in ("output", "force")}
    with limited_threads(options["threads"]):
        fitted, names = ask(model, *tables, names=options["names"], **outputs)
        chosen: dict[str, Any] = {"names": names, "seen": options["seen"]}
        chosen |= {name: _items(options[name], fitted) for name in ("only", "without")}
        answer = _show_lists if options["output"] is None else _write_lists
        return answer(fitted, _users(options, fitted), chosen, options)


def _show_lists(fitted: "Model", users: Any, chosen: dict[str, Any], options: Any) -> int:
    from eckart.recommend.top import top_items

    asked = fitted.data.users.to_list() if users is None else users
    documents = [one.to_dict() for one in top_items(fitted, asked, options["k"], **chosen)]
    if options["as_json"]:
        console.answer_json("recommend top", {"k": options["k"], "users": documents})
        return 0
    for one in documents:
        _show_items(one["items"], title=f"User {one['user']}" if len(documents) > 1 else "")
        user, notes = one["user"], list[str]()
        if one["popular"]:
            notes.append(f"Nothing is known of user {user}: these are the items most users chose.")
        # a shorter list is not an error, but it would look like one
        if len(one["items"]) < options["k"]:
            notes.append(f"No more than {len(one['items'])} items are left for user {user}.")
        for note in notes:
            console.note(note, quiet=options["quiet"])
    return 0


def _write_lists(fitted: "Model", users: Any, chosen: dict[str, Any], options: Any) -> int:
    from eckart.recommend.top import write_top

    chosen |= {"force": options["force"], "watch": console.watching(quiet=options["quiet"])}
    result = write_top(fitted, options["output"], users, options["k"], **chosen)
    if options["as_json"]:
        console.answer_json("recommend top", result.to_dict())
    else:
        console.answer_text(result.sentence())
    console.note(f"Wrote {options['output']}", quiet=options["quiet"])
    return 0


def _show_items(items: list[Line], title: str = "") -> None:
    """Print a ranked list."""
    placed = [{**one, "place": place} for place, one in enumerate(items, start=1)]
    _show_columns(placed, {"place": "d", "item": "", "score": ".4f", "title": ""}, title)


def _show_columns(
    lines: list[Line], formats: dict[str, str], title: str = "", below: Sequence[Line] = ()
) -> None:
    """Print columns of lines, each in its format, and lines below them."""
    shown = [name for name in formats if name not in OPTIONAL or any(name in one for one in lines)]

    def cell(one: Line, name: str) -> str:
        return "" if one.get(name) is None else f"{one[name]:{formats[name]}}"

    rows = [tuple(cell(one, name) for name in shown) for one in (*lines, *below)]
    console.answer_table(tuple(shown), rows, title=title, aside="title" in shown)


def _check_users(options: dict[str, Any]) -> None:
    """Refuse options that do not name the users in exactly one way."""
    ways = [bool(options["user_ids"]), options["users"] is not None, options["everyone"]]
    if sum(ways) != 1:
        raise ArgumentError(
            "Whose list it should be is not clear.",
            hint="Give exactly one of --user ID, --users FILE and --all.",
            code="bad-users",
        )
    if not all(one.strip() for one in options["user_ids"]):
        raise ArgumentError("The id of a user is empty.", hint="Name the user.", code="bad-users")


def _users(options: dict[str, Any], fitted: "Model") -> list[object] | None:
    """The ids of the requested users; None for all users."""
    if options["everyone"]:
        return None
    if options["user_ids"]:
        return list(options["user_ids"])
    from eckart.recommend.columns import read_ids

    return read_ids(options["users"], "user", fitted.named)


def _items(words: str | None, fitted: "Model") -> list[object] | None:
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
    return list[object](items)


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
    from eckart.recommend.top import similar_items

    fitted, titles = ask(model, names, names=names)
    result = similar_items(fitted, item, k, names=titles).to_dict()
    if as_json:
        console.answer_json("recommend similar", {"item": item, **result})
    else:
        _show_items(result["items"])
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

    fitted, titles = ask(model, names, names=names)
    document = explain(fitted, user, item, names=titles).to_dict()
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
    below: list[Line] = []
    if len(shown) < len(reasons):
        # so that the column still sums to the score
        left = sum(one["adds"] for one in reasons) - sum(one["adds"] for one in shown)
        below.append({"item": f"{len(reasons) - len(shown)} others", "adds": f"{left:+.4f}"})
    if document.get("attributes"):
        below.append({"item": "attributes", "adds": f"{document['attributes']:+.4f}"})
    if document["base"]:
        below.append({"item": "for anybody", "adds": f"{document['base']:+.4f}"})
    below.append({"item": "score", "adds": f"{document['score']:.4f}"})
    lines = [{**one, "adds": f"{one['adds']:+.4f}"} for one in shown]
    if not reasons or reasons[0]["rating"] is None:
        lines = [{name: one[name] for name in one if name != "rating"} for one in lines]
    title = f"User {document['user']}, item {document.get('title') or document['item']}"
    _show_columns(lines, {"item": "", "adds": "", "rating": "g", "title": ""}, title, below)


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
    from eckart.files.tables import write_table
    from eckart.recommend.predictions import predict_pairs

    output, force, names = options["output"], options["force"], options["names"]
    fitted, titles = ask(model, pairs, names, names=names, output=output, force=force)
    result = predict_pairs(fitted, pairs, column_names(options), clip=options["clip"], names=titles)
    if output is not None:
        write_table(output, result.columns(), force=force)
    document = result.to_dict()
    if as_json:
        console.answer_json("recommend predict", document)
    else:
        console.notes(result.notes, quiet=options["quiet"])
        if output is None:
            formats = {"user": "", "item": "", "predicted": ".4f", "deviation": ".4f", "title": ""}
            # the document holds the first thousand; a terminal shows ten
            _show_columns(document["predictions"][:10], formats)
        console.answer_rows(_prediction_figures(document))
    if output is not None:
        console.note(f"Wrote {output}", quiet=options["quiet"])
    return 0


def _prediction_figures(document: dict[str, Any]) -> list[tuple[str, str]]:
    figures = [("pairs", f"{document['pairs']:,}")]
    unknown = [name for name in ("unknown_users", "unknown_items") if document[name]]
    figures += [(name.replace("_", " "), f"{document[name]:,}") for name in unknown]
    for name in ("rmse", "mae"):
        if document[name] is not None:
            error = document[f"{name}_error"]
            margin = "" if error is None else f" ± {error:.4f}"
            figures.append((name.upper(), f"{document[name]:.4f}{margin}"))
    return figures
