"""The figures of a report: curves and pictures that zoom and answer to the pointer."""

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

ACCENT: Final = "#2457c5"
FLOOR: Final = "#c2410c"
GREY: Final = "#9aa3b2"
FONT: Final = {"family": "system-ui, sans-serif", "size": 13, "color": "#1c2330"}
MOST_NUMBERS: Final = 12
MOST_POINTS: Final = 2000


def loss_curve(part: dict[str, Any]) -> go.Figure | None:
    """The loss over the epochs with the best possible one as a line; None where there is none."""
    history = [record for record in part["history"] if record["loss"] is not None]
    if len(history) < 2:
        return None
    stride = -(-len(history) // MOST_POINTS)
    kept = history[::stride] + ([history[-1]] if (len(history) - 1) % stride else [])
    losses = [record["loss"] for record in kept]
    curve = go.Figure(
        go.Scatter(
            x=[record["step"] for record in kept],
            y=losses,
            mode="lines",
            name="loss",
            line={"color": ACCENT, "width": 2.5},
            hovertemplate="epoch %{x}<br>loss %{y:.6g}<extra></extra>",
        )
    )
    best = part["certificate"]["best_possible_error"]
    floor = None if best is None else best**2
    lowest = min(losses) if floor is None else min(*losses, floor)
    wide = lowest > 0 and max(losses) > 20 * lowest
    if floor is not None:
        curve.add_hline(y=floor, line={"color": FLOOR, "dash": "dash", "width": 1.5})
        curve.add_annotation(
            text=f"no rank-{part['rank']} pair is below {floor:.6g}",
            font={"color": FLOOR},
            showarrow=False,
            xref="paper",
            x=1,
            y=np.log10(floor) if wide else floor,  # plotly places notes by the exponent
            yanchor="bottom",
        )
    curve.update_xaxes(title="epoch")
    curve.update_yaxes(title="loss ‖W − B·A‖²", **(_log_axis(lowest, max(losses)) if wide else {}))
    return _styled(curve, 380)


def singular_values(part: dict[str, Any]) -> go.Figure | None:
    """The singular values of W, the kept ones in colour; None where they are not known."""
    values = np.asarray(part["singular_values"] or [])
    if not len(values):
        return None
    rank = part["rank"]
    places = np.arange(1, len(values) + 1)
    positive = values > values[0] * 1e-12
    wide = positive.any() and values[0] > 50 * values[positive].min()
    shown = np.where(positive, values, np.nan) if wide else values
    curve = go.Figure()
    for name, kept, colour in (
        ("kept", places <= rank, ACCENT),
        ("left out", places > rank, GREY),
    ):
        if kept.any():
            curve.add_scatter(
                x=places[kept],
                y=shown[kept],
                mode="markers" if len(values) < 400 else "lines",
                name=name,
                marker={"color": colour, "size": 9 if len(values) < 60 else 5},
                line={"color": colour, "width": 3},
                hovertemplate="σ<sub>%{x}</sub> = %{y:.6g}<extra></extra>",
            )
    curve.add_vline(
        x=rank + 0.5,
        line={"color": FLOOR, "dash": "dash", "width": 1.5},
        annotation={"text": f"rank {rank}", "font": {"color": FLOOR}},
    )
    curve.update_xaxes(title="place", rangemode="tozero", dtick=1 if len(values) <= 20 else None)
    scale: dict[str, Any] = {"rangemode": "tozero"}
    if wide:
        scale = _log_axis(float(values[positive].min()), values[0])
    curve.update_yaxes(title="singular value", **scale)
    return _styled(curve, 380)


def matrices(part: dict[str, Any], *, photograph: bool) -> go.Figure:
    """W, B·A and W − B·A side by side; zooming one zooms all three."""
    pictures = {name: np.asarray(part["pictures"][name]) for name in ("W", "BA", "residual")}
    rows, columns = part["shape"]
    low = min(pictures["W"].min(), pictures["BA"].min())
    high = max(pictures["W"].max(), pictures["BA"].max())
    most = float(np.abs(pictures["residual"]).max()) or 1.0
    sheet = make_subplots(1, 3, subplot_titles=("W", "B·A", "W − B·A"), horizontal_spacing=0.06)
    scale = "gray" if photograph else "Viridis"
    looks: tuple[dict[str, Any], ...] = (
        {"colorscale": scale, "zmin": low, "zmax": high, "showscale": False},
        {"colorscale": scale, "zmin": low, "zmax": high, "showscale": False},
        {"colorscale": "RdBu", "zmin": -most, "zmax": most, "colorbar": {"thickness": 12}},
    )
    for place, (picture, look) in enumerate(zip(pictures.values(), looks, strict=True), start=1):
        sheet.add_trace(_heatmap(picture, (rows, columns), **look), 1, place)
    sheet.update_xaxes(constrain="domain")
    sheet.update_yaxes(constrain="domain", autorange="reversed")
    for place in (2, 3):  # the zoom of the first is the zoom of all
        sheet.update_xaxes(matches="x", col=place)
        sheet.update_yaxes(matches="y", col=place)
    if 0.2 < rows / columns < 5:
        sheet.update_yaxes(scaleanchor="x", col=1)
    return _styled(sheet, 390)


def factors(part: dict[str, Any]) -> go.Figure:
    """B and A as pictures, on one scale centred on zero."""
    B, A = np.asarray(part["pictures"]["B"]), np.asarray(part["pictures"]["A"])
    rows, columns = part["shape"]
    rank = part["rank"]
    sheet = make_subplots(
        1,
        2,
        subplot_titles=(f"B ({rows} × {rank})", f"A ({rank} × {columns})"),
        column_widths=[0.4, 0.6],
        horizontal_spacing=0.16,
    )
    for place, (picture, shape) in enumerate(((B, (rows, rank)), (A, (rank, columns))), start=1):
        most = float(np.abs(picture).max()) or 1.0
        bar = {"thickness": 12, "x": 0.345 if place == 1 else 1.01}
        look = {"colorscale": "PuOr", "zmin": -most, "zmax": most, "colorbar": bar}
        sheet.add_trace(_heatmap(picture, shape, **look), 1, place)
    sheet.update_yaxes(autorange="reversed")
    if max(B.shape) <= MOST_NUMBERS:
        sheet.update_xaxes(dtick=1)
        sheet.update_yaxes(dtick=1)
    return _styled(sheet, 360)


def _log_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis with labels at 1, 2, 5 within few decades, at 1 within many."""
    decades = np.log10(high / low)
    return {"type": "log", "dtick": "D2" if decades < 3 else None, "nticks": 8}


def _heatmap(picture: Any, shape: tuple[int, int], **look: Any) -> go.Heatmap:
    """Cells at the rows and columns they cover, counted from 0; small ones show their numbers."""
    height, width = picture.shape
    few = max(height, width) <= MOST_NUMBERS
    return go.Heatmap(
        z=picture.astype(np.float32),
        y=(np.arange(height) + 0.5) * shape[0] / height - 0.5,
        x=(np.arange(width) + 0.5) * shape[1] / width - 0.5,
        texttemplate="%{z:.3g}" if few else None,
        hovertemplate="row %{y:.0f}, column %{x:.0f}<br>%{z:.6g}<extra></extra>",
        **look,
    )


def _styled(sheet: go.Figure, height: int) -> go.Figure:
    return sheet.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 64, "b": 50},
        font=FONT,
        hoverlabel={"font": {"family": "ui-monospace, monospace"}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
