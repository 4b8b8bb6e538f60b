"""The interactive figures of a report: curves and pictures of matrices."""

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from eckart.reporting.tables import Document

Picture: TypeAlias = npt.NDArray[np.floating[Any]]

Look: TypeAlias = dict[str, Any]
"""Settings of a trace, an axis or a mark of plotly."""

ACCENT: Final = "rgb(36, 87, 197)"
"""Colour of the main curve of a figure."""
FLOOR: Final = "rgb(194, 65, 12)"
"""Colour of lines that mark a bound or a choice."""
CURVES: Final = {
    ACCENT: "#7ba4ff",
    "rgb(13, 138, 98)": "#4fd1a1",
    "rgb(158, 44, 160)": "#e58be6",
    "rgb(168, 118, 0)": "#e8c04f",
    "rgb(71, 85, 105)": "#b8c4d6",
}
"""Colours of curves in one figure, each with its replacement in the dark colour scheme."""
SYMBOLS: Final = ("circle", "diamond", "square", "triangle-up", "star")
"""Marks at the ends of curves, so that not only colour tells them apart."""
GREY: Final = "#9aa3b2"
INK: Final = "rgb(28, 35, 48)"
"""Colour of all text but that on coloured cells. The dark style of the page finds it by value."""
FONT: Final = {"family": "system-ui, sans-serif", "size": 13, "color": INK}
LINES: Final = "rgba(128, 140, 160, 0.2)"
"""Colour of grid lines, transparent, so that it suits both colour schemes."""
LIGHT: Final = ((0.0, "#f2f5fc"), (1.0, "#86a9ee"))
LIGHT_DIVERGING: Final = ((0.0, "#eda17f"), (0.5, "#fbfbfb"), (1.0, "#86a9ee"))
"""Colour scales under printed numbers, light enough for black text on every cell."""
MOST_NUMBERS: Final = 12
"""Most rows or columns of a picture whose cells show their numbers."""
MOST_POINTS: Final = 2000
"""Most points of a curve, which are more than a page has pixels across."""


def loss_curve(part: Document) -> go.Figure | None:
    """The loss over the steps, with a line at the best possible loss; None without losses."""
    history = [record for record in part["history"] if record["loss"] is not None]
    if len(history) < 2:
        return None
    kept = _thin(history)
    losses: list[float] = [record["loss"] for record in kept]
    unit = "epoch" if "epochs" in part["recipe"]["solver"] else "step"
    best = part["certificate"]["best_possible_error"]
    floor: float | None = None if best is None else best**2
    lowest, within = _lowest(losses, floor)
    wide = lowest > 0 and max(losses) > 20 * lowest
    if not wide:
        lowest = min(*losses, losses[0] if floor is None else floor)
    curve = go.Figure(
        go.Scatter(
            x=[record["step"] for record in kept],
            y=[loss if loss > 0 or not wide else None for loss in losses],
            mode="lines" if len(kept) > 30 else "lines+markers",
            name="loss",
            line={"color": ACCENT, "width": 2.5},
            # <extra></extra> leaves out plotly's box with the name of the trace
            hovertemplate=f"{unit} %{{x}}<br>loss %{{y:.6g}}<extra></extra>",
        )
    )
    if floor is not None:
        _mark_floor(curve, floor, part["rank"], wide=wide, drawn=within or not wide)
    curve.update_xaxes(title=unit, dtick=_whole(len(kept)))
    curve.update_yaxes(title="loss ‖W − B·A‖²", **axis(lowest, max(losses), wide=wide))
    return styled(curve, 380)


def loss_curves(document: Document) -> go.Figure | None:
    """The losses of several solvers in one figure, by steps and by time; None if W is 0.

    Each curve ends in a mark of its own shape, or a cross if the run failed. A solver of one step
    has the mark alone.
    """
    drawn = [(place, run, _points(run)) for place, run in enumerate(document["runs"])]
    drawn = [(place, run, points) for place, run, points in drawn if points]
    losses = [loss for _, _, points in drawn for _, _, loss in points]
    best = document["best_possible_error"]
    floor = None if best is None else best**2
    lowest, within = _lowest(losses, floor)
    if lowest <= 0:
        return None
    sheet = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (title, unit) in enumerate((("steps", ""), ("time", "s"))):
        for place, run, points in drawn:
            path = [(point[column], point[2]) for point in points]
            for trace in _curve(run, place, path, f"{title} %{{x:.4~s}}{unit}"):
                # the solver is in both panels, but once in the legend
                trace.showlegend = trace.showlegend and column == 0
                sheet.add_trace(trace, 1, column + 1)
        look = {"tickformat": "~s", "ticksuffix": unit}
        reach = _across(
            [[point[column] for point in points] for _, _, points in drawn], whole=not unit
        )
        sheet.update_xaxes({"title": title, **look, **reach}, col=column + 1)
    if floor is not None:
        _mark_floor(sheet, floor, document["rank"], wide=True, drawn=within)
    sheet.update_yaxes(**axis(lowest, max(losses), wide=True))
    sheet.update_yaxes(title="loss ‖W − B·A‖²", col=1)
    return styled(sheet, 440).update_layout(legend={"y": 1.03})


