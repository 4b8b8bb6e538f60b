"""A reduction in a few lines of text."""

from typing import Any, Final

from eckart.reports.table import byte_size, figure, seconds, share

MOST_LINES: Final = 10
NAMED: Final = 3


def component_rows(document: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and one row for each of the first components.

    Args:
        document: `Reduced.to_dict()`.
    """
    header = ("component", "variance", "share", "together", "strongest columns")
    lines = zip(
        document["explained_variance"],
        document["explained_share"],
        document["cumulative_share"],
        document["components"],
        strict=True,
    )
    rows = [
        (f"PC{place}", f"{variance:.4g}", f"{own:.2%}", f"{together:.2%}", strongest_words(named))
        for place, (variance, own, together, named) in enumerate(lines, start=1)
    ]
    if len(rows) > MOST_LINES:
        left = len(rows) - MOST_LINES
        rows = [*rows[: MOST_LINES - 1], ("…", "", "", "", f"{left} more"), rows[-1]]
    return header, rows


def reduce_table(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Labels and values for a person.

    Args:
        document: `Reduced.to_dict()`.
    """
    proof, (rows, columns) = document["certificate"], document["shape"]
    table = [
        ("rows × columns", f"{rows} × {columns}"),
        ("components", str(document["rank"])),
        ("relative error", figure(proof["relative_error"])),
        ("share of the optimum", share(proof.get("share_of_optimum", _share(proof)))),
    ]
    if document["streamed"]:
        each = byte_size(document["read_bytes"])
        table.append(("passes over the data", f"{document['passes']}, of {each} each"))
    if document["seconds"]:
        table.append(("time", seconds(document["seconds"])))
    return table


def strongest_words(named: dict[str, Any]) -> str:
    """The strongest columns of a component with their signs: "+height −width"."""
    pairs = zip(named["columns"][:NAMED], named["loadings"], strict=False)
    return " ".join(f"{'−' if loading < 0 else '+'}{name}" for name, loading in pairs)


def _share(proof: dict[str, Any]) -> float | None:
    return None if proof["gap"] is None else 1 / (1 + proof["gap"])
