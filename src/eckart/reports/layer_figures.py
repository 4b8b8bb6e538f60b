"""The figures of an adapter: where it is close, how its spectra fall, what a byte buys."""

import re
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from eckart.reports.figures import ACCENT, FLOOR, GREY, axis, styled

_DEPTH: Final = re.compile(r"\.(\d+)\.")
MOST_LINES: Final = 60
SHADES: Final = ((0.0, "#e9f0ff"), (0.5, "#7ba4ff"), (1.0, "#12295e"))


def error_map(layers: list[dict[str, Any]]) -> go.Figure | None:
    """Relative error of each layer by its depth and its kind; None where nothing repeats."""
    places = [(layer, *_place(layer["name"])) for layer in layers]
    deep = [(layer, depth, kind) for layer, depth, kind in places if depth is not None]
    if len({depth for _, depth, _ in deep}) < 2:
        return None
    kinds = list(dict.fromkeys(kind for _, _, kind in deep))
    depths = sorted({depth for _, depth, _ in deep})
    cells = np.full((len(kinds), len(depths)), np.nan)
    words = np.full(cells.shape, "", dtype=object)
    for layer, depth, kind in deep:
        place = kinds.index(kind), depths.index(depth)
        cells[place] = layer["relative_error"]
        words[place] = f"rank {layer['rank']}"
    drawn = go.Figure(
        go.Heatmap(
            z=cells,
            x=depths,
            y=kinds,
            customdata=words,
            colorscale=SHADES,
            zmin=0.0,
            colorbar={"thickness": 10, "outlinewidth": 0, "title": "error"},
            hovertemplate="%{y}, layer %{x}<br>relative error %{z:.4f}, %{customdata}"
            "<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    drawn.update_xaxes(title="depth", dtick=1 if len(depths) <= 24 else None)
    drawn.update_yaxes(autorange="reversed")
    return styled(drawn, 140 + 26 * len(kinds))


def layer_spectra(layers: list[dict[str, Any]]) -> go.Figure | None:
    """The singular values of the changes of the layers, each relative to its largest."""
    known = [layer for layer in layers if layer["singular_values"]]
    if not known:
        return None
    drawn = go.Figure()
    lowest = 1.0
    for layer in known[:: -(-len(known) // MOST_LINES)]:
        values = np.asarray(layer["singular_values"])
        shown = values[values > 1e-9 * values[0]] / values[0]
        lowest = min(lowest, float(shown.min()))
        drawn.add_scatter(
            x=np.arange(1, len(shown) + 1),
            y=shown,
            mode="lines",
            line={"color": ACCENT, "width": 1},
            opacity=0.35,
            showlegend=False,
            name=layer["name"],
            hovertemplate=f"{layer['name']}<br>σ<sub>%{{x}}</sub> = %{{y:.3g}} σ₁<extra></extra>",
        )
    drawn.update_xaxes(title="place of σ in order")
    drawn.update_yaxes(title="σ / σ₁", **axis(lowest, 1.0, wide=lowest < 0.02))
    return styled(drawn, 380)


def size_curve(document: dict[str, Any]) -> go.Figure | None:
    """The error of all layers together over the bytes of their factors, and what was chosen."""
    curve = document["curve"]
    if len(curve["bytes"]) < 2:
        return None
    drawn = go.Figure()
    for name, key, colour, dash in (
        ("bytes shared out", "shared", ACCENT, "solid"),
        ("one rank for all", "uniform", GREY, "dot"),
    ):
        drawn.add_scatter(
            x=[count / 1e6 for count in curve["bytes"]],
            y=curve[key],
            mode="lines",
            name=name,
            line={"color": colour, "width": 2.5, "dash": dash},
            hovertemplate="%{x:.3g} MB<br>relative error %{y:.4f}<extra></extra>",
        )
    drawn.add_scatter(
        x=[document["factor_bytes"] / 1e6],
        y=[document["relative_error_of_layers"]],
        mode="markers",
        name="this adapter",
        marker={"color": FLOOR, "size": 11, "symbol": "diamond"},
        hovertemplate="%{x:.3g} MB<br>relative error %{y:.4f}<extra></extra>",
    )
    drawn.update_xaxes(title="bytes of the factors, in MB", rangemode="tozero")
    drawn.update_yaxes(title="relative error of ΔW", rangemode="tozero")
    return styled(drawn, 380)


def _place(name: str) -> tuple[int | None, str]:
    """The depth of a layer and its kind: its name without the number of its block."""
    found = _DEPTH.search(name)
    if found is None:
        return None, name
    return int(found[1]), name[found.end() :]
