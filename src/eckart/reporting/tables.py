"""The figures of a run as labels and values, for the terminal and the page alike."""

import math
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

Document: TypeAlias = dict[str, Any]
"""A result as plain numbers and text, as `--json` shows it."""
MOST_NAMES: Final = 4
"""Names of parts in one line."""
NEAR_SHARE: Final = 0.001
"""Share by which an error may exceed the lowest one and still count as equally good."""


def factor_table(document: Document) -> list[tuple[str, str]]:
    """Labels and values of a factorisation."""
    parts = document["parts"]
    before, after = document["original_bytes"], document["factor_bytes"]
    rows = [
        ("shape", _shape(parts)),
        ("rank", ", ".join(_distinct(str(part["rank"]) for part in parts))),
        ("solver", _solvers(parts)),
        ("relative error", _zero_or(document, document["relative_error"])),
        ("best possible", _best(document)),
        ("share of the optimum", share(document["share_of_optimum"])),
        (
            "bytes before → after",
            f"{byte_size(before)} → {byte_size(after)} ({after / before:.1%})",
        ),
    ]
    # 0 in the document beside the factors, which is written before the job ends
    if document["seconds"]:
        rows.append(("time", seconds(document["seconds"])))
    return rows


def plan_table(plan: Document, done: Document | None = None) -> list[tuple[str, str]]:
    """What a job on a cluster takes, by its plan and, once it is done, as measured."""
    rows = [
        ("workers", f"{plan['workers']} with {plan['threads']} threads"),
        ("rows", "held by the workers" if plan["held"] else "read in each pass"),
        ("passes", str(plan["passes"])),
        ("bytes read", byte_size(plan["read_bytes"])),
        ("bytes moved", byte_size(plan["moved_bytes"])),
        ("tasks", str(plan["tasks"])),
        ("memory of a worker", byte_size(plan["worker_bytes"])),
        ("memory here", byte_size(plan["client_bytes"])),
        ("time", f"some {seconds(plan['seconds'])}"),
    ]
    if done is None:
        return rows
    measured = {
        "passes": str(done["passes"]),
        "bytes moved": byte_size(done["moved_bytes"]),
        "tasks": str(done["tasks"]),
        "memory of a worker": byte_size(done["worker_bytes"]),
    }
    return [
        (name, f"{measured[name]} ({value} planned)") for name, value in rows if name in measured
    ]


def certificate_table(document: Document) -> list[tuple[str, str]]:
    """Labels and values of a certificate."""
    chance = document["failure_probability"]
    return [
        ("relative error", figure(document["relative_error"])),
        ("best possible", figure(_relative_best(document))),
        ("largest possible gap", gap(document["gap"])),
        ("share of the optimum", share(document["share_of_optimum"])),
        ("obtained by", document["method"]),
        ("wrong with probability", f"at most {chance:.1g}" if chance else "0, nothing is random"),
        ("time", seconds(document["seconds"])),
    ]


