"""The report of a recommender: a page with figures, and the same facts as rows of text."""

from html import escape
from typing import Any, Final, TypeAlias

import numpy as np
import plotly.graph_objects as go

from eckart.recommend.model import Model
from eckart.reporting.figures import ACCENT, FLOOR, GREY, axis, styled
from eckart.reporting.html import draw, frame, grid, table

MOST_MAPPED: Final = 1500
"""Items that the map shows, at most: the most popular ones, without those that have no users."""

Document: TypeAlias = dict[str, Any]
"""What `to_dict` of a fit, of its evaluation or of a map gives."""


def item_map(model: Model, names: dict[str, str] | None = None) -> Document:
    """Map the most popular items by the two leading principal components of their factors.

    Returns:
        Lists of equal length: x, y, id, title, number of users, mean rating; and the share of the
        variance that the plane shows.
    """
    data = model.data
    counts = data.item_counts()
    places = np.argsort(-counts, kind="stable")[: min(MOST_MAPPED, np.count_nonzero(counts))]
    # balanced, so that the map does not depend on how the solver scaled the factors
    points = model.offset.factors.balance().A.T[places].astype(np.float64)
    points = points - points.mean(axis=0)
    U, S, _ = np.linalg.svd(points, full_matrices=False)
    # zeros for a model of rank 1
    plane = np.pad(U * S, ((0, 0), (0, 2)))[:, :2]
    # the signs of singular vectors are arbitrary: the most popular item gets positive coordinates
    plane = plane * np.where(plane[0] < 0, -1, 1)
    total = float(np.square(S).sum())
    means = np.zeros(len(counts))
    if data.ratings is not None:
        sums = np.bincount(data.columns, data.ratings, minlength=len(counts))
        means = sums / np.maximum(counts, 1)
    ids = data.items.to_list(places)
    return {
        "x": plane[:, 0].tolist(),
        "y": plane[:, 1].tolist(),
        "ids": [str(one) for one in ids],
        "titles": [names.get(str(one), "") for one in ids] if names else None,
        "users": counts[places].tolist(),
        "means": means[places].tolist() if data.ratings is not None else None,
        "share": float(np.square(S[:2]).sum()) / total if total else 0.0,
    }


SHOWN: Final = {
    "rmse": "RMSE",
    "mae": "MAE",
    "ndcg": "NDCG",
    "recall": "Recall",
    "precision": "Precision",
    "map": "MAP",
    "mrr": "MRR",
    "coverage": "coverage",
}


def fit_rows(document: Document) -> list[tuple[str, str]]:
    """The main facts of a fit as labels and values."""
    objective, settings = document["objective"], document["settings"]
    chosen = "" if document["choice"] is None and document["tuning"] is None else ", chosen"
    kind = "ratings" if document["explicit"] else "interactions"
    rows = [
        ("users × items", f"{document['users']:,} × {document['items']:,}"),
        (kind, _count(document)),
    ]
    if document["scale"] is not None:
        rows.append(("scale", f"{document['scale'][0]:g} to {document['scale'][1]:g}"))
    for side, own in document["attributes"].items():
        if own is not None:
            rows.append((f"attributes of {side}", _attributes(own, side)))
    # the mean of a posterior has the rank of all its draws together, not that of the settings
    drawn = settings["method"] == "gibbs"
    rows.append(("rank", str((settings if drawn else document["run"])["rank"])))
    rows.append(("solver", settings["method"]))
    if settings["method"] != "gibbs":
        rows.append(("λ", f"{objective['regularization']:.4g}{chosen}"))
    if objective["unobserved_weight"]:
        rows.append(("α", f"{objective['unobserved_weight']:.4g}"))
    if objective["implicit_features"]:
        rows.append(("implicit features", f"{objective['implicit_features']:g}"))
    gap = document["run"]["certificate"].get("regularized_gap")
    if gap is not None:
        rows.append(("from the optimum", f"at most {gap:.2%}"))
    rows.append(("time", f"{document['seconds']:.2f} s"))
    return rows


