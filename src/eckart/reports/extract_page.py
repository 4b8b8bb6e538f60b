"""The page of an adapter: what it takes in, layer by layer, and what it does not."""

from html import escape
from typing import Any, Final

from eckart.reports.extract_table import extract_table, extract_verdict, layer_rows, missing_rows
from eckart.reports.html import draw, frame, grid, table
from eckart.reports.layer_figures import error_map, layer_spectra, size_curve

LAYERS: Final = (
    "layer",
    "shape",
    "rank",
    "relative error",
    "best possible",
    "gap",
    "bytes",
    "of the change",
    "time",
)
MISSING: Final = ("tensor", "share of the change", "why")


def extract_page(document: dict[str, Any]) -> str:
    """The report of an extraction.

    Args:
        document: `Extraction.to_dict()`.

    Returns:
        HTML that is complete in itself: styles and script are inside.
    """
    layers = [one for one in document["tensors"] if one.get("rank")]
    notes = "".join(f'<p class="message">{escape(note)}</p>' for note in document["notes"])
    curves = [size_curve(document), layer_spectra(layers)]
    cards = "".join(f'<div class="card">{draw(curve)}</div>' for curve in curves if curve)
    rows, missing = layer_rows(document), missing_rows(document)
    return frame(
        title=f"Adapter {document['folder']}",
        body=f"""
<h1>{escape(document["folder"])}</h1>
<p class="equation">W_tuned − W_base ≈ B·A, {escape(document["source"])}</p>
<p class="message">{escape(extract_verdict(document))}</p>
{notes}
<h2>Figures</h2>
<div class="card">{table(extract_table(document))}</div>
{_drawn("The error over depth and kind", error_map(layers))}
<h2>Size, error and spectra</h2>
<div class="pair">{cards}</div>
{_section("What is not covered", MISSING, missing) if missing else ""}
{_section("The layers", LAYERS, rows) if rows else ""}
<h2>Run it again</h2>
<pre>{escape(document["command"] or "eckart.extract_adapter(…)")}</pre>
<footer>eckart {escape(document["version"])}</footer>""",
    )


def _drawn(title: str, figure: Any) -> str:
    return f'<h2>{title}</h2><div class="card wide">{draw(figure)}</div>' if figure else ""


def _section(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    marks = [""] * len(rows)
    return f'<h2>{title}</h2><div class="card wide">{grid(header, rows, marks)}</div>'
