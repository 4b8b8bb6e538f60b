"""The answers of the commands that factor: a table, a message, a report, an exit status."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eckart.cli import console
from eckart.cli.options import EXIT_STATUS
from eckart.errors import ArgumentError


def deliver(
    command: str, result: Any, report: Path | None, *, force: bool, as_json: bool, quiet: bool
) -> int:
    """Show a job's result, write its report, and give its grade's exit status."""
    document = result.to_dict()
    files = dict(document["files"])
    if report is not None:
        write_report(command, result, report, force=force)
        files["report"] = str(report)
        document["files"] = files
    if as_json:
        console.answer_json(command, document)
    else:
        shown = {"factor": show_factoring, "compare": show_comparison, "reduce": show_reduction}
        shown[command](document)
    for path in files.values():
        console.note(f"Wrote {path}", quiet=quiet)
    return EXIT_STATUS[result.grade]


def wrote(command: str, result: Any, target: Path, *, as_json: bool, quiet: bool) -> int:
    """Show a result that is one sentence and where it went; always a success."""
    if as_json:
        console.answer_json(command, result.to_dict())
    else:
        console.answer_text(result.sentence())
    console.note(f"Wrote {target}", quiet=quiet)
    return 0


def show_factoring(document: dict[str, Any]) -> None:
    """The figures of a `Factoring` for a person."""
    from eckart.reports import factor_table

    losses = [record for record in _sampled(document) if record["loss"] is not None]
    if losses:
        solver = document["parts"][0]["recipe"]["solver"]["name"]
        rows = [(str(record["step"]), f"{record['loss']:.4f}") for record in losses]
        console.answer_table(("block" if solver == "krylov" else "epoch", "loss"), rows)
    console.answer_rows(factor_table(document))
    for part in document["parts"]:
        console.answer_text(f"{part['name']}: {part['message']}".removeprefix(": "))


def show_comparison(document: dict[str, Any]) -> None:
    """The figures of a `Comparison` for a person."""
    from eckart.reports import compare_table, compare_verdict

    header, rows = compare_table(document)
    console.answer_table(header, rows, aside=True)
    for run in document["runs"]:
        if run["grade"] != "success":
            console.answer_text(f"{run['name']}: {run['message']}")
    console.answer_text(compare_verdict(document))


def show_reduction(document: dict[str, Any]) -> None:
    """The figures of a `Reduced` for a person."""
    from eckart.reports import component_rows, reduce_table

    header, rows = component_rows(document)
    console.answer_table(header, rows, aside=True)
    console.answer_rows(reduce_table(document))
    console.answer_text(document["message"])


def write_report(command: str, result: Any, path: Path, *, force: bool) -> None:
    """Write the HTML report of a job's result."""
    from eckart.reports import compare_page, factor_page, reduce_page
    from eckart.storage import whole_file, write_text

    draw = {"factor": factor_page, "compare": compare_page, "reduce": reduce_page}[command]
    page = draw(result.report_document())
    with whole_file(path, force=force) as temporary:
        write_text(temporary, page)


def check_report(path: Path | None, *, force: bool, apart: Sequence[Path | None]) -> None:
    """Refuse a report that cannot be written, before any work.

    Args:
        path: Of the report; None is none.
        force: Whether what is there may be replaced.
        apart: All that is read, and what else is written.

    Raises:
        ArgumentError: If it is not an .html file, or as `check_output`.
    """
    from eckart.storage import check_output

    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(
            f"A report is an .html file, not {path.name}.",
            hint="Name an .html file.",
            code="unknown-suffix",
        )
    check_output(path, force=force, inputs=apart)


def show_spectrum(parts: Any, source: Path, *, as_json: bool) -> int:
    """Show the singular values and the ranks they suggest; always a success."""
    from eckart.jobs.spectrum import suggest_rank

    spectrum = suggest_rank(parts, source)
    document = spectrum.to_dict()
    if as_json:
        console.answer_json("factor", document)
        return 0
    for name, values in document["singular_values"].items():
        rows, columns = document["shapes"][name]
        title = f"{f'{source.name} {name}'.rstrip()}: {rows} × {columns}, its singular values"
        console.answer_table(("", "σ", ""), _bars(values), title=title, aside=True)
    console.answer_table(
        ("choice", "rank", "relative error", "bytes of the factors"),
        [
            (
                choice["why"],
                str(choice["rank"]),
                f"{choice['relative_error']:.4g}",
                f"{choice['factor_bytes']:,}",
            )
            for choice in document["choices"]
        ],
    )
    best = document["suggested"]
    console.answer_text(
        f"Suggested: --rank {best['rank']} (relative error {best['relative_error']:.2g})."
    )
    return 0


def _bars(values: list[float], lines: int = 16) -> list[tuple[str, str, str]]:
    """The first singular values as numbers and bars, and how many are left."""
    longest = values[0] or 1.0
    smallest = 1e-14 * longest  # below that a singular value is what rounding made of a zero
    rows = [
        (
            str(place),
            f"{value:.4g}" if value > smallest else "0",
            "█" * round(40 * value / longest) or "▏",
        )
        for place, value in enumerate(values[:lines], start=1)
    ]
    if len(values) > lines:
        rows.append(("…", f"{values[-1]:.4g}", f"{len(values) - lines} more, this is the last"))
    return rows


def _sampled(document: dict[str, Any], lines: int = 10) -> list[dict[str, Any]]:
    """About ten records of the only history, evenly spaced: epoch 0, 100, 200 … of a thousand."""
    if len(document["parts"]) != 1:
        return []
    history = document["parts"][0]["history"]
    if len(history) < 2:
        return []
    stride = max(1, -(-len(history) // lines))
    return history[::stride]
