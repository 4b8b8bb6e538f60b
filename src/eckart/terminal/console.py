"""The only module that prints: answers go to stdout, everything else to stderr."""

import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from typing import Any, Final, Protocol
from unicodedata import category

import click

from eckart.errors import EckartError

NARROWEST: Final = 40
"""Smallest width of a table, in characters, at which labels and figures are still readable."""
ANY_WIDTH: Final = 100_000
"""Width of a table in a file or a pipe, in characters: no line is cut off there."""


class _Step(Protocol):
    @property
    def number(self) -> int: ...
    @property
    def loss(self) -> float | None: ...


def _shown(text: str) -> str:
    """Text that is safe for a terminal: control characters and surrogates are spelled out."""
    # Cc are control characters, which move the cursor or change colours; Cs are lone surrogates,
    # which UTF-8 cannot encode
    if text.isprintable():
        return text
    return "".join(
        one if one in "\n\t" or category(one) not in ("Cc", "Cs") else repr(one)[1:-1]
        for one in text
    )


def answer_text(text: str) -> None:
    """Print a line of the answer."""
    click.echo(_shown(text))


def answer_json(command: str, result: dict[str, Any]) -> None:
    """Print the answer for a program: one JSON document."""
    document = {"schema": 1, "command": command, "result": result}
    # NaN is no JSON, and no figure of a result may be NaN
    click.echo(json.dumps(document, allow_nan=False, ensure_ascii=False))


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
        title=Text(_shown(title)) if title else None,
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
        table.add_row(*(Text(_shown(cell)) for cell in row))
    _rich(sys.stdout).print(table)


def note(text: str, *, quiet: bool = False) -> None:
    """Print a note for the user on stderr, in one line even if a name in it has several."""
    if not quiet:
        # a name of a file may hold a line break, which would look like a second note
        _aside(_shown(text).replace("\n", "\\n"))


def notes(texts: Sequence[str], *, quiet: bool) -> None:
    """Print notes, such as how an input was read, on stderr."""
    for text in texts:
        note(f"note: {text}", quiet=quiet)


def fail(error: EckartError, command: str, *, as_json: bool) -> None:
    """Print an error: a sentence and a hint on stderr, or a document on stdout."""
    if as_json:
        fields = {"code": error.code, "message": error.message, "hint": error.hint}
        click.echo(
            json.dumps({"schema": 1, "command": command, "error": fields}, ensure_ascii=False)
        )
        return
    _aside(f"error: {_shown(error.message)}")
    if error.hint:
        _aside(f"hint: {_shown(error.hint)}")


@contextmanager
def progress(
    total: int | None, *, quiet: bool
) -> Generator[Callable[[str, _Step], None] | None, None, None]:
    """Show a bar with loss, rate and time left while the block runs, on a terminal only.

    Without a total, as for a direct solver, the elapsed time is shown instead.

    Yields:
        The function to call with a part's name and each step, or None if nothing is shown.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars

    columns: tuple[Any, ...] = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.TimeElapsedColumn(),
    )
    if total is not None:
        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("loss {task.fields[loss]}"),
            bars.TextColumn("{task.fields[rate]} epochs/s"),
            bars.TimeRemainingColumn(),
        )
    with bars.Progress(*columns, console=_rich(sys.stderr), transient=True) as bar:
        task = bar.add_task("Factoring", total=total, loss="…", rate="…")

        def show(part: str, step: _Step) -> None:
            speed = bar.tasks[0].speed  # None until rich has seen two steps
            bar.update(
                task,
                # steps are counted from 0
                completed=step.number + 1,
                description=f"Factoring {part}".rstrip(),
                loss="…" if step.loss is None else f"{step.loss:.6g}",
                rate="…" if speed is None else f"{speed:.0f}",
            )

        yield show


@contextmanager
def tensor_progress(
    total_entries: int, *, quiet: bool, verb: str
) -> Generator[Callable[[str, int], None] | None, None, None]:
    """Show a bar over the entries of all tensors while the block runs, on a terminal only.

    Yields:
        The function to call with the name and the number of entries of each finished tensor, or
        None if nothing is shown.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[tensor]}", style="dim"),
    )
    with bars.Progress(*columns, console=_rich(sys.stderr), transient=True) as bar:
        task = bar.add_task(verb, total=total_entries, tensor="")

        def show(name: str, entries: int) -> None:
            bar.update(task, advance=entries, tensor=name)

        yield show


@contextmanager
def work(
    what: str, total: int | None, *, quiet: bool
) -> Generator[Callable[..., None] | None, None, None]:
    """Show the present work, its progress and the elapsed time, on a terminal only.

    Yields:
        The function to call with each step of a solver, with a count and the best figure so far,
        or with a word; None if nothing is shown.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars

    columns: tuple[Any, ...] = (
        bars.TextColumn("{task.description}"),
        *((bars.BarColumn(), bars.MofNCompleteColumn()) if total else (bars.SpinnerColumn(),)),
        bars.TextColumn("{task.fields[said]}", style="dim"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=_rich(sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=total, said="")

        def show(done: Any, best: float | None = None) -> None:
            if isinstance(done, str):
                bar.update(task, advance=1, said=done)
            elif isinstance(done, int):
                bar.update(task, completed=done, said="" if best is None else f"best {best:.4f}")
            else:
                said = "" if done.loss is None else f"loss {done.loss:.6g}"
                bar.update(task, completed=done.number + 1, said=said)

        yield show


def _aside(text: str) -> None:
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
