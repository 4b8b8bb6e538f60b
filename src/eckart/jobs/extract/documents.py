"""What lies beside an adapter for people and programs: a report, its figures, a README."""

import json
from pathlib import Path
from typing import Any, Final

from eckart.jobs.extract.report_schema import is_report
from eckart.jobs.extract.result import Extraction
from eckart.storage import write_text

REPORT: Final = "report.json"
PAGE: Final = "report.html"
README: Final = "README.md"
MOST_ROWS: Final = 40


def write_documents(result: Extraction, folder: Path) -> None:
    """Write `report.json`, `report.html` and `README.md` into the folder of an adapter."""
    write_page(result.to_dict(), folder)


def write_page(document: dict[str, Any], folder: Path) -> None:
    """The same from the document of a result."""
    from eckart.reports import extract_page  # draws with a library that takes long to load

    write_text(folder / REPORT, json.dumps(document, allow_nan=False))
    write_text(folder / PAGE, extract_page(document))
    write_text(folder / README, _readme(document))


def read_report(folder: Path) -> dict[str, Any] | None:
    """The figures beside an adapter, where eckart wrote them and they can be read."""
    path = folder / REPORT
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        document = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    return document if is_report(document) else None


def _readme(document: dict[str, Any]) -> str:
    from eckart.reports import extract_table, extract_verdict, layer_rows, missing_rows

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
        f"For every layer W_tuned − W_base ≈ B·A. {extract_verdict(document)}",
        "",
        *(f"{note}\n" for note in document["notes"]),
        "```python",
        "from peft import PeftModel",
        f"model = PeftModel.from_pretrained(base, {own!r})  # base: {base or 'as loaded'}",
        "```",
        "",
        *_grid(("", ""), extract_table(document)),
        "",
        "Made with:",
        "",
        "```",
        document["command"] or "eckart.extract_adapter(…)",
        "```",
        "",
        *_caveats(settings),
        "",
        "## Layers",
        "",
        *_grid(
            ("layer", "rank", "relative error", "best possible"),
            [(row[0], row[2], row[3], row[4]) for row in layer_rows(document)][:MOST_ROWS],
        ),
        "",
        f"All of them are in `{PAGE}` and `{REPORT}`.",
    ]
    return "\n".join([*lines, *_not_covered(missing_rows(document))]) + "\n"


def _not_covered(missing: list[tuple[str, ...]]) -> list[str]:
    if not missing:
        return []
    heads = ("tensor", "share of the change", "why")
    return ["", "## Not covered", "", *_grid(heads, missing[:MOST_ROWS])]


def _caveats(settings: dict[str, Any]) -> list[str]:
    said = [
        "Errors are of the weights, measured with the factors as they are stored; "
        "what a task makes of them is for the task to say."
    ]
    if settings["profile"] == "portable":
        said.append("It has linear layers of one rank only, as vLLM and llama.cpp want it.")
    else:
        said.append(
            "Ranks may differ between layers, which PEFT reads and vLLM and llama.cpp do not; "
            "`--profile portable` makes one for them."
        )
    return said


def _grid(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "·") for cell in line) + " |" for line in lines]
