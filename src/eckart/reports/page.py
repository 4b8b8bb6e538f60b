"""The pages of a factorisation and of a comparison."""

from html import escape
from itertools import cycle
from typing import Any

from eckart.reports import figures
from eckart.reports.html import draw, frame, grid, table
from eckart.reports.table import compare_table, compare_verdict, factor_table


def factor_page(document: dict[str, Any]) -> str:
    """The report of a factorisation.

    Args:
        document: `Factoring.report_document()`.

    Returns:
        HTML that is complete in itself: styles, script and pictures are inside.
    """
    parts = document["parts"]
    messages = "".join(
        f'<p class="message">{_named(part["name"])}{escape(part["message"])}</p>' for part in parts
    )
    sections = "".join(
        _section(part, photograph="images" in document, alone=len(parts) == 1, first=place == 0)
        for place, part in enumerate(parts)
    )
    return frame(
        title=document["source"],
        body=f"""
<h1>{escape(document["source"])}</h1>
<p class="equation">W ≈ B·A, rank {escape(_rank(parts))}</p>
{messages}
<h2>Figures</h2>
<div class="card">{table(factor_table(document))}</div>
{_images(document)}
{sections}
{origin(document["command"], parts)}
""",
    )


def compare_page(document: dict[str, Any]) -> str:
    """The report of a comparison.

    Args:
        document: `Comparison.report_document()`.

    Returns:
        HTML that is complete in itself: styles and script are inside.
    """
    runs = document["runs"]
    marks = [
        f'<span class="swatch" style="--light: {light}; --dark: {dark}"></span>'
        for (light, dark), _ in zip(cycle(figures.CURVES.items()), runs, strict=False)
    ]
    rows, columns = document["shape"]
    title = f"{document['source']} {document['part']}".rstrip()
    curves, values = figures.loss_curves(document), figures.singular_values(document)
    endings = "".join(
        f"<tr><th>{mark}{escape(run['name'])}</th><td>{escape(run['message'])}</td></tr>"
        for mark, run in zip(marks, runs, strict=True)
    )
    return frame(
        title=title,
        body=f"""
<h1>{escape(title)}</h1>
<p class="equation">W ≈ B·A, {rows} × {columns}, rank {document["rank"]}</p>
<p class="message">{escape(compare_verdict(document))}</p>
<h2>The solvers beside one another</h2>
<div class="card wide">{grid(*compare_table(document), marks)}</div>
<h2>The losses over one another</h2>
<div class="card wide">{draw(curves) if curves else "There is no loss above 0 to draw."}</div>
<h2>How each run ended</h2>
<div class="card"><table>{endings}</table></div>
{f'<h2>The matrix</h2><div class="card">{draw(values)}</div>' if values else ""}
{origin(document["command"], runs)}
""",
    )


def origin(command: str, runs: list[dict[str, Any]]) -> str:
    """The end of every page: how to run it again, and how its figures were obtained."""
    return f"""<h2>Run it again</h2>
<pre>{escape(command or "eckart.factorize(W, …)")}</pre>
<div class="card">{table(_recipes(runs))}</div>
<h2>How the figures were obtained</h2>
<div class="card">{table(_methods(runs))}</div>
<footer>eckart {escape(runs[0]["recipe"]["versions"]["eckart"])}</footer>"""


def _section(part: dict[str, Any], *, photograph: bool, alone: bool, first: bool) -> str:
    curves = [figures.loss_curve(part), figures.singular_values(part)]
    drawn = "".join(f'<div class="card">{draw(curve)}</div>' for curve in curves if curve)
    content = f'<div class="pair">{drawn}</div>' if drawn else ""
    if "pictures" in part:
        content += f"""
<h3>The matrix, its approximation and what is left</h3>
<div class="card wide">{draw(figures.matrices(part, photograph=photograph))}</div>
<h3>The two factors</h3>
<div class="card wide">{draw(figures.factors(part))}</div>"""
    if alone:
        return f"<h2>The run</h2>{content}"
    title = f"Part {escape(part['name'])}, rank {part['rank']}"
    if first:
        return f"<h2>{title}</h2>{content}"
    return f"<details><summary>{title}</summary>{content}</details>"


def _images(document: dict[str, Any]) -> str:
    images = document.get("images")
    if not images:
        return ""
    shown = "".join(
        f'<figure class="card"><img src="{escape(images[key])}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for key, caption in (
            ("original", "W, the original"),
            ("approximation", "B·A, the approximation"),
        )
    )
    return f'<h2>The picture</h2><div class="pair">{shown}</div>'


def _recipes(parts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The recipe of all parts in a table; where they differ, each with its part's name."""
    recipes = [_recipe(part["recipe"]) for part in parts]
    rows: list[tuple[str, str]] = []
    for label, text in recipes[0].items():
        if all(recipe[label] == text for recipe in recipes):
            rows.append((label, text))
            continue
        named = zip(parts, recipes, strict=True)
        rows += [(f"{label}, {part['name']}", recipe[label]) for part, recipe in named]
    return rows


def _recipe(recipe: dict[str, Any]) -> dict[str, str]:
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


def _settings(settings: dict[str, Any]) -> str:
    """A name followed by what was set; what was left to its default of nothing is left out."""
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


def _methods(parts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """How each certificate was obtained; those obtained alike in one row."""
    names: dict[str, list[str]] = {}
    for part in parts:
        certificate = part["certificate"]
        chance = certificate["failure_probability"]
        doubt = (
            "nothing is random" if chance == 0 else f"wrong with probability at most {chance:.1e}"
        )
        names.setdefault(f"{certificate['method']}; {doubt}", []).append(part["name"])
    return [(", ".join(alike) or "certificate", text) for text, alike in names.items()]


def _named(name: str) -> str:
    return f"<strong>{escape(name)}</strong> " if name else ""


def _rank(parts: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(part["rank"]) for part in parts))