def compare_table(document: Document) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and one row for each solver, with numbers between two columns of words."""
    header = ("solver", "rank", "error", "relative error", "gap", "passes", "time", "outcome")
    rows = [
        (
            run["name"],
            str(run["rank"]),
            figure(run["certificate"]["error"]),
            figure(run["certificate"]["relative_error"]),
            gap(run["gap"]),
            str(run["passes"]),
            seconds(run["solving_seconds"]),
            run["outcome"].lower().replace("_", " "),
        )
        for run in document["runs"]
    ]
    return header, rows


def compare_verdict(document: Document) -> str:
    """Sentences on the solvers with the lowest error, the quickest of them, and the bound."""
    sentences = [_closest([run for run in document["runs"] if run["grade"] != "failed"])]
    if document["not_run"]:
        sentences.append(f"Interrupted before {_join_names(document['not_run'])} had a result.")
    if document["best_possible_error"]:
        best = figure(document["best_possible_error"])
        sentences.append(f"No rank-{document['rank']} pair has an error below {best}.")
    return " ".join(sentences)


def _closest(runs: list[Document]) -> str:
    if not runs:
        return "No solver reached an answer."
    ordered = sorted(runs, key=_relative_error)
    lowest = _relative_error(ordered[0])
    near = [run for run in runs if _relative_error(run) <= lowest * (1 + NEAR_SHARE)]
    quickest = min(near, key=lambda run: run["solving_seconds"])
    if near[1:]:
        names, first = _join_names([run["name"] for run in near]), quickest["name"]
        return (
            f"{names} come within {NEAR_SHARE:.1%} of the lowest error; "
            f"the quickest of them is {first}, {seconds(quickest['solving_seconds'])}."
        )
    behind = ""
    if ordered[1:]:
        behind = f"; the next is {ordered[1]['name']} with {figure(_relative_error(ordered[1]))}"
    return f"{quickest['name']} comes closest, with a relative error of {figure(lowest)}{behind}."


def gap(number: float | None) -> str:
    """A certified gap in percent.

    Example:
        >>> gap(0.00123), gap(None)
        ('0.123%', 'not bounded')
    """
    return "not bounded" if number is None else f"{number:.3%}"


def figure(number: float | None) -> str:
    """A number with four digits, or "not known".

    Example:
        >>> figure(0.16181734), figure(None)
        ('0.1618', 'not known')
    """
    return "not known" if number is None else f"{number:.4g}"


def share(number: float | None) -> str:
    """A share in percent, rounded down, but 100 % within 0.005 %, where the optimum is reached.

    Example:
        >>> share(1.0), share(0.99999), share(0.98765), share(None)
        ('100.00 %', '100.00 %', '98.76 %', 'not known')
    """
    if number is None:
        return "not known"
    # 1e-9: a share such as 0.5005 is stored a little below, and would be rounded down to 50.04 %
    return "100.00 %" if number > 0.99995 else f"{math.floor(number * 1e4 + 1e-9) / 100:.2f} %"


def byte_size(count: float) -> str:
    """Bytes with a unit.

    Example:
        >>> byte_size(128), byte_size(786432)
        ('128 B', '786.4 kB')
    """
    # decimal units: 1 kB is 1000 bytes
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def seconds(count: float) -> str:
    """A time with a unit.

    Example:
        >>> seconds(0.0123), seconds(75)
        ('12 ms', '1 min 15 s')
    """
    if count < 1:
        # from 99.5 ms on, two digits would be written as 1e+02
        return f"{count * 1e3:.2g} ms" if count < 0.0995 else f"{count * 1e3:.0f} ms"
    if count < 60:
        return f"{count:.2f} s"
    return f"{int(count // 60)} min {int(count % 60)} s"


def _shape(parts: list[Document]) -> str:
    shapes = _distinct(f"{part['shape'][0]} × {part['shape'][1]}" for part in parts)
    named = [part["name"] for part in parts if part["name"]]
    if not named[1:]:
        return ", ".join(shapes)
    names = ", ".join(named[:MOST_NAMES]) + (", …" if named[MOST_NAMES:] else "")
    return f"{', '.join(shapes)} in {len(named)} parts ({names})"


def _zero_or(document: Document, number: float | None) -> str:
    """A figure of a document, or 0 if all its parts are exact to rounding."""
    every = all(part["certificate"]["gap"] == 0 for part in document["parts"])
    # gap 0 alone is also that of an exact optimum with an error
    is_exact = every and document["relative_error"] < 1e-6
    return "0, to rounding" if is_exact else figure(number)


def _solvers(parts: list[Document]) -> str:
    """The solver of all parts, with its settings if they are the same for all."""
    lines = _distinct(_solver(part["recipe"]) for part in parts)
    if len(lines) == 1:
        return lines[0]
    names = _distinct(part["recipe"]["solver"]["name"] for part in parts)
    return f"{', '.join(names)}, with settings for each part"


def _solver(recipe: Document) -> str:
    """The solver and its start in one line, with the numbers that were chosen from the data."""
    solver, start = recipe["solver"], recipe["start"]
    words = [solver["name"]]
    if "learning_rate" in solver:
        words.append(f"learning rate {solver['learning_rate']:.4g}")
    if start and start["name"] == "lora":
        other = "B" if start["gaussian"] == "A" else "A"
        words.append(f"start {start['gaussian']} ~ N(0, {start['sigma']:.4g}²), {other} = 0")
    elif start:
        words.append("given start")
    return ", ".join(words)


def _best(document: Document) -> str:
    """The best possible relative error."""
    best, error = document["best_possible_error"], document["error"]
    if best is None:
        return "not known"
    if not error:
        return "0"
    return _zero_or(document, _relative_best(document))


def _relative_best(document: Document) -> float | None:
    best, error = document["best_possible_error"], document["error"]
    if best is None:
        return None
    return document["relative_error"] * best / error if error else 0.0


def _relative_error(run: Document) -> float:
    """The relative error of a run, or 0 if the run is exact up to rounding."""
    proof = run["certificate"]
    return 0.0 if proof["gap"] == 0 and proof["relative_error"] < 1e-6 else proof["relative_error"]


def _join_names(names: list[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
