"""The answers that several commands give: a table, a message, a report, an exit status."""

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
    """Show the result of a job, write its report, and return the exit status of its grade.

    Args:
        command: Name of the command, for `--json`.
        result: Result with a `grade`, `to_dict()` and `report_document()`.
        report: Path of the report, or None to write none.
        show: Function that prints the document of the result as text.
        draw: Function that makes the HTML page from the document of the report.
        force: Whether to overwrite an existing report.
        as_json: Whether to answer with the document as JSON.
        quiet: Whether to leave out the notes on where files were written.
    """
    document = result.to_dict()
    files = dict(document["files"])
    if report is not None:
        # written first, so that the answer names it only if it exists
        write_report(report, draw(result.report_document()), force=force)
        files["report"] = str(report)
        document["files"] = files
    if as_json:
        console.answer_json(command, document)
    else:
        show(document)
    # on stderr, so that stdout holds the answer alone
    for path in files.values():
        console.note(f"Wrote {path}", quiet=quiet)
    return EXIT_STATUS[result.grade]


def wrote(command: str, result: Any, target: Path, *, as_json: bool, quiet: bool) -> int:
    """Show a result as one sentence and where it was written; the exit status is always 0."""
    if as_json:
        console.answer_json(command, result.to_dict())
    else:
        console.answer_text(result.sentence())
    console.note(f"Wrote {target}", quiet=quiet)
    return 0


def write_report(path: Path, page: str, *, force: bool) -> None:
    """Write the HTML report of a job, whole or not at all."""
    from eckart.files import whole_file, write_text

    with whole_file(path, force=force) as temporary:
        write_text(temporary, page)


def check_report(path: Path | None, *, force: bool, apart: Sequence[Path | None]) -> None:
    """Refuse a report that cannot be written, before any work.

    Args:
        path: Path of the report, or None if there is none.
        force: Whether to overwrite an existing file.
        apart: Paths of all inputs and of the other outputs.

    Raises:
        ArgumentError: If the path is not an .html file, or for the reasons of `check_output`.
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
