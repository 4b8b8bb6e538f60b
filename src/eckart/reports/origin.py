"""The end of a page: how its run is made again, and how its figures were obtained."""

from html import escape
from typing import Any

from eckart.reports.html import table


def origin(command: str, runs: list[dict[str, Any]]) -> str:
    """The end of every page: how to run it again, and how its figures were obtained."""
    return f"""<h2>Run it again</h2>
<pre>{escape(command or "eckart.factorize(W, …)")}</pre>
<div class="card">{table(_recipes(runs))}</div>
<h2>How the figures were obtained</h2>
<div class="card">{table(_methods(runs))}</div>
<footer>eckart {escape(runs[0]["recipe"]["versions"]["eckart"])}</footer>"""


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
