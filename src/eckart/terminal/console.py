"""The only module that prints: answers go to stdout, everything else to stderr."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, Final

import click

from eckart.errors import ArgumentError, EckartError, escape
from eckart.progress import Report, Watch, unwatched
from eckart.terminal.options import EXIT_STATUS

NARROWEST: Final = 40
"""Smallest width of a table, in characters, at which labels and figures are still readable."""
PARAMETER: Final = re.compile(r"`([a-z_]+)(?:=([^`]+))?`")
"""A parameter in a message of the library, and its value if there is one."""
KEPT: Final = "\n\t\u2028\u2029"
"""Characters of layout, which are no danger to a terminal."""
ANY_WIDTH: Final = 100_000
"""Width of a table in a file or a pipe, in characters: no line is cut off there."""


def answer_text(text: str) -> None:
    """Print a line of the answer."""
    click.echo(escape(text, KEPT))


def answer_json(command: str, result: dict[str, Any]) -> None:
    """Print the answer for a program: one JSON document."""
    # notes of the library name parameters, which are options here
    if isinstance(result.get("notes"), list):
        result = {**result, "notes": [spelled(one, _command()) for one in result["notes"]]}
    _print_document(command, result=result)


def answer_plan(
    command: str, plan: dict[str, Any], rows: Sequence[tuple[str, str]], *, as_json: bool
) -> int:
    """Print what a job will take, and return the exit status."""
    if as_json:
        answer_json(command, {"plan": plan})
    else:
        answer_rows(rows)
    return 0


def answer_rows(rows: Sequence[tuple[str, str]], title: str = "") -> None:
    """Print labels and values."""
    answer_table(("", ""), rows, title=title, numbers=False)


def answer_table(
    header: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    *,
    title: str = "",
    numbers: bool = True,
    aside: bool = False,
) -> None:
    """Print a small table.

    Args:
        header: Titles of the columns; no header is shown if all are empty.
        rows: Cells of each row.
        title: Title above the table, or empty.
        numbers: Whether all columns but the first are aligned to the right.
        aside: Whether the last column, which holds bars or words, is aligned to the left.
    """
    # rich is imported in the functions: `eckart --help` need not wait for it
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(escape(title, KEPT)) if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD if any(header) else None,
        show_header=any(header),
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    right = range(1, len(header) - aside) if numbers else ()
    for position, name in enumerate(header):
        table.add_column(
            Text(name),
            justify="right" if position in right else "left",
            style="dim" if not numbers and not position else "",
            no_wrap=position == 0,
        )
    for row in rows:
        # Text, because rich takes brackets in a plain string for markup
        table.add_row(*(Text(escape(cell, KEPT)) for cell in row))
    _rich(sys.stdout).print(table)


def spelled(text: str, command: click.Command | None) -> str:
    """Spell the parameters that a message of the library names as options of a command.

    The library writes a parameter between backticks, with or without a value: `force=True`.

    Example:
        >>> from eckart.terminal.options import force_option
        >>> spelled("Use `force=True`.", force_option(click.command()(lambda force: None)))
        'Use --force.'
    """
    options = {one.name: one for one in command.params} if command is not None else {}

    def flag(found: re.Match[str]) -> str:
        option, value = options.get(found[1]), found[2]
        if not isinstance(option, click.Option):
            return found[0]
        if value == "False" and option.secondary_opts:
            return option.secondary_opts[-1]
        shown = option.opts[-1]
        return shown if option.is_flag or value is None else f"{shown} {value}"

    return PARAMETER.sub(flag, text)


def note(text: str, *, quiet: bool = False) -> None:
    """Print a note for the user on stderr, in one line even if a name in it has several."""
    if not quiet:
        # a name of a file may hold a line break, which would look like a second note
        _print_aside(escape(spelled(text, _command()), KEPT).replace("\n", "\\n"))


def notes(texts: Sequence[str], *, quiet: bool) -> None:
    """Print notes, such as how an input was read, on stderr."""
    for text in texts:
        note(f"note: {text}", quiet=quiet)


def fail(
    error: EckartError, command: str, *, as_json: bool, options: click.Command | None = None
) -> None:
    """Print an error: a sentence and a hint on stderr, or a document on stdout."""
    message, hint = (spelled(text, options) for text in (error.message, error.hint))
    if as_json:
        fields = {"code": error.code, "message": message, "hint": hint}
        _print_document(command, error=fields)
        return
    _print_aside(f"error: {escape(message, KEPT)}")
    if hint:
        _print_aside(f"hint: {escape(hint, KEPT)}")


def watching(*, quiet: bool) -> Watch:
    """Return the `Watch` that shows a bar on a terminal, and nothing in a file or a pipe."""
    return unwatched if quiet or not sys.stderr.isatty() else _bar


@contextmanager
def _bar(what: str, total: int | None) -> Generator[Report, None, None]:
    """Show a part of the work while the block runs: loss, rate and the time that is left.

    Without a total, the elapsed time is shown instead of the time that is left.
    """
    from rich import progress as bars

    columns: tuple[bars.ProgressColumn, ...] = (
        bars.TextColumn("{task.description}"),
        *((bars.BarColumn(), bars.TaskProgressColumn()) if total else (bars.SpinnerColumn(),)),
        bars.TextColumn("{task.fields[said]}", style="dim"),
        bars.TimeRemainingColumn() if total else bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=_rich(sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=total, said="")

        def report(advance: int, /, *, loss: float | None = None, said: str = "") -> None:
            bar.update(task, advance=advance)
            figures = [] if loss is None else [f"loss {loss:.6g}"]
            speed = bar.tasks[0].speed  # None until rich has seen two steps
            # the rate of entries or texts is in the time that is left
            if loss is not None and speed is not None:
                figures.append(f"{speed:.3g} steps/s")
            bar.update(task, said=" · ".join([*([said] if said else []), *figures]))

        yield report


def this_command() -> str:
    """The command that is running, quoted so that it can be pasted into a shell from a report."""
    return shlex.join(["eckart", *click.get_current_context().obj])


def _command() -> click.Command | None:
    """Return the command that is running, or None."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.command


