"""The answers of the commands that factor: a table, a message, a report, an exit status."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eckart.errors import ArgumentError
from eckart.terminal import console
from eckart.terminal.options import EXIT_STATUS


def deliver(
    command: str,
    result: Any,
    report: Path | None,
    *,
    show: Callable[[dict[str, Any]], None],
    draw: Callable[[dict[str, Any]], str],
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Show a job's result, write its report, and give its grade's exit status.

    Args:
        command: Its name, for `--json`.
        result: With a `grade`, `to_dict()` and `report_document()`.
        report: Where the report goes; None is nowhere.
        show: Shows the result's document to a person.
        draw: The HTML page of the report's document.
        force: Whether a report that is there may be replaced.
        as_json: Whether the document is the answer.
        quiet: Whether to leave out where files went.
    """
    document = result.to_dict()
    files = dict(document["files"])
    if report is not None:
        write_report(report, draw(result.report_document()), force=force)
        files["report"] = str(report)
        document["files"] = files
    if as_json:
        console.answer_json(command, document)
    else:
        show(document)
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


def write_report(path: Path, page: str, *, force: bool) -> None:
    """Write the HTML report of a job's result, whole or not at all."""
    from eckart.files import whole_file, write_text

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
    from eckart.files import check_output

    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(
            f"A report is an .html file, not {path.name}.",
            hint="Name an .html file.",
            code="unknown-suffix",
        )
    check_output(path, force=force, inputs=apart)
