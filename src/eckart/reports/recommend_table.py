"""What is known of a fitted recommender, as rows."""

from typing import Any, Final

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


def fit_rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Labels and values of a fit.

    Args:
        document: `Fitting.to_dict()`.
    """
    objective, settings = document["objective"], document["settings"]
    chosen = "" if document["choice"] is None and document["tuning"] is None else ", chosen"
    kind = "ratings" if document["explicit"] else "interactions"
    rows = [
        ("users × items", f"{document['users']:,} × {document['items']:,}"),
        (kind, _counted(document)),
    ]
    if document["scale"] is not None:
        rows.append(("scale", f"{document['scale'][0]:g} to {document['scale'][1]:g}"))
    for side, own in document["attributes"].items():
        if own is not None:
            rows.append((f"attributes of {side}", _attributes(own, side)))
    drawn = settings["method"] == "gibbs"  # whose mean has the rank of all draws together
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


def metric_table(evaluation: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: a metric in each row, a method in each column.

    Args:
        evaluation: `Evaluation.to_dict()`.
    """
    figures: dict[str, Any] = evaluation["figures"]
    methods = list(figures)
    header = ("", *methods)
    rows: list[tuple[str, ...]] = []
    for name, label in SHOWN.items():
        cells = [_cell(figures[method].get(name)) for method in methods]
        if any(cells):
            at = "" if name in ("rmse", "mae") else f"@{evaluation['k']}"
            rows.append((f"{label}{at}", *cells))
    return header, rows


def evaluation_sentence(evaluation: dict[str, Any]) -> str:
    """What was held against what."""
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


def _counted(document: dict[str, Any]) -> str:
    disliked = f", {document['disliked']:,} of them dislikes" if document["disliked"] else ""
    return f"{document['interactions']:,} ({document['density']:.2%} of all){disliked}"


def _attributes(own: dict[str, Any], side: str) -> str:
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
