"""The figures of a recommender: its learning curve, its error by counts, the map of its items."""

from typing import Any, Final

import plotly.graph_objects as go

from eckart.reports.figures import ACCENT, FLOOR, GREY, axis, styled

MOST_NAMED: Final = 40
"""Items whose titles are written beside their points."""
SHADES: Final = ((0.0, "#c2410c"), (0.5, "#b8c4d6"), (1.0, "#2457c5"))


def learning_curve(document: dict[str, Any]) -> go.Figure | None:
    """The objective after each sweep; None where there are fewer than two."""
    history = [one for one in document["run"]["history"] if one["loss"] is not None]
    if len(history) < 2:
        return None
    losses = [one["loss"] for one in history]
    drawn = go.Figure(
        go.Scatter(
            x=[one["step"] + 1 for one in history],
            y=losses,
            mode="lines+markers" if len(history) <= 30 else "lines",
            line={"color": ACCENT, "width": 2.5},
            customdata=[one["seconds"] for one in history],
            hovertemplate="sweep %{x}, %{customdata:.2f} s<br>objective %{y:.6g}<extra></extra>",
        )
    )
    wide = min(losses) > 0 and max(losses) > 20 * min(losses)
    drawn.update_xaxes(title="sweep")
    drawn.update_yaxes(title="objective", **axis(min(losses), max(losses), wide=wide))
    return styled(drawn, 340)


def choice_curve(document: dict[str, Any]) -> go.Figure | None:
    """The figure on the validation part for each λ, and the λ that was chosen."""
    choice = document["choice"]
    if choice is None:
        return None
    drawn = go.Figure(
        go.Scatter(
            x=[one["regularization"] for one in choice["tried"]],
            y=[one["figure"] for one in choice["tried"]],
            mode="lines+markers",
            line={"color": ACCENT, "width": 2},
            hovertemplate="λ = %{x:.4g}<br>%{y:.5f}<extra></extra>",
        )
    )
    drawn.add_vline(x=choice["regularization"], line={"color": FLOOR, "dash": "dash"})
    tried = [one["regularization"] for one in choice["tried"]]
    labels = [f"{one:.2g}" for one in tried]
    drawn.update_xaxes(title="λ", type="log", tickvals=tried, ticktext=labels)
    drawn.update_yaxes(title=f"{choice['metric']}, held out")
    return styled(drawn, 340)


def bins_figure(evaluation: dict[str, Any], key: str, what: str) -> go.Figure | None:
    """The model beside what it has to beat, over ranges of counts; None where there is one range.

    Args:
        evaluation: `Evaluation.to_dict()`.
        key: by_activity or by_popularity.
        what: Is counted.
    """
    bins = evaluation[key]
    if len(bins) < 2:
        return None
    methods = [name for name in bins[0] if name not in ("from", "to", "count")]
    labels = [
        f"{one['from']}+" if one["to"] is None else
        str(one["from"]) if one["from"] == one["to"] else f"{one['from']}–{one['to']}"
        for one in bins
    ]  # fmt: skip
    drawn = go.Figure()
    for method, colour in zip(methods, (ACCENT, GREY), strict=False):
        drawn.add_bar(
            x=labels,
            y=[one[method] for one in bins],
            name=method,
            marker={"color": colour},
            customdata=[one["count"] for one in bins],
            hovertemplate=f"{method}<br>%{{x}}: %{{y:.4f}} (of %{{customdata:,}})<extra></extra>",
        )
    drawn.update_layout(barmode="group")
    drawn.update_xaxes(title=what, type="category")
    found = key == "by_popularity" and evaluation["metric"] != "rmse"
    drawn.update_yaxes(title="share that was found" if found else evaluation["metric"])
    return styled(drawn, 340)


def map_figure(plane: dict[str, Any]) -> go.Figure:
    """The items as points; the colour is the mean rating, the size how many users dealt with it.

    Args:
        plane: `item_map()`.
    """
    most = max(plane["users"], default=1) or 1
    words = [
        f"{title}<br>{one}" if title else one
        for one, title in zip(
            plane["ids"], plane["titles"] or [""] * len(plane["ids"]), strict=True
        )
    ]
    few = plane["titles"] is not None and len(plane["ids"]) <= MOST_NAMED
    colour: dict[str, Any] = {"color": ACCENT}
    if plane["means"] is not None:
        bar = {"thickness": 10, "outlinewidth": 0, "title": "mean"}
        colour = {"color": plane["means"], "colorscale": SHADES, "colorbar": bar}
    drawn = go.Figure(
        go.Scatter(
            x=plane["x"],
            y=plane["y"],
            mode="markers+text" if few else "markers",
            text=plane["titles"] if few else words,
            textposition="top center",
            hovertext=words,
            customdata=plane["users"],
            marker={
                "size": [5 + 13 * (count / most) ** 0.5 for count in plane["users"]],
                "opacity": 0.75,
                **colour,
            },
            hovertemplate="%{hovertext}<br>%{customdata:,} users<extra></extra>",
        )
    )
    drawn.update_xaxes(title="first direction", showticklabels=False)
    drawn.update_yaxes(title="second direction", showticklabels=False)
    return styled(drawn, 560)
