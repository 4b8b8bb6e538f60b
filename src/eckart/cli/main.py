"""The command line: its commands, and the exit status and message of every failure."""

import logging
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, TextIO

import click

from eckart.errors import ArgumentError, EckartError
from eckart.terminal import console
from eckart.terminal.options import LazyGroup

FACTOR: Final = "eckart.factor.commands"
ADAPTERS: Final = "eckart.adapters.commands"
COMMANDS: Final = {
    "factor": (
        "eckart.factor.factor_command",
        "Factor a matrix file: W ≈ B·A, written and proven.",
    ),
    "compare": (FACTOR, "Factor a matrix with several solvers, beside one another."),
    "certify": (FACTOR, "Say how far factors are from W and from the best of their rank."),
    "show": (FACTOR, "Describe a file of factors."),
    "apply": (FACTOR, "Multiply factors with data: B·A·X."),
    "expand": (FACTOR, "Write B·A out as a matrix."),
    "truncate": (ADAPTERS, "Reduce factors, or an adapter, to a smaller rank."),
    "extract": (
        "eckart.adapters.extract_command",
        "Write the change of a fine-tune as an adapter that PEFT loads.",
    ),
    "verify": (ADAPTERS, "Compare an adapter with the two models it was made from."),
    "compare-adapters": (
        ADAPTERS,
        "Compare adapters with one another and with the full change.",
    ),
    "merge": (ADAPTERS, "Write a model with adapters merged into its weights."),
    "join": (ADAPTERS, "Join adapters of one model into one, exactly."),
    "calibrate": (ADAPTERS, "Measure the inputs of the layers of a model, for extract."),
    "finetune": (
        "eckart.finetuning.commands",
        "Learn an adapter of a model of texts from a table.",
    ),
    "reduce": (
        "eckart.reduce.commands",
        "Reduce a table to a few components, streamed where it is large.",
    ),
    "recommend": ("eckart.recommend.commands", "Ratings or clicks in, ranked answers out."),
    "demo": (FACTOR, "Factor the worked example and a photograph."),
}
"""Module and one line of help of each command, in the order of `eckart --help`."""

EPILOG: Final = (
    "Exit status: 0 success · 1 the content was not usable or the run failed · 2 the arguments "
    "were not · 3 usable, but short of a target that was set · 130 interrupted, with what was "
    "reached saved and named."
)
"""Last paragraph of `eckart --help`."""


FAILURES: Final = (
    click.ClickException,
    click.Abort,
    EckartError,
    KeyboardInterrupt,
    MemoryError,
    OSError,
    UnicodeEncodeError,
)
"""Errors that are told in a sentence; any other one is a fault of eckart and shows a traceback."""


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # parses mail headers, which takes long to import

        console.answer_text(f"eckart {version('eckart')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    help="Low-rank matrix factorisation W ≈ B·A, with proof of how close it is to the best.",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    # before anything else is checked
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def group() -> None:
    """Group all commands."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after `eckart`; None takes those of the process.

    Returns:
        The exit status: 0, 1, 2, 3 or 130.
    """
    words = sys.argv[1:] if arguments is None else arguments
    _open_streams()
    # errors that Zarr meets in its own threads are told once, as ours, and not logged besides
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        _speak_utf8(stream)
    try:
        status: Any = group.main(
            # not standalone, else click prints errors and exits itself; obj: words for the report
            args=list(words),
            prog_name="eckart",
            standalone_mode=False,
            obj=list(words),
        )
        sys.stdout.flush()  # here, so that a full disk or a closed pipe is an error that is told
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        console.answer_text(error.ctx.get_help())
        return 2
    except FAILURES as error:
        if os.environ.get("ECKART_DEBUG") and isinstance(error, EckartError):
            raise
        # read from the words: an error of parsing has to be answered in JSON too
        return _fail(error, words, as_json="--json" in words)


def _fail(error: BaseException, words: list[str], *, as_json: bool) -> int:
    """Print the error if anything can be printed, and return the exit status."""
    said, status = _as_error(error)
    # an error of the system that is of no file is one of writing the answer to stdout
    is_stream = (
        isinstance(error, OSError) and not isinstance(error, EckartError) and not error.filename
    )
    # Python flushes stdout again at exit, and would fail with a second error
    if is_stream:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 kept until exit
    try:
        # the reader of the answer, such as `head`, is gone and wants no more
        if not isinstance(error, BrokenPipeError):
            name, command = _find_command(words)
            console.fail(said, name, as_json=as_json and not is_stream, options=command)
            sys.stdout.flush()
    except OSError as broken:
        return _fail(broken, words, as_json=False)
    return status


def _as_error(error: BaseException) -> tuple[EckartError, int]:
    """The error to tell the user, and the exit status."""
    if isinstance(error, click.ClickException):
        return _from_click(error), 2
    if isinstance(error, EckartError):
        return error, 2 if isinstance(error, ArgumentError) else 1
    if isinstance(error, OSError):
        return _from_system(error), 1
    if isinstance(error, MemoryError):
        # NumPy's own message names an array that the user never saw
        said, hint = "The memory is used up.", "Choose a smaller rank, or a machine with more."
        return EckartError(said, hint=hint, code="out-of-memory"), 1
    if isinstance(error, UnicodeEncodeError):
        said = f"{error.object[:100]!a} is no text in UTF-8."
        return EckartError(said, hint="Give another name.", code="not-utf8"), 1
    said = str(error) or "Interrupted before there was a result."
    return EckartError(said, code="interrupted"), 130


def _find_command(words: list[str]) -> tuple[str, click.Command | None]:
    """The name of the command among the words, such as "recommend fit", and the command."""
    names: list[str] = []
    found: click.Command = group
    for word in words:
        inner = (
            found.get_command(click.Context(found), word) if isinstance(found, LazyGroup) else None
        )
        if inner is not None:
            found = inner
            names.append(word)
    return " ".join(names), found if names else None


def _from_click(error: click.ClickException) -> EckartError:
    """An error of click about the arguments as an `ArgumentError`."""
    message = error.format_message()
    hint = "--help lists the options."
    # click finds similar options, but words the answer in its own way
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        message = f"There is no option {error.option_name}."
        hint = f"Did you mean {sorted(error.possibilities)[0]}?"
    code = {
        "NoSuchOption": "unknown-option",
        "MissingParameter": "missing-argument",
        "BadParameter": "bad-option",
    }.get(type(error).__name__, "bad-usage")
    return ArgumentError(message, hint=hint, code=code)


def _from_system(error: OSError) -> EckartError:
    """An error of the system as an `EckartError`, for want of a more specific one."""
    from eckart.files.reading import refused

    return refused(error, Path(error.filename or "the answer"), "write")


def _open_streams() -> None:
    """Open the null device for closed standard streams.

    Otherwise the next file that eckart opens would get the number of the stream, and messages
    would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # POSIX gives the lowest free number, which is this one
    # Python sets the object of a stream that was closed at its start to None
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 kept until exit
            setattr(sys, name, nowhere)


def _speak_utf8(stream: TextIO) -> None:
    if isinstance(stream, TextIOWrapper):
        # · and ‖ are in many answers, and the locale of a pipe may be ASCII
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
