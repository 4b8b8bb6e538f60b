"""The report of a reduction: a page with figures, and the same facts as rows of text."""

from html import escape
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from eckart.reduce import Document
from eckart.reduce.commands import component_rows, reduce_table
from eckart.reporting.figures import ACCENT, CURVES, FLOOR, GREY, MOST_NUMBERS, axis, styled
from eckart.reporting.html import draw, frame, grid, origin, table

MOST_GROUPS: Final = 12
"""Values of a column that get a colour of their own; numbers of more values get a scale."""
MOST_BARS: Final = 8
ROUNDING_SHARE: Final = 1e-13
"""Share of the variance up to which a component is rounding only."""


def scree(document: Document) -> go.Figure:
    """The scree plot: the share of the variance of every known component, and the chosen rank."""
    rank = document["rank"]
    shares = document["spectrum"] or document["explained_share"]
    # rounding would stretch a logarithmic axis by many decades
    shares = [value if value > ROUNDING_SHARE else 0.0 for value in shares]
    positive = [value for value in shares if value > 0] or [1.0]
    # a logarithmic axis only for shares over more than a decade
    wide = max(positive) > 20 * min(positive)
    figure = go.Figure()
    for name, colour, low, high in (
        ("kept", ACCENT, 0, rank),
        ("left out, as far as known", GREY, rank, len(shares)),
    ):
        part = shares[low:high]
        if part:
            figure.add_scatter(
                x=list(range(low + 1, low + len(part) + 1)),
                y=[value if value > 0 or not wide else None for value in part],
                mode="lines+markers" if len(shares) < 200 else "lines",
                name=name,
                line={"color": colour, "width": 2},
                marker={"color": colour, "size": 6},
                hovertemplate="component %{x}<br>%{y:.4%} of the variance<extra></extra>",
            )
    figure.add_vline(x=rank + 0.5, line={"color": FLOOR, "dash": "dash", "width": 1.5})
    held = document["cumulative_share"][-1]
    figure.add_annotation(
        text=f"rank {rank}: {held:.1%} of the variance",
        x=rank + 0.5,
        y=1,
        yref="paper",
        yanchor="bottom",
        # towards the middle of the figure, so that the text is not cut off at a side
        xanchor="right" if 2 * rank > len(shares) else "left",
        showarrow=False,
        font={"color": FLOOR},
    )
    # Plotly would mark fractions of components otherwise
    every = 1 if len(shares) <= MOST_NUMBERS else None
    figure.update_xaxes(title="component", dtick=every, range=[0.5, len(shares) + 0.5])
    look: Document = {"rangemode": "tozero", "tickformat": ".0%"}
    if wide:
        look = axis(min(positive), max(positive), wide=True)
    figure.update_yaxes({"title": "share of the variance", **look})
    return styled(figure, 380)


def cumulative(document: Document) -> go.Figure:
    """A figure of the share of the variance that the first components hold together."""
    held = document["cumulative_share"]
    figure = go.Figure(
        go.Scatter(
            x=list(range(1, len(held) + 1)),
            y=held,
            mode="lines+markers" if len(held) < 100 else "lines",
            line={"color": ACCENT, "width": 2.5},
            hovertemplate="%{x} components hold %{y:.3%}<extra></extra>",
        )
    )
    figure.update_xaxes(title="components", dtick=1 if len(held) <= MOST_NUMBERS else None)
    figure.update_yaxes(title="share of the variance together", tickformat=".0%", range=[0, 1.03])
    return styled(figure, 380)


