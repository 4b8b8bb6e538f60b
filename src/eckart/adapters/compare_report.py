"""The report of a comparison of adapters: its page, its figures, and the tables of both."""

from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from typing import Final

import plotly.graph_objects as go

from eckart.adapters.report import change_rows, depth_map, section
from eckart.adapters.settings import Document
from eckart.reporting.figures import CURVES, SYMBOLS, axis, styled
from eckart.reporting.html import draw, frame, table
from eckart.reporting.tables import figure, gap, share

PAIR: Final = (
    *("layer", "ranks", "difference", "cosine", "energy"),
    *("cosines of columns", "cosines of rows"),
)
"""Titles of the columns of `pair_rows`."""
LEARNT: Final = (
    *("layer", "rank", "error", "best possible", "gap", "from the best part", "in its spaces"),
    *("cosines of columns", "cosines of rows"),
)
"""Titles of the columns of `learnt_rows`."""
VALUES: Final = ("value", "state")
MISSED: Final = ("tensor", "of the change", "why")
MOST_MISSED: Final = 200
"""Rows of a table of the changes that an adapter lacks."""
MOST_TICKS: Final = 16
"""Layers up to which the figure of errors names each below its place."""
WIDE: Final = 20.0
"""Ratio of errors from which their axis is logarithmic."""


def pair_rows(pair: Document) -> list[tuple[str, ...]]:
    """One row for each layer of a pair of adapters."""
    return [
        (
            one["name"],
            " and ".join(map(str, one["numerical_ranks"])),
            _known(one["relative_difference"]),
            _known(one["cosine"]),
            "" if one["energy"] is None else share(one["energy"]),
            _span(one["column_cosines"]),
            _span(one["row_cosines"]),
        )
        for one in pair["layers"]
    ]


def learnt_rows(learnt: Document) -> list[tuple[str, ...]]:
    """One row for each layer of an adapter beside the full change."""
    return [
        (
            one["name"],
            str(one["rank"]),
            _known(one["relative_error"]),
            figure(one["best_possible_error"]),
            gap(one["gap"]),
            _within(one["distance_from_best"], one["distance_doubt"]),
            "" if one["share_in_spaces"] is None else share(one["share_in_spaces"]),
            _span(one["column_cosines"]),
            _span(one["row_cosines"]),
        )
        for one in learnt["layers"]
    ]


def missed_rows(learnt: Document, most: int) -> list[tuple[str, ...]]:
    """One row for each change that an adapter lacks, of so many and the count of more."""
    return change_rows(learnt["uncovered"], most)


def value_rows(pair: Document) -> list[tuple[str, ...]]:
    """One row for each saved value and each change of a bias that is not equal in both."""
    return [
        (f"{one['name']}{', change' if one['is_change'] else ''}", one["state"])
        for one in pair["values"]
        if one["state"] != "equal"
    ]


def _known(number: float | None) -> str:
    return "" if number is None else figure(number)


def _within(number: float | None, doubt: float | None) -> str:
    return "" if number is None or doubt is None else f"{figure(number)} ± {doubt:.1g}"


def _span(cosines: Sequence[float]) -> str:
    """The largest and the smallest of some cosines, which descend."""
    if not cosines:
        return ""
    first, last = (f"{cosines[place]:.4f}" for place in (0, -1))
    return first if first == last else f"{first} to {last}"


def pair_table(pair: Document) -> list[tuple[str, str]]:
    """Labels and values of all layers of a pair together."""
    first, other = pair["norms"]
    both = sum(all(one["ranks"]) for one in pair["layers"])
    return [
        ("layers in both", str(both)),
        (f"only in {pair['first']}", str(len(pair["only_first"]))),
        (f"only in {pair['other']}", str(len(pair["only_other"]))),
        ("norms", f"{figure(first)} and {figure(other)}"),
        ("relative difference", figure(pair["relative_difference"])),
        ("cosine", figure(pair["cosine"])),
        ("energy in the spaces of the first", share(pair["energy"])),
    ]


def learnt_table(learnt: Document) -> list[tuple[str, str]]:
    """Labels and values of all layers of an adapter beside the full change."""
    distance, doubt = learnt["distance_from_best"], learnt["distance_doubt"]
    return [
        ("layers", str(len(learnt["layers"]))),
        ("relative error of the whole change", figure(learnt["relative_error"])),
        ("relative error of these layers", figure(learnt["relative_error_of_layers"])),
        ("best possible at these ranks", figure(learnt["best_possible_error_of_layers"])),
        ("gap", gap(learnt["gap"])),
        ("distance from the best part", _within(distance, doubt) or "not known"),
        ("change within its spaces", share(learnt["share_in_spaces"])),
        ("changes that it lacks", str(len(learnt["uncovered"]))),
    ]


