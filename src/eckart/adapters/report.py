"""The report of an adapter: its page, its figures, and the tables of page and terminal."""

import re
from collections.abc import Callable
from html import escape
from typing import Final

import numpy as np
import plotly.graph_objects as go

from eckart.adapters.settings import Document
from eckart.reporting.figures import ACCENT, FLOOR, GREY, axis, styled
from eckart.reporting.html import draw, frame, grid, table
from eckart.reporting.tables import byte_size, figure, gap, seconds

EXACT: Final = 1e-5
"""Largest relative error that rounding to float32 explains: the whole change is taken in."""
SEEN: Final = 5e-6
"""Smallest gap that is not rounded to 0.000 % in a sentence."""
MOST_MISSING: Final = 200
"""Rows of the table of tensors that the adapter does not cover."""


def extract_table(document: Document) -> list[tuple[str, str]]:
    """Labels and values of an extraction, for the terminal and the page."""
    layers = _layers(document)
    ranks = sorted(one["rank"] for one in layers)
    whole = sum(one["state"] in ("bias", "saved whole") for one in document["tensors"])
    spread = "none"
    if ranks:
        span = f", {ranks[0]} to {ranks[-1]}" if ranks[0] != ranks[-1] else ""
        spread = f"{ranks[len(ranks) // 2]}{span}"
    return [
        ("layers with factors", str(len(layers))),
        ("ranks", spread),
        ("biases and saved whole", str(whole)),
        ("unchanged", str(document["unchanged"])),
        ("not covered", str(len(_missing(document)))),
        ("relative error of these layers", figure(document["relative_error_of_layers"])),
        ("relative error of the whole change", figure(document["relative_error"])),
        ("bytes", byte_size(document["bytes"])),
        ("time", seconds(document["seconds"])),
    ]


def extract_verdict(document: Document) -> str:
    """Sentences on the share of the change in the adapter, its gap and the tensors left out."""
    layers = _layers(document)
    taken = 1 - document["relative_error"] ** 2
    sentences = [
        f"The adapter takes in {taken:.2%} of the change (its squared norm), "
        f"in {byte_size(document['bytes'])}."
    ]
    if document["relative_error"] <= EXACT:
        sentences = [f"The adapter takes in the whole change, in {byte_size(document['bytes'])}."]
    gaps = [one["gap"] for one in layers if one["gap"] is not None]
    if gaps:
        most = f" by more than {gap(max(gaps))} in any layer" if max(gaps) >= SEEN else ""
        sentences.append(f"No factors of the same ranks are closer{most}.")
    lost = sum(one["share_of_delta"] for one in _missing(document))
    if lost:
        sentences.append(f"{lost:.2%} is in tensors that it does not cover.")
    # without a partner there is no difference, and so no share of the change
    new = [one for one in _missing(document) if one["delta_norm"] is None]
    if new:
        sentences.append(
            f"{len(new)} tensor{'s are' if len(new) > 1 else ' is'} in one of the two only."
        )
    return " ".join(sentences)


def layer_rows(document: Document) -> list[tuple[str, ...]]:
    """One row for each layer with factors."""
    return [
        (
            one["name"],
            " × ".join(map(str, one["shape"])),
            str(one["rank"]),
            figure(one["relative_error"]),
            figure(one["best_possible_error"]),
            gap(one["gap"]),
            byte_size(one["bytes"]),
            f"{one['share_of_delta']:.2%}",
            seconds(one["seconds"]),
        )
        for one in _layers(document)
    ]


def missing_rows(document: Document, most: int) -> list[tuple[str, ...]]:
    """One row for each tensor whose change is not in the adapter, the largest change first."""
    return change_rows(sorted(_missing(document), key=lambda one: -one["share_of_delta"]), most)


def change_rows(tensors: list[Document], most: int) -> list[tuple[str, ...]]:
    """Name, share of the whole change and reason of tensors, of so many and the count of more."""
    rows = [
        (
            one["name"],
            "" if one["delta_norm"] is None else f"{one['share_of_delta']:.2%}",
            one["why"] or ("its rank is 0" if "state" in one else ""),
        )
        for one in tensors[:most]
    ]
    more = len(tensors) - len(rows)
    return [*rows, (f"and {more} more", "", "")] if more else rows