def scatter(document: Document) -> go.Figure | None:
    """A figure of the rows by their first two scores, coloured by a column if there is one."""
    picture = document["picture"]
    points = np.asarray(picture["points"])
    if points.size == 0:
        return None
    # the rows of a single component lie on a line
    across, up = points[:, 0], points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))
    hover = [
        f"row {row}" + (f"<br>{_escaped(label)}" if label else "")
        for row, label in zip(picture["rows"], picture["labels"] or [""] * len(points), strict=True)
    ]
    figure = go.Figure()
    for name, chosen, marker in _groups(picture, len(points)):
        figure.add_scatter(
            x=across[chosen],
            y=up[chosen],
            mode="markers",
            name=name,
            marker={"size": 6, "opacity": 0.75, **marker},
            customdata=[hover[place] for place in np.flatnonzero(chosen)],
            hovertemplate=f"%{{customdata}}<br>{_escaped(name)}<br>"
            "PC1 %{x:.4g}<br>PC2 %{y:.4g}<extra></extra>",
        )
    shares = document["explained_share"]
    figure.update_xaxes(title=f"PC1 ({shares[0]:.1%})", zeroline=False)
    second = f"PC2 ({shares[1]:.1%})" if len(shares) > 1 else ""
    figure.update_yaxes(title=second, zeroline=False)
    styled(figure, 560)
    legend = bool(picture["colours"]) and len(list(figure.select_traces())) > 1
    return figure.update_layout(showlegend=legend)


def loadings(document: Document, place: int) -> go.Figure:
    """A bar chart of the strongest columns of one component."""
    named = document["components"][place]
    columns, weights = named["columns"][:MOST_BARS][::-1], named["loadings"][:MOST_BARS][::-1]
    figure = go.Figure(
        go.Bar(
            x=weights,
            y=[_escaped(f"{name}"[:40]) for name in columns],
            orientation="h",
            marker={"color": [ACCENT if weight >= 0 else FLOOR for weight in weights]},
            hovertemplate="%{y}: %{x:.4g}<extra></extra>",
        )
    )
    share = document["explained_share"][place]
    figure.update_layout(
        title={"text": f"PC{place + 1}, {share:.1%}", "x": 0, "font": {"size": 14}}
    )
    # names that are numbers would be drawn to scale otherwise
    figure.update_yaxes(type="category", automargin=True)
    styled(figure, 60 + 26 * len(columns))
    return figure.update_layout(margin={"t": 40}, showlegend=False)


def _groups(picture: Document, count: int) -> list[tuple[str, Any, Document]]:
    """Groups of points with name, mask and marker: one group, one for each value, or a scale."""
    colours, everything = picture["colours"], np.ones(count, bool)
    if not colours:
        return [("", everything, {"color": ACCENT})]
    values = sorted({str(value) for value in colours})
    if len(values) > MOST_GROUPS and all(not isinstance(value, str) for value in colours):
        bar = {"title": {"text": _escaped(picture["colour"])}, "thickness": 12, "outlinewidth": 0}
        scale = {"color": colours, "colorscale": "Viridis", "colorbar": bar}
        return [(picture["colour"], everything, scale)]
    shown, rest = values[:MOST_GROUPS], values[MOST_GROUPS:]
    texts = np.array([str(value) for value in colours])
    palette = [*CURVES, "#e11d48", "#0ea5e9", "#84cc16", "#f97316", "#8b5cf6", "#14b8a6", "#a16207"]
    groups = [
        (f"{picture['colour']} {value}", texts == value, {"color": palette[place]})
        for place, value in enumerate(shown)
    ]
    if rest:
        groups.append((f"{len(rest)} others", np.isin(texts, rest), {"color": GREY}))
    return groups


def _escaped(text: str) -> str:
    """Text with tags escaped, which Plotly would interpret."""
    return escape(text, quote=False)


DRAWN_COMPONENTS: Final = 6
"""Components whose strongest columns have a figure, at most."""


def reduce_page(document: Document) -> str:
    """The HTML report of `Reduced.report_document()`, with styles, scripts and figures inside."""
    rows, columns = document["shape"]
    points = scatter(document)
    drawn = "".join(
        f'<div class="card">{draw(loadings(document, place))}</div>'
        for place in range(min(DRAWN_COMPONENTS, document["rank"]))
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in document["notes"])
    header, lines = component_rows(document)
    seen = len(document["picture"]["points"])
    again = f"<h2>Run it again</h2><pre>{escape(document['command'])}</pre>"
    if "recipe" in document:
        run = {"recipe": document["recipe"], "certificate": document["certificate"], "name": ""}
        again = origin(document["command"], [run])
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
<div class="pair"><div class="card">{draw(scree(document))}</div>
<div class="card">{draw(cumulative(document))}</div></div>
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
{again}
""",
    )
