"""The report and the README beside an adapter, and the check of a report that is read back.

A folder with an adapter may come from anybody, so no figure of its `report.json` is used before
all of them have the right types and ranges.
"""

import json
import math
from pathlib import Path
from typing import Any, Final, get_args

from eckart.adapters.settings import Document
from eckart.checkpoints.peft.writer import DTYPES
from eckart.engine.result import Grade
from eckart.files import write_text

_MAYBE: Final = (0.0, None)
"""A number, or None: the norm of a tensor that one model lacks, and a gap that nothing bounds."""
_TENSOR: Final = {
    **dict.fromkeys(("name", "state", "why"), ""),
    "shape": [0.0],
    **dict.fromkeys(("bytes", "share_of_delta"), 0.0),
    "delta_norm": _MAYBE,
}
"""A tensor of a report, by examples of its fields."""
_FACTORED: Final = {
    **_TENSOR,
    "rank": 0,
    **dict.fromkeys(("relative_error", "best_possible_error", "relative_change"), 0.0),
    **dict.fromkeys(("delta_norm", "seconds"), 0.0),
    "gap": _MAYBE,
    "singular_values": [0.0],
}
"""A layer that was factored, kept or left out."""
_DOCUMENT: Final = {
    **dict.fromkeys(("source", "base", "tuned", "folder", "command", "version", "grade"), ""),
    **dict.fromkeys(("seconds", "delta_norm", "relative_error", "relative_error_of_layers"), 0.0),
    **dict.fromkeys(("bytes", "factor_bytes", "unchanged"), 0.0),
    "settings": {"dtype": ""},
    "curve": {"bytes": [0.0], "shared": [0.0], "uniform": [0.0]},
    "notes": [""],
    "tensors": [{}],
}
"""A report, as `Extraction.to_dict` writes it."""


def is_report(document: Any) -> bool:
    """Whether a document is the report of an extraction whose figures have the right types."""
    return (
        _is_like(document, _DOCUMENT)
        and _is_finite(document)
        and document["grade"] in get_args(Grade)
        and document["settings"]["dtype"] in DTYPES
        and all(
            _is_like(one, _FACTORED if {"relative_error", "rank"} & one.keys() else _TENSOR)
            for one in document["tensors"]
        )
    )


def _is_like(value: Any, example: Any) -> bool:
    """Whether a value has the type of an example, of one of several, or all its fields."""
    match example:
        case tuple():
            return any(_is_like(value, one) for one in example)
        case dict():
            return isinstance(value, dict) and all(
                key in value and _is_like(value[key], own) for key, own in example.items()
            )
        case [own]:
            return isinstance(value, list) and all(_is_like(one, own) for one in value)
        case float():  # JSON does not tell 1.0 from 1; a NaN is not >= 0
            return type(value) in (int, float) and value >= 0
        case int():
            return type(value) is int and value >= 0
        case _:
            return type(value) is type(example)


def _is_finite(value: Any) -> bool:
    """Whether no number of a document is NaN or infinite, which JSON cannot express."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


REPORT: Final = "report.json"
"""Name of the file of figures beside an adapter."""
PAGE: Final = "report.html"
"""Name of the page beside an adapter."""
MOST_ROWS: Final = 40
"""Rows of a table in the README; the page and the report hold all of them."""


def write_documents(document: Document, folder: Path) -> None:
    """Write the report, its page and the README beside an adapter."""
    from eckart.adapters import report  # imports plotly, which takes long to load

    write_text(folder / REPORT, json.dumps(document, allow_nan=False))
    write_text(folder / PAGE, report.extract_page(document))
    write_text(folder / "README.md", _readme(document))


def read_report(folder: Path) -> Document | None:
    """The report beside an adapter, or None if eckart wrote none or it cannot be used."""
    path = folder / REPORT
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        document = json.loads(text)
    except (OSError, ValueError, RecursionError):  # the last: JSON nested thousands of levels deep
        return None
    return document if is_report(document) else None


def _readme(document: Document) -> str:
    from eckart.adapters import report

    settings = document["settings"]
    base = settings["base_name"]
    named = [f"base_model: {base}"] if base else []
    own = Path(document["folder"]).name
    lines = [
        "---",
        *named,
        "library_name: peft",
        "tags:",
        "- lora",
        "- eckart",
        "---",
        "",
        "# A low-rank adapter extracted from a fine-tune",
        "",
        f"For every layer W_tuned − W_base ≈ B·A. {report.extract_verdict(document)}",
        "",
        *(f"{note}\n" for note in document["notes"]),
        "```python",
        "from peft import PeftModel",
        f"model = PeftModel.from_pretrained(base, {own!r})  # base: {base or 'as loaded'}",
        "```",
        "",
        *_grid(("", ""), report.extract_table(document)),
        "",
        "Made with:",
        "",
        "```",
        document["command"] or "eckart.extract_adapter(…)",
        "```",
        "",
        "Errors are of the weights, measured with the factors as they are stored; "
        "what a task makes of them is for the task to say.",
        "It has linear layers of one rank only, as vLLM and llama.cpp want it."
        if settings["profile"] == "portable"
        else "Ranks may differ between layers, which PEFT reads and vLLM and llama.cpp do not; "
        "`--profile portable` makes one for them.",
        "",
        "## Layers",
        "",
        *_grid(
            ("layer", "rank", "relative error", "best possible"),
            [(row[0], row[2], row[3], row[4]) for row in report.layer_rows(document)][:MOST_ROWS],
        ),
        "",
        f"All of them are in `{PAGE}` and `{REPORT}`.",
    ]
    missing = report.missing_rows(document, report.MOST_MISSING)[:MOST_ROWS]
    if missing:
        lines += ["", "## Not covered", "", *_grid(report.MISSING, missing)]
    return "\n".join(lines) + "\n"


def _grid(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    # a bar in a name would end its cell in Markdown
    return ["| " + " | ".join(cell.replace("|", "·") for cell in line) + " |" for line in lines]
