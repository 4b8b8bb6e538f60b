"""The page of a recommender: how good it is, for whom, and what it has learned of the items."""

from html import escape
from typing import Any

from eckart.reports.html import draw, frame, grid, table
from eckart.reports.recommend_figures import bins_figure, choice_curve, learning_curve, map_figure
from eckart.reports.recommend_table import evaluation_sentence, fit_rows, metric_table


def recommend_page(document: dict[str, Any]) -> str:
    """The report of a fit.

    Args:
        document: `Fitting.report_document()`.

    Returns:
        HTML that is complete in itself: styles and script are inside.
    """
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


def _evaluation(evaluation: dict[str, Any] | None) -> str:
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
