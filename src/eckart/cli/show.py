"""`eckart show`."""

from pathlib import Path
from typing import Any, Final

import click

from eckart.cli import console
from eckart.cli.options import FILE, json_option

WRONG: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What a document raises that is not as eckart writes it."""


@click.command(epilog="Example: eckart show examples/article_start.npz")
@click.argument("factors", metavar="FACTORS", type=FILE)
@json_option
def show(factors: Path, as_json: bool) -> int:
    """Describe a file of factors: parts, shapes, bytes, and how they were made."""
    from eckart.jobs.describe import describe
    from eckart.storage.contents import other_document

    result = describe(factors).to_dict()
    try:
        made = _made_by(result["made_by"]) if result["made_by"] else None
        if as_json:
            console.answer_json("show", result)
            return 0
    except WRONG as error:
        raise other_document(factors) from error
    header = ("part", "rows × columns", "rank", "dtype", "bytes", "largest singular values")
    rows = [_row(part) for part in result["parts"]]
    console.answer_table(header, rows)
    if made is not None:
        command, figures, messages = made
        console.answer_text(f"Made by: {command}")
        console.answer_rows(figures)
        for message in messages:
            console.answer_text(message)
    return 0


def _made_by(made: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[str]]:
    """The run that wrote factors: its command, its figures, and what it said of each part."""
    from eckart.reports import factor_table

    messages = [f"{part['name']}: {part['message']}".removeprefix(": ") for part in made["parts"]]
    return str(made.get("command") or made["source"]), factor_table(made), messages


def _row(part: dict[str, Any]) -> tuple[str, ...]:
    rows, columns = part["shape"]
    values = "  ".join(f"{value:.4g}" for value in part["singular_values"][:4])
    more = " …" if len(part["singular_values"]) > 4 else ""
    return (
        part["name"] or "(no name)",
        f"{rows} × {columns}",
        str(part["rank"]),
        part["dtype"],
        f"{part['bytes']:,}",
        values + more,
    )
