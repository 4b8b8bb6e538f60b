"""The parts of every page: the frame, its style, tables and drawn figures.

A page stands alone: it opens from disk with the network off and asks for nothing.
"""

from html import escape
from typing import Any, Final

import plotly.io
from plotly.offline import get_plotlyjs

from eckart.reports import figures

POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
CONFIG: Final = {
    "displaylogo": False,
    "responsive": False,  # that is a resize 0.1 s late; FIT does it at once
    "displayModeBar": "hover",
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    # plotly.js 4 offers to upload a figure to its makers, which no policy of a page can forbid.
    "showSendToCloud": False,
}
FIT: Final = """
// A card is wider while its neighbours are not there, and 0 wide while its part is folded: a figure
// is drawn anew when the width of its place changes, before that is painted.
const fit = new ResizeObserver((seen) => seen.forEach(({target, contentRect: {width}}) => {
  if (width && width !== target._fullLayout.width) Plotly.relayout(target, {autosize: true});
}));
document.querySelectorAll(".plotly-graph-div").forEach((figure) => fit.observe(figure));
"""
STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2330; --quiet: #5b6577; --page: #f4f6fa;
        --card: #fff; --line: #e1e6ef; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.equation { color: var(--quiet); margin: 0 0 1.5rem; }
.message { font-size: 1.05rem; margin: .5rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem;
        margin: 0 0 1rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr));
        gap: 1rem; }
.pair .card { margin: 0; min-width: 0; }
.modebar-btn path { fill: var(--quiet) !important; }
.wide { overflow-x: auto; } .wide > div { min-width: 42rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .3rem 1.5rem .3rem 0; vertical-align: top;
         border-bottom: 1px solid var(--line); }
tr:last-child > * { border-bottom: 0; }
th { font-weight: 400; color: var(--quiet); white-space: nowrap; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.grid { width: 100%; } .grid th { border-bottom: 1px solid var(--line); }
.grid td { white-space: nowrap; } .grid .number { text-align: right; }
.swatch { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%;
          margin-right: .5rem; background: var(--light); }
pre { background: #1c2330; color: #f4f6fa; border-radius: 8px; padding: 1rem; white-space: pre-wrap;
      overflow-wrap: anywhere; margin: 0 0 1rem; user-select: all; }
figure { margin: 0; } figcaption { color: var(--quiet); margin-top: .5rem; }
img { width: 100%; border-radius: 6px; display: block; }
details { margin-top: 1.5rem; }
summary { cursor: pointer; font-weight: 600; padding: .25rem 0 .75rem; }
footer { color: var(--quiet); margin-top: 3rem; font-size: .9rem; }
"""
CURVES_IN_THE_DARK: Final = "\n  ".join(
    f'.main-svg path[style*="{name}: {light}"] {{ {name}: {dark} !important; }}'
    for light, dark in figures.CURVES.items()
    for name in ("stroke", "fill")
)
DARK: Final = f"""
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6eaf2; --quiet: #9aa5b8; --page: #12161e; --card: #1b212c; --line: #2c3442; }}
  .main-svg text[style*="{figures.INK}"] {{ fill: var(--ink) !important; }}
  .main-svg text[style*="{figures.FLOOR}"] {{ fill: #ff9f70 !important; }}
  .main-svg path[style*="stroke: {figures.FLOOR}"] {{ stroke: #ff9f70 !important; }}
  .swatch {{ background: var(--dark); }}
  {CURVES_IN_THE_DARK}
}}
"""
"""Figures are drawn once, for the light; in the dark their colours are found by value."""


def frame(title: str, body: str) -> str:
    """A page that is complete in itself."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<link rel="icon" href="data:,">
<title>{escape(title)} · eckart</title>
<style>{STYLE}{DARK}</style>
<script>{get_plotlyjs()}</script>
</head>
<body><main>{body}</main><script>{FIT}</script></body>
</html>
"""


def draw(figure: Any) -> str:
    """A figure, without the library that draws it."""
    return plotly.io.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        config=CONFIG,
    )


def table(rows: list[tuple[str, str]]) -> str:
    """Labels and values."""
    lines = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in rows
    )
    return f"<table>{lines}</table>"


def grid(header: tuple[str, ...], rows: list[tuple[str, ...]], marks: list[str]) -> str:
    """A table with a header and marked rows; all but its first and last column are numbers."""
    sides = ("", *[' class="number"'] * (len(header) - 2), "")
    heads = "".join(
        f"<th{side}>{escape(name)}</th>" for side, name in zip(sides, header, strict=True)
    )
    lines = ""
    for mark, row in zip(marks, rows, strict=True):
        cells = [
            f"<td{side}>{escape(text)}</td>" for side, text in zip(sides[1:], row[1:], strict=True)
        ]
        lines += f"<tr><td>{mark}{escape(row[0])}</td>{''.join(cells)}</tr>"
    return f'<table class="grid"><tr>{heads}</tr>{lines}</table>'