def metric_table(evaluation: Document) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows of the metrics: a row for each metric, a column for each method."""
    figures: Document = evaluation["figures"]
    methods = list(figures)
    header = ("", *methods)
    rows: list[tuple[str, ...]] = []
    for name, label in SHOWN.items():
        cells = [_cell(figures[method].get(name)) for method in methods]
        if any(cells):
            # errors of ratings do not depend on the length of the lists
            at = "" if name in ("rmse", "mae") else f"@{evaluation['k']}"
            rows.append((f"{label}{at}", *cells))
    return header, rows


def evaluation_sentence(evaluation: Document) -> str:
    """A sentence on how the test part was made and what counts as relevant."""
    kinds = {
        "random": "a random part of the interactions",
        "last": "the last interactions of each user",
        "users": "users that the model had not seen, of whose items 80 % were shown to it",
    }
    found = ""
    if evaluation["relevant"] is not None:
        found = f" To be found are ratings of at least {evaluation['relevant']:g}."
    unknown = ""
    if evaluation["unknown_items"]:
        unknown = (
            f" {evaluation['unknown_items']:,} test entries are of items that nobody else dealt "
            "with and are not to be found."
        )
    return (
        f"Measured on {kinds[evaluation['test']]}: {evaluation['tested']:,} entries, lists of "
        f"{evaluation['ranked_users']:,} users.{found}{unknown} ± is one standard error."
    )


def _count(document: Document) -> str:
    disliked = f", {document['disliked']:,} of them dislikes" if document["disliked"] else ""
    return f"{document['interactions']:,} ({document['density']:.2%} of all){disliked}"


def _attributes(own: Document, side: str) -> str:
    columns = len(own["columns"])
    total = own["known"] + own["unknown"]
    alone = own["without_interactions"]
    kind = f"{columns} column" + ("s" if columns > 1 else "")
    known = f"{own['width']:,} from {kind}, of {own['known']:,} of {total:,} {side}"
    return known + (f", {alone:,} of them without interactions" if alone else "")


def _cell(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    error = figure["error"]
    return f"{figure['value']:.4f}" + ("" if error is None else f" ± {error:.4f}")


MOST_NAMED: Final = 40
"""Items up to which all titles are written beside their points."""
SHADES: Final = ((0.0, "#c2410c"), (0.5, "#b8c4d6"), (1.0, "#2457c5"))


def learning_curve(document: Document) -> go.Figure | None:
    """A figure of the objective after each sweep; None for fewer than two sweeps."""
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
    # a logarithmic axis only for losses over more than a decade, which must be positive
    wide = min(losses) > 0 and max(losses) > 20 * min(losses)
    drawn.update_xaxes(title="sweep")
    drawn.update_yaxes(title="objective", **axis(min(losses), max(losses), wide=wide))
    return styled(drawn, 340)


def choice_curve(document: Document) -> go.Figure | None:
    """A figure of the validation error for each λ, with the chosen one; None if λ was given."""
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
    # each λ is a power of √2 times the first: evenly spaced on a logarithmic axis
    drawn.update_xaxes(title="λ", type="log", tickvals=tried, ticktext=labels)
    drawn.update_yaxes(title=f"{choice['metric']}, held out")
    return styled(drawn, 340)


def bins_figure(evaluation: Document, key: str, what: str) -> go.Figure | None:
    """A figure of the model and a baseline over ranges of counts; None for a single range."""
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


def map_figure(plane: Document) -> go.Figure:
    """A map of the items: colour shows the mean rating, size the number of users."""
    most = max(plane["users"], default=1) or 1
    words = [
        f"{title}<br>{one}" if title else one
        for one, title in zip(
            plane["ids"], plane["titles"] or [""] * len(plane["ids"]), strict=True
        )
    ]
    # more titles would cover one another
    few = plane["titles"] is not None and len(plane["ids"]) <= MOST_NAMED
    colour: Document = {"color": ACCENT}
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
                # the root, so that the area of a point grows with the number of users
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


def recommend_page(document: Document) -> str:
    """The HTML report of a fit: a self-contained page with styles and scripts inside."""
    notes = "".join(f'<p class="message">{escape(note)}</p>' for note in document["notes"])
    curves = [learning_curve(document), choice_curve(document)]
    cards = "".join(f'<div class="card">{draw(curve)}</div>' for curve in curves if curve)
    return frame(
        title=f"Recommender of {document['source']}",
        body=f"""
<h1>{escape(document["source"])}</h1>
<p class="equation">W ≈ B·A, {document["users"]:,} users × {document["items"]:,} items,
rank {document["run"]["rank"]}</p>
{notes}
<p class="message">{escape(document["run"]["message"])}</p>
<h2>Figures</h2>
<div class="card">{table(fit_rows(document))}</div>
{_evaluation(document["evaluation"])}
<h2>The run</h2>
<div class="pair">{cards}</div>
<h2>The items</h2>
<p>Each point is an item; items that the same users like are near one another. The plane shows
{document["map"]["share"]:.0%} of the variance of the factors. Zoom in, and point at an item for its
name.</p>
<div class="card wide">{draw(map_figure(document["map"]))}</div>
<h2>Run it again</h2>
<pre>{escape(document["command"] or "eckart.LowRankRecommender(…).fit(…)")}</pre>
<footer>eckart {escape(document["run"]["recipe"]["versions"]["eckart"])}</footer>
""",
    )


def _evaluation(evaluation: Document | None) -> str:
    if evaluation is None:
        return ""
    header, rows = metric_table(evaluation)
    figures = [
        bins_figure(evaluation, "by_activity", "entries that are known of a user"),
        bins_figure(evaluation, "by_popularity", "users who dealt with an item"),
    ]
    cards = "".join(f'<div class="card">{draw(one)}</div>' for one in figures if one)
    return f"""<h2>How good it is</h2>
<p>{escape(evaluation_sentence(evaluation))}</p>
<div class="card wide">{grid((*header, ""), [(*row, "") for row in rows], [""] * len(rows))}</div>
<h2>For whom, and for which items</h2>
<div class="pair">{cards}</div>"""