def _points(run: Document) -> list[tuple[float, float, float]]:
    """The (steps, seconds, loss) of a run; a last step without a loss gets the squared error."""
    history = run["history"]
    known = _thin([record for record in history if record["loss"] is not None], early=True)
    points = [(record["step"] + 1, record["seconds"], record["loss"]) for record in known]
    if history and history[-1]["loss"] is None:
        last, error = history[-1], run["certificate"]["error"]
        # the loss is ‖W − B·A‖², and the certificate measured its root
        points.append((last["step"] + 1, last["seconds"], error**2))
    return points


def _curve(
    run: Document, place: int, path: list[tuple[float, float]], where: str
) -> list[go.Scatter]:
    """The line of a run, if it has several steps, and the mark at its end for the legend."""
    colour = list(CURVES)[place % len(CURVES)]
    failed = run["grade"] == "failed"
    symbol = "x" if failed else SYMBOLS[place % len(SYMBOLS)]
    steps = [(x, loss if loss > 0 else None) for x, loss in path]  # 0 has no logarithm
    shared: Look = {
        "name": f"{run['name']} ({run['outcome'].lower()})" if failed else run["name"],
        "legendgroup": run["name"],
        "line": {"color": colour, "width": 2.5},
        "hovertemplate": f"{run['name']}<br>{where}<br>loss %{{y:.6g}}<extra></extra>",
    }
    line = go.Scatter(
        x=[x for x, _ in steps],
        y=[loss for _, loss in steps],
        mode="lines" if len(steps) > 30 else "lines+markers",
        marker={"color": colour, "size": 5},
        showlegend=False,
        **shared,
    )
    end = go.Scatter(
        x=[steps[-1][0]],
        y=[steps[-1][1]],
        mode="lines+markers" if steps[1:] else "markers",
        marker={"color": colour, "size": 11, "symbol": symbol},
        showlegend=True,
        cliponaxis=False,
        **shared,
    )
    return [line, end] if steps[1:] else [end]


def _across(curves: list[list[float]], *, whole: bool) -> Look:
    """The horizontal axis, with `whole` numbers or any; logarithmic if one run is much longer."""
    ends = [curve[-1] for curve in curves]
    longest = max(ends)
    first = min((curve[0] for curve in curves if curve[0] > 0), default=longest)
    if longest <= 10 * min(ends) or first == longest:
        return {"range": [0, 1.04 * longest], "dtick": _whole(int(longest)) if whole else None}
    bottom, top = np.log10(first), np.log10(longest)
    room = 0.04 * (top - bottom)
    return {"type": "log", "dtick": 1, "range": [bottom - room, top + room]}