def overlap_map(pair: Document) -> go.Figure | None:
    """Heat map of the energy of the other adapter in the spaces of the first."""
    return depth_map(
        pair["layers"],
        "energy",
        lambda one: f"cosine {figure(one['cosine'])}",
        names=("energy", "energy"),
        most=1.0,
    )


def error_figure(document: Document) -> go.Figure | None:
    """The error of each adapter in each layer, beside the best possible one of its rank."""
    places: dict[str, int] = {}
    for learnt in document["learnt"]:
        for one in learnt["layers"]:
            places.setdefault(one["name"], len(places) + 1)
    keys = ("relative_error", "best_possible_error")
    known = [
        one[key]
        for learnt in document["learnt"]
        for one in learnt["layers"]
        for key in keys
        if one[key]
    ]
    if not known:
        return None
    wide = max(known) > WIDE * min(known)
    drawn = go.Figure()
    for number, learnt in enumerate(document["learnt"]):
        colour, symbol = list(CURVES)[number % len(CURVES)], SYMBOLS[number % len(SYMBOLS)]
        looks = ({"symbol": symbol, "size": 9}, {"symbol": "line-ew-open", "size": 16})
        for key, look, name in zip(keys, looks, ("{}", "best possible for {}"), strict=True):
            # 0 has no place on a logarithmic axis
            shown = [one for one in learnt["layers"] if one[key] or (one[key] == 0 and not wide)]
            drawn.add_scatter(
                x=[places[one["name"]] for one in shown],
                y=[one[key] for one in shown],
                mode="markers",
                # plotly reads tags in names, and these come from files
                name=name.format(escape(learnt["adapter"])),
                marker={"color": colour, **look},
                customdata=[f"{escape(one['name'])}, rank {one['rank']}" for one in shown],
                hovertemplate="%{customdata}<br>relative error %{y:.4g}<extra></extra>",
            )
    if len(places) <= MOST_TICKS:
        names = [escape(name) for name in places]
        drawn.update_xaxes(tickvals=list(places.values()), ticktext=names, automargin=True)
    drawn.update_xaxes(title="layer")
    low = min(known) if wide else 0.0
    drawn.update_yaxes(title="relative error of ΔW", **axis(low, max(known), wide=wide))
    return styled(drawn, 440)


def comparison_page(document: Document, command: str = "") -> str:
    """The HTML report of a comparison, which needs no other file."""
    sentences = "".join(
        f'<p class="message">{escape(said)}</p>'
        for said in (*(one["message"] for one in _parts(document)), *document["notes"])
    )
    errors = error_figure(document)
    pairs = "".join(map(_pair, document["pairs"]))
    learnt = "".join(map(_learnt, document["learnt"]))
    return frame(
        title="Adapters compared",
        body=f"""
<h1>{escape(" · ".join(document["adapters"]))}</h1>
<p class="equation">W ≈ W₀ + B·A for each adapter</p>
{sentences}
{
            f'<h2>Errors and the best possible</h2><div class="card wide">{draw(errors)}</div>'
            if errors
            else ""
        }
{learnt}
{pairs}
<h2>Run it again</h2>
<pre>{escape(command or "eckart.compare_adapters(…)")}</pre>
<footer>eckart {escape(version("eckart"))}</footer>""",
    )


def _parts(document: Document) -> list[Document]:
    return [*document["pairs"], *document["learnt"]]


def _pair(pair: Document) -> str:
    """The part of the page on two adapters."""
    title = f"{pair['first']} and {pair['other']}"
    drawn, values = overlap_map(pair), value_rows(pair)
    return (
        f'<h2>{escape(title)}</h2><div class="card">{table(pair_table(pair))}</div>'
        + (f'<div class="card wide">{draw(drawn)}</div>' if drawn else "")
        + section("Its layers", PAIR, pair_rows(pair))
        + (section("Values that differ", VALUES, values) if values else "")
    )


def _learnt(learnt: Document) -> str:
    """The part of the page on one adapter beside the full change."""
    missed = missed_rows(learnt, MOST_MISSED)
    title = f"{learnt['adapter']} and the change"
    rows = learnt_rows(learnt)
    return (
        f'<h2>{escape(title)}</h2><div class="card">{table(learnt_table(learnt))}</div>'
        + (section("Its layers", LEARNT, rows) if rows else "")
        + (section("Changes that it lacks", MISSED, missed) if missed else "")
    )
