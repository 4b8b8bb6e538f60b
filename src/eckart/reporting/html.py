"""The parts of every page: the frame, its style, tables and drawn figures.

A page is one file: it opens from disk without a network and requests nothing.
"""

from html import escape
from typing import Any, Final

import plotly.io
from plotly.offline import get_plotlyjs

from eckart.reporting import figures
from eckart.reporting.tables import Document

POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""Content security policy of a page: only its own scripts, styles and pictures are allowed."""
CONFIG: Final = {
    "displaylogo": False,
    "responsive": False,  # plotly would resize a figure 0.1 s late; FIT does it at once
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
# plotly writes colours into the style of each path, so only their values can select them
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
"""Style of the dark colour scheme. Figures are drawn once, in light colours, which the selectors
find by value."""


def frame(title: str, body: str) -> str:
    """A complete HTML page that needs no other file.

    The title is plain text, the body HTML.
    """
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
    """The HTML of a figure, without the script library that draws it."""
    return plotly.io.to_html(
        figure,
        full_html=False,
        # the frame holds the library once for all figures
        include_plotlyjs=False,
        config=CONFIG,
    )


def table(rows: list[tuple[str, str]]) -> str:
    """The HTML of a table of labels and values."""
    lines = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in rows
    )
    return f"<table>{lines}</table>"


def grid(header: tuple[str, ...], rows: list[tuple[str, ...]], marks: list[str]) -> str:
    """The HTML of a table whose columns hold numbers, except the first and the last.

    The cells are plain text, and the marks, before the first cell of each row, are HTML.
    """
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


def origin(command: str, runs: list[Document]) -> str:
    """The HTML at the end of every page: how to repeat the run, and how figures were obtained."""
    return f"""<h2>Run it again</h2>
<pre>{escape(command or "eckart.factorize(W, …)")}</pre>
<div class="card">{table(_recipes(runs))}</div>
<h2>How the figures were obtained</h2>
<div class="card">{table(_methods(runs))}</div>
<footer>eckart {escape(runs[0]["recipe"]["versions"]["eckart"])}</footer>"""


def _recipes(parts: list[Document]) -> list[tuple[str, str]]:
    """The rows on the recipe of all parts; a label whose values differ has a row for each part."""
    recipes = [_recipe(part["recipe"]) for part in parts]
    rows: list[tuple[str, str]] = []
    for label, text in recipes[0].items():
        if all(recipe[label] == text for recipe in recipes):
            rows.append((label, text))
            continue
        named = zip(parts, recipes, strict=True)
        rows += [(f"{label}, {part['name']}", recipe[label]) for part, recipe in named]
    return rows


def _recipe(recipe: Document) -> dict[str, str]:
    threads = recipe["threads"]
    return {
        "solver": _settings(recipe["solver"]),
        "rank": recipe["rank_rule"],
        "start": _settings(recipe["start"]) if recipe["start"] else "none needed",
        "seed": str(recipe["seed"]),
        "computed in": recipe["dtype"],
        "versions": _settings(recipe["versions"]),
        "linear algebra": f"{recipe['blas']}, {threads} thread{'s' * (threads != 1)}",
    }


def _settings(settings: Document) -> str:
    """The name of a solver or a start followed by its settings, without those that are None."""
    name = settings.get("name", "")
    rest = ", ".join(
        f"{key.replace('_', ' ')} {_value(value)}"
        for key, value in settings.items()
        if key != "name" and value is not None
    )
    return f"{name}: {rest}" if name and rest else name or rest


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _methods(parts: list[Document]) -> list[tuple[str, str]]:
    """The rows on the methods of the certificates; parts with the same method share a row."""
    names: dict[str, list[str]] = {}
    for part in parts:
        certificate = part["certificate"]
        # 0 is exact: a certificate without random numbers cannot fail by chance
        chance = certificate["failure_probability"]
        doubt = (
            "nothing is random" if chance == 0 else f"wrong with probability at most {chance:.1e}"
        )
        # by text, so that equal methods with other probabilities stay apart
        names.setdefault(f"{certificate['method']}; {doubt}", []).append(part["name"])
    return [(", ".join(alike) or "certificate", text) for text, alike in names.items()]