def _thin(history: list[Document], *, early: bool = False) -> list[Document]:
    """At most about 2000 records, with the first and the last, evenly spaced or denser `early`."""
    last = len(history) - 1
    if last < MOST_POINTS:
        return history
    if early:
        places = np.unique(np.geomspace(1, last + 1, MOST_POINTS).round().astype(int)) - 1
    else:
        # the stride is rounded up, and the last record always kept
        places = np.unique(np.append(np.arange(0, last, -(-last // MOST_POINTS)), last))
    return [history[place] for place in places]


def _lowest(losses: list[float], floor: float | None) -> tuple[float, bool]:
    """The lowest positive loss or floor, and whether the floor is near enough to be drawn."""
    positive = min((loss for loss in losses if loss > 0), default=0.0)
    # a floor six decades below every loss would flatten the curves
    if floor is None or floor <= 1e-6 * positive:
        return positive, False
    return min(floor, positive), True


def _mark_floor(curve: go.Figure, floor: float, rank: int, *, wide: bool, drawn: bool) -> None:
    """Draw the line that no loss can cross, with a note below it, where no curve can be."""
    text = f"no rank-{rank} pair is below {floor:.6g}"
    if drawn:
        curve.add_hline(y=floor, line={"color": FLOOR, "dash": "dash", "width": 1.5})
        # plotly takes the position of an annotation on a logarithmic axis as a logarithm
        place = {"y": np.log10(floor) if wide else floor, "yanchor": "top"}
    else:
        text = f"the floor, {floor:.3g}, is below this figure"
        place = {"y": 1, "yref": "paper", "yanchor": "top"}
    note = {"text": text, "font": {"color": FLOOR}, "showarrow": False, "yshift": -7}
    curve.add_annotation(**note, **place, xref="paper", x=1, xanchor="right")


def singular_values(part: Document) -> go.Figure | None:
    """The singular values of W, the kept ones in colour; None if they are not known."""
    values = np.asarray(part["singular_values"] or [])
    if not len(values):
        return None
    rank = part["rank"]
    places = np.arange(1, len(values) + 1)
    # smaller ones are zeros plus rounding, which a logarithmic axis would show as values
    positive = values > values[0] * 1e-12
    wide = bool(positive.any() and values[0] > 50 * values[positive].min())
    zeros = int(np.count_nonzero(~positive)) if wide else 0
    # plotly leaves out NaN, and 0 has no place on a logarithmic axis
    shown = np.where(positive, values, np.nan) if wide else values
    curve = go.Figure()
    for name, kept, colour in (
        ("kept", places <= rank, ACCENT),
        (f"left out, {zeros} of them 0" if zeros else "left out", places > rank, GREY),
    ):
        if kept.any():
            curve.add_scatter(
                x=places[kept],
                y=shown[kept],
                mode="markers" if len(values) < 400 else "lines",
                name=name,
                marker={"color": colour, "size": 9 if len(values) < 60 else 5},
                line={"color": colour, "width": 3},
                cliponaxis=False,
                hovertemplate="σ<sub>%{x}</sub> = %{y:.6g}<extra></extra>",
            )
    # between the last singular value that is kept and the first that is not
    curve.add_vline(x=rank + 0.5, line={"color": FLOOR, "dash": "dash", "width": 1.5})
    mark = {"text": f"rank {rank}", "font": {"color": FLOOR}, "showarrow": False}
    curve.add_annotation(**mark, x=rank + 0.5, y=1, yref="paper", yanchor="bottom")
    spare = 0.02 * (len(values) - 1) + 0.5
    curve.update_xaxes(title="place of σ in order", range=[1 - spare, len(values) + spare])
    curve.update_xaxes(dtick=1 if len(values) <= 20 else None)
    curve.update_yaxes(title="singular value σ", rangemode="tozero")
    if wide:
        curve.update_yaxes(**axis(float(values[positive].min()), float(values[0]), wide=True))
    return styled(curve, 380)


def matrices(part: Document, *, photograph: bool) -> go.Figure:
    """W, B·A and W − B·A side by side; zooming one zooms all three."""
    pictures = {name: np.asarray(part["pictures"][name]) for name in ("W", "BA", "residual")}
    rows, columns = part["shape"]
    low = min(pictures["W"].min(), pictures["BA"].min())
    high = max(pictures["W"].max(), pictures["BA"].max())
    low, high = (low, high) if low < high else (low - 1, high + 1)  # a constant matrix has no scale
    few = _prints_numbers(pictures["W"])
    titles = ("W", "B·A", "W − B·A")
    sheet = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.09)
    shared: Look = {
        "colorscale": LIGHT if few else "gray" if photograph else "Viridis",
        "zmin": low,
        "zmax": high,
    }
    looks: tuple[Look, ...] = (
        {**shared, "showscale": False},
        {**shared, "colorbar": _bar(0.642)},
        _diverging(pictures["residual"], "RdBu", 1.005),
    )
    for place, (picture, look) in enumerate(zip(pictures.values(), looks, strict=True), start=1):
        sheet.add_trace(_heatmap(picture, (rows, columns), **look), 1, place)
    # the axes shrink to the picture, instead of showing rows and columns that it lacks
    sheet.update_xaxes(constrain="domain", dtick=_whole(columns))
    sheet.update_yaxes(constrain="domain", autorange="reversed", dtick=_whole(rows))
    for place in (2, 3):  # linked axes: zooming one picture zooms all
        sheet.update_xaxes(matches="x", col=place)
        sheet.update_yaxes(matches="y", col=place, showticklabels=False)
    height = 300.0
    # square cells, unless they would make the picture a narrow strip
    if 0.2 < rows / columns < 5:
        sheet.update_yaxes(scaleanchor="x", constraintoward="top", col=1)
        sheet.update_yaxes(constraintoward="top")
        height = min(max(275 * rows / columns, 130.0), 340.0)
    return styled(sheet, height + 110)


def factors(part: Document) -> go.Figure:
    """B and A as pictures, each on its own scale centred on zero."""
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
        look = _diverging(picture, "PuOr", 0.342 if place == 1 else 1.005)
        sheet.add_trace(_heatmap(picture, shape, **look), 1, place)
        sheet.update_yaxes(dtick=_whole(shape[0]), col=place)
        sheet.update_xaxes(dtick=_whole(shape[1]), col=place)
    # row 0 at the top, as a matrix is written
    sheet.update_yaxes(autorange="reversed")
    return styled(sheet, 370)


def axis(low: float, high: float, *, wide: bool) -> Look:
    """The range of an axis with room below for a note; logarithmic if it is `wide`."""
    if not wide:
        span = (high - low) or 1.0
        return {"range": [low - 0.12 * span, high + 0.05 * span]}
    bottom, top = np.log10(low), np.log10(high)
    span = top - bottom
    scale = {"type": "log", "range": [bottom - 0.12 * span, top + 0.05 * span]}
    # "D2" of plotly labels 1, 2 and 5 of each decade: powers of ten are too few on a short axis
    if span < 2.5 and low > 1e-4 and high < 1e6:
        return {**scale, "dtick": "D2", "tickformat": "~g"}
    return {**scale, "dtick": max(1, round(span / 6)), "exponentformat": "power"}


def _bar(x: float) -> Look:
    place = {"x": x, "y": 1, "yanchor": "top", "len": 1}
    return {"thickness": 10, "outlinewidth": 0, "exponentformat": "e", **place}


def _diverging(picture: Picture, scale: str, x: float) -> Look:
    # symmetric limits, so that 0 is the middle of the diverging colours
    most = float(np.abs(picture).max()) or 1.0
    colours = LIGHT_DIVERGING if _prints_numbers(picture) else scale
    return {"colorscale": colours, "zmin": -most, "zmax": most, "colorbar": _bar(x)}


def _whole(entries: int) -> int | None:
    """The tick step 1 if there are few rows, columns or steps, else None for plotly's choice."""
    return 1 if entries <= MOST_NUMBERS else None


def _prints_numbers(picture: Picture) -> bool:
    return max(picture.shape) <= MOST_NUMBERS


def _heatmap(picture: Picture, shape: tuple[int, int], **look: Any) -> go.Heatmap:
    """A heat map whose cells lie at the rows and columns they cover; a small one shows numbers."""
    height, width = picture.shape
    numbers = _prints_numbers(picture)
    row, column = (
        f"{name} %{{{axis}:.0f}}" + (f" ± {np.ceil(entries / cells / 2):.0f}" * (entries > cells))
        for name, axis, entries, cells in (
            ("row", "y", shape[0], height),
            ("column", "x", shape[1], width),
        )
    )
    return go.Heatmap(
        z=_as_float32(picture),
        # a thumbnail has fewer cells than the matrix has rows: each lies at the middle of its rows
        y=(np.arange(height) + 0.5) * shape[0] / height - 0.5,
        x=(np.arange(width) + 0.5) * shape[1] / width - 0.5,
        texttemplate="%{z:.3g}" if numbers else None,
        # black on the light colour scales, in the dark style too
        textfont={"color": "#000"} if numbers else None,
        hovertemplate=f"{row}, {column}<br>%{{z:.6g}}<extra></extra>",
        **look,
    )


def _as_float32(picture: Picture) -> Picture:
    """The picture in float32, which halves the page, unless its numbers leave that range."""
    kind, largest = np.finfo(np.float32), float(np.abs(picture).max(initial=0.0))
    # above the lower limit, entries down to eps times the largest are normal numbers
    fits = largest == 0 or float(kind.tiny) / float(kind.eps) < largest < float(kind.max)
    return picture.astype(np.float32) if fits else picture


def styled(sheet: go.Figure, height: float) -> go.Figure:
    """The figure in the style of all figures, with a background that is transparent to the page."""
    ticks: Look = {
        "ticks": "outside",
        "ticklen": 5,
        "tickcolor": LINES,
        "linecolor": LINES,
    }
    sheet.update_xaxes(gridcolor=LINES, zeroline=False, **ticks)
    sheet.update_yaxes(gridcolor=LINES, zeroline=False, automargin=True, **ticks)
    return sheet.update_layout(
        template="plotly_white",
        height=height,
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        margin={"l": 60, "r": 20, "t": 72, "b": 50},
        font=FONT,
        hoverlabel={"font": {"family": "ui-monospace, monospace"}},
        modebar={"bgcolor": "rgba(0, 0, 0, 0)", "color": LINES, "activecolor": GREY},
        legend={"orientation": "h", "y": 1.09, "yanchor": "bottom", "x": 0},
    )