def _layers(document: Document) -> list[Document]:
    return [one for one in document["tensors"] if one.get("rank") and one["state"] == "factors"]


def _missing(document: Document) -> list[Document]:
    return [one for one in document["tensors"] if one["state"] in ("not covered", "left out")]


_DEPTH: Final = re.compile(r"\.(\d+)\.")
"""Number of the block in the name of a layer, such as 3 in `model.layers.3.mlp.up_proj`."""
MOST_LINES: Final = 60
"""Spectra in one figure: of more layers, evenly chosen ones are drawn."""
SHADES: Final = ((0.0, "#e9f0ff"), (0.5, "#7ba4ff"), (1.0, "#12295e"))


def error_map(layers: list[Document]) -> go.Figure | None:
    """Heat map of the relative errors over depth and kind; None without two depths."""
    return depth_map(
        layers,
        "relative_error",
        lambda one: f"rank {one['rank']}",
        names=("error", "relative error"),
    )


def depth_map(
    layers: list[Document],
    key: str,
    words: Callable[[Document], str],
    *,
    names: tuple[str, str],
    most: float | None = None,
) -> go.Figure | None:
    """Heat map of one figure of layers over depth and kind; None without two depths.

    Args:
        layers: Documents of layers with a `name`.
        key: Key of the figure in each document; a cell without a figure stays empty.
        words: Function of a document that gives a few words to show beside the figure.
        names: Short name of the figure for the scale, and the whole name.
        most: Figure at the end of the scale; None takes the largest.
    """
    named = [(layer, _DEPTH.search(layer["name"])) for layer in layers]
    # the kind is what follows the number of the block in the name
    deep = [(one, int(at[1]), one["name"][at.end() :]) for one, at in named if at is not None]
    if len({depth for _, depth, _ in deep}) < 2:
        return None
    kinds = list(dict.fromkeys(kind for _, _, kind in deep))
    depths = sorted({depth for _, depth, _ in deep})
    # a cell without a layer stays empty: plotly draws nothing for NaN
    cells = np.full((len(kinds), len(depths)), np.nan)
    # objects, since an array of str would cut longer texts
    said = np.full(cells.shape, "", dtype=object)
    for layer, depth, kind in deep:
        place = kinds.index(kind), depths.index(depth)
        cells[place] = np.nan if layer[key] is None else layer[key]
        said[place] = words(layer)
    drawn = go.Figure(
        go.Heatmap(
            z=cells,
            x=depths,
            # plotly reads tags in labels, and names come from files
            y=[escape(kind) for kind in kinds],
            customdata=said,
            colorscale=SHADES,
            zmin=0.0,
            zmax=most,
            colorbar={"thickness": 10, "outlinewidth": 0, "title": names[0]},
            # <extra></extra> leaves out plotly's box with the name of the trace
            hovertemplate=f"%{{y}}, layer %{{x}}<br>{names[1]} %{{z:.4f}}, %{{customdata}}"
            "<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    drawn.update_xaxes(title="depth", dtick=1 if len(depths) <= 24 else None)
    # the first kind at the top, as in a table
    drawn.update_yaxes(autorange="reversed")
    return styled(drawn, 140 + 26 * len(kinds))


def layer_spectra(layers: list[Document]) -> go.Figure | None:
    """The singular values of the changes of the layers, each relative to its largest."""
    known = [layer for layer in layers if layer["singular_values"]]
    if not known:
        return None
    drawn = go.Figure()
    lowest = 1.0
    # the stride is rounded up, so that at most MOST_LINES are drawn
    for layer in known[:: -(-len(known) // MOST_LINES)]:
        values = np.asarray(layer["singular_values"])
        # smaller singular values are rounding, and would stretch a logarithmic axis
        shown = values[values > 1e-9 * values[0]] / values[0]
        lowest = min(lowest, float(shown.min()))
        drawn.add_scatter(
            x=np.arange(1, len(shown) + 1),
            y=shown,
            mode="lines",
            line={"color": ACCENT, "width": 1},
            # many curves lie over one another
            opacity=0.35,
            showlegend=False,
            name=layer["name"],
            hovertemplate=f"{layer['name']}<br>σ<sub>%{{x}}</sub> = %{{y:.3g}} σ₁<extra></extra>",
        )
    drawn.update_xaxes(title="place of σ in order")
    drawn.update_yaxes(title="σ / σ₁", **axis(lowest, 1.0, wide=lowest < 0.02))
    return styled(drawn, 380)


def size_curve(document: Document) -> go.Figure | None:
    """Curve of the error of all layers over the bytes of their factors, with this adapter in it."""
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


# the titles of the tables of layers and of missing tensors on the page
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


def extract_page(document: Document) -> str:
    """The HTML report of an extraction, which needs no other file: styles and script are inside."""
    layers = [one for one in document["tensors"] if one.get("rank")]
    # escaped, because names in notes come from the checkpoints
    notes = "".join(f'<p class="message">{escape(note)}</p>' for note in document["notes"])
    deep, curves = error_map(layers), [size_curve(document), layer_spectra(layers)]
    cards = "".join(f'<div class="card">{draw(curve)}</div>' for curve in curves if curve)
    rows, missing = layer_rows(document), missing_rows(document, MOST_MISSING)
    return frame(
        title=f"Adapter {document['folder']}",
        body=f"""
<h1>{escape(document["folder"])}</h1>
<p class="equation">W_tuned − W_base ≈ B·A, {escape(document["source"])}</p>
<p class="message">{escape(extract_verdict(document))}</p>
{notes}
<h2>Figures</h2>
<div class="card">{table(extract_table(document))}</div>
{f'<h2>The error over depth and kind</h2><div class="card wide">{draw(deep)}</div>' if deep else ""}
<h2>Size, error and spectra</h2>
<div class="pair">{cards}</div>
{section("What is not covered", MISSING, missing) if missing else ""}
{section("The layers", LAYERS, rows) if rows else ""}
<h2>Run it again</h2>
<pre>{escape(document["command"] or "eckart.extract_adapter(…)")}</pre>
<footer>eckart {escape(document["version"])}</footer>""",
    )


def section(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """The HTML of a heading and a table below it; the title is plain text."""
    marks = [""] * len(rows)
    return f'<h2>{escape(title)}</h2><div class="card wide">{grid(header, rows, marks)}</div>'


HEADER: Final = ("layer", "rank", "relative error", "recorded")
"""Titles of the columns of `verify_rows`."""
MOST_NAMED: Final = 5
"""Names in a sentence of the verdict."""


def verify_rows(document: Document) -> list[tuple[str, ...]]:
    """One row for each adapted layer."""
    return [
        (
            one["name"],
            str(one["rank"]),
            figure(one["relative_error"]),
            "" if one["recorded_error"] is None else figure(one["recorded_error"]),
        )
        for one in document["layers"]
    ]


def verify_verdict(document: Document) -> list[str]:
    """Sentences on what does not fit, what is above the tolerance, and the error of the whole."""
    larger = [one["name"] for one in document["layers"] if not one["fits"]]
    different = [one["name"] for one in document["values"] if not one["fits"]]
    said = [
        *_named(document["unknown"], "The adapter changes what the models do not have"),
        *document["misfits"][:MOST_NAMED],
        *_named(larger, "The error is larger than the recorded one"),
        *_named(different, "The values are not those of the fine-tune"),
        *_named([name for name in document["short"] if name], "Above the tolerance"),
    ]
    equal = sum(one["fits"] for one in document["values"])
    also = f" and {_counted(equal, 'bias or saved value', 'biases and saved values')} equal"
    also = also if equal else ""
    whole = document["relative_error"]
    error = "not a number: nothing changed" if whole is None else figure(whole)
    short = f", above the tolerance of {document['tolerance']:g}" if "" in document["short"] else ""
    fit = "does not fit" if document["grade"] == "failed" else "fits"
    layers = _counted(len(document["layers"]), "layer", "layers")
    return [
        *said,
        f"The adapter {fit}: {layers} measured{also}.",
        f"The relative error of the whole change is {error}{short}.",
    ]


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _named(names: list[str], what: str) -> list[str]:
    if not names:
        return []
    shown = ", ".join(f"'{name}'" for name in names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"{what}: {shown}{more}."]
