"""`eckart recommend explain`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.options import json_option
from eckart.cli.recommend.shared import MODEL, check_files, k_option, loaded, names_option, titles


@click.command(epilog="Example: eckart recommend explain model --user 42 --item 50")
@MODEL
@click.option("--user", required=True, help="His id.")
@click.option("--item", required=True, help="Its id.")
@k_option
@names_option
@json_option
def explain(model: Path, user: str, item: str, k: int, names: Path | None, as_json: bool) -> int:
    """Which of a user's items speak for one, and which against it, summing to its score."""
    from eckart.jobs.recommend.explain import explain
    from eckart.jobs.recommend.storing import check_model

    check_model(model)
    check_files(names)
    fitted = loaded(model)
    document = explain(fitted, user, item, names=titles(names, fitted)).to_dict()
    if as_json:
        console.answer_json("recommend explain", document)
    else:
        _show(document, k)
    return 0


def _show(document: dict[str, Any], k: int) -> None:
    """The items that add most, for or against, the rest in one line, and the sum."""
    reasons = document["reasons"]
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
