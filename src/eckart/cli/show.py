"""`eckart show`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.options import FILE, json_option


@click.command(epilog="Example: eckart show examples/article_start.npz")
@click.argument("factors", metavar="FACTORS", type=FILE)
@json_option
def command(factors: Path, as_json: bool) -> int:
    """Describe a file of factors: parts, shapes, bytes, and how they were made."""
    from eckart.jobs.describe import describe

    result = describe(factors).to_dict()
    if as_json:
        console.answer_json("show", result)
        return 0
    header = ("part", "rows × columns", "rank", "dtype", "bytes", "largest singular values")
    rows = [_row(part) for part in result["parts"]]
    console.answer_table(header, rows)
    made = result["made_by"]
    if made:
        from eckart.reports import factor_table

        console.answer_text(f"Made by: {made.get('command') or made['source']}")
        console.answer_rows(factor_table(made))
        for part in made["parts"]:
            console.answer_text(f"{part['name']}: {part['message']}".removeprefix(": "))
    return 0


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
