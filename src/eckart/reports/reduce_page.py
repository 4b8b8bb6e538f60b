"""The page of a reduction."""

from html import escape
from typing import Any, Final

from eckart.reports import reduce_figures as figures
from eckart.reports.html import draw, frame, grid, table
from eckart.reports.origin import origin
from eckart.reports.reduce_table import component_rows, reduce_table

DRAWN: Final = 6
"""Components whose strongest columns are drawn."""


def reduce_page(document: dict[str, Any]) -> str:
    """The report of a reduction.

    Args:
        document: `Reduced.report_document()`.

    Returns:
        HTML that is complete in itself: styles, script and figures are inside.
    """
    rows, columns = document["shape"]
    points = figures.scatter(document)
    drawn = "".join(
        f'<div class="card">{draw(figures.loadings(document, place))}</div>'
        for place in range(min(DRAWN, document["rank"]))
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in document["notes"])
    header, lines = component_rows(document)
    seen = len(document["picture"]["points"])
    return frame(
        title=document["source"],
        body=f"""
<h1>{escape(document["source"])}</h1>
<p class="equation">W − 1·meansᵀ ≈ B·A, {rows} × {columns}, {document["rank"]} components</p>
<p class="message">{escape(document["message"])}</p>
{notes}
<h2>Figures</h2>
<div class="card">{table(reduce_table(document))}</div>
<h2>How much the components hold</h2>
<div class="pair"><div class="card">{draw(figures.scree(document))}</div>
<div class="card">{draw(figures.cumulative(document))}</div></div>
{
            f'<h2>The rows in the first components</h2><div class="card">{draw(points)}'
            f'<p class="equation">{seen} of {rows} rows</p></div>'
            if points
            else ""
        }
<h2>The strongest columns of each component</h2>
<div class="pair">{drawn}</div>
<h2>The components</h2>
<div class="card wide">{grid(header, lines, [""] * len(lines))}</div>
{_origin(document)}
""",
    )


def _origin(document: dict[str, Any]) -> str:
    """How to run it again, where a run made it."""
    if "recipe" not in document:
        return f"<h2>Run it again</h2><pre>{escape(document['command'])}</pre>"
    run = {"recipe": document["recipe"], "certificate": document["certificate"], "name": ""}
    return origin(document["command"], [run])