def _print_document(command: str, **said: dict[str, Any]) -> None:
    document = {"schema": 1, "command": command, **said}
    # NaN is no JSON, and no figure of a result may be NaN
    click.echo(json.dumps(document, allow_nan=False, ensure_ascii=False))


def _print_aside(text: str) -> None:
    """Print a line on stderr, or nothing if that is closed, since nobody could read it."""
    with suppress(OSError):
        click.echo(text, err=True)


def _rich(stream: Any) -> Any:
    """The rich console of a stream, as wide as its terminal, or without a limit for a file."""
    from rich.console import Console

    # unlike rich, it ignores values of COLUMNS and LINES that are no numbers
    size = get_terminal_size()
    width = max(NARROWEST, size.columns) if stream.isatty() else ANY_WIDTH
    return Console(file=stream, width=width, height=size.lines, highlight=False, soft_wrap=False)


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

    The result has a `grade`, `to_dict()` and `report_document()`: `show` prints the first document
    as text, and `draw` makes the page of the report from the second.
    """
    document = result.to_dict()
    files = dict(document["files"])
    if report is not None:
        # written first, so that the answer names it only if it exists
        write_report(report, draw(result.report_document()), force=force)
        files["report"] = str(report)
        document["files"] = files
    if as_json:
        answer_json(command, document)
    else:
        show(document)
    # on stderr, so that stdout holds the answer alone
    for path in files.values():
        note(f"Wrote {path}", quiet=quiet)
    return EXIT_STATUS[result.grade]


def wrote(command: str, result: Any, target: Path, *, as_json: bool, quiet: bool) -> int:
    """Show a result as one sentence and where it was written; the exit status is always 0."""
    if as_json:
        answer_json(command, result.to_dict())
    else:
        answer_text(result.sentence())
    note(f"Wrote {target}", quiet=quiet)
    return 0


def write_report(path: Path, page: str, *, force: bool) -> None:
    """Write the HTML report of a job, whole or not at all."""
    from eckart.files import whole_file, write_text

    with whole_file(path, force=force) as temporary:
        write_text(temporary, page)


def check_report(path: Path | None, *, force: bool, apart: Sequence[Path | None]) -> None:
    """Refuse a report that cannot be written, before any work.

    It is an .html file, and none of the paths in `apart`: inputs and other outputs.

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
