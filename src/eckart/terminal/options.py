"""The options that several commands share, and groups whose commands load when they are called."""

import csv
import difflib
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import click

from eckart.errors import ArgumentError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Options: TypeAlias = dict[str, Any]
"""The values of options by the name of their parameter."""

EXIT_STATUS: Final = {"success": 0, "short": 3, "failed": 1, "interrupted": 130}
"""Exit status of each grade of a result; 2 is that of wrong arguments, 130 is 128 + SIGINT."""


class FileType(click.Path):
    """A valid path, whether it exists or not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path.

        Raises:
            ArgumentError: If no file can have this name.
        """
        if not os.fspath(value):
            self.fail("The name of the file is empty.", param, ctx)
        from eckart.files.outputs import located

        path = Path(os.fsdecode(value))
        located(path)
        return path


FILE: Final = FileType()


class ParsedType(click.ParamType[T]):
    """A value that a function reads from text; its ValueError says what is wrong with the text."""

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """The value."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _rank(text: str) -> int | str:
    if text == "auto":
        return text
    with suppress(ValueError):
        rank = int(text)
        if rank > 0:
            return rank
    raise ValueError(f"{text} is not a rank: give a whole number from 1, or auto.")


def _positive(text: str) -> float:
    with suppress(ValueError):
        number = float(text)
        # false for NaN too, which `float` reads
        if 0 < number < math.inf:
            return number
    raise ValueError(f"{text} is not a positive number.")


def _weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"{text} are no weights: give numbers such as 0.7,0.3.") from None


RANK: Final = ParsedType("number|auto", _rank)
POSITIVE: Final = ParsedType("number", _positive)
WEIGHTS: Final = ParsedType("number,number,…", _weights)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator that adds several options."""

    def decorate(function: F) -> F:
        # reversed, as stacked decorators apply from the bottom: --help keeps the given order
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


rank_options = together(
    click.option("--rank", type=RANK, help="Columns of B; auto keeps those above noise."),
    click.option("--tolerance", type=float, help="Smallest rank with this relative error."),
    click.option("--budget", help="Largest rank whose factors fit, such as 10MB."),
    click.option("--ratio", type=float, help="Budget as a share of the bytes of W."),
)
output_option = click.option("-o", "--output", type=FILE, help="Where to write the answer.")
force_option = click.option("--force", is_flag=True, help="Overwrite an existing output.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress and no notes on stderr.")
part_option = click.option("--part", help="One part of a file that has several (R, G, B).")
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the linear algebra."
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["same", "float32", "bfloat16", "float16"]),
    default="same",
    show_default=True,
    help="Dtype of the weights that are written.",
)
overwriting_options = together(force_option, json_option, quiet_option)
"""Options of the commands that write something."""
writing_options = together(dtype_option, overwriting_options)
"""Options of the commands that write weights made from others."""
report_option = click.option(
    "--report", type=FILE, help="Write a report with pictures to this .html file."
)
cluster_option = click.option(
    "--cluster",
    help="Scheduler of a Dask cluster that does the work, tcp://host:8786, or local.",
)
plan_option = click.option(
    "--plan", is_flag=True, help="Say what the cluster will do for that, and stop."
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of everything random.",
)
answer_options = together(output_option, overwriting_options)
"""Options of the commands that write one answer."""
reported_options = together(output_option, report_option, overwriting_options, threads_option)
"""Options of the commands that fit a model, write it and report on it."""
run_options = together(
    click.option(
        "--accuracy", type=float, help="Largest certified gap to accept, 0.001 for 0.1 %."
    ),
    click.option(
        "--certificate/--no-certificate",
        default=True,
        help="Whether to bound the best possible error.",
    ),
    click.option("--time-limit", type=float, help="Seconds after which an iteration stops."),
    seed_option,
)
selection_options = together(
    click.option("--header/--no-header", default=None, help="Whether the first row is a header."),
    click.option("--index/--no-index", default=None, help="Whether the first column is an index."),
    click.option("--columns", help="Columns of a table to keep, separated by commas."),
    click.option("--tensor", help="Name of the array, in a file with several."),
)


def check_plan(options: Options) -> None:
    """Refuse `--plan` without a cluster."""
    if options["plan"] and options["cluster"] is None:
        raise ArgumentError(
            "--plan is of what a cluster does.",
            hint="Name the cluster with --cluster, or leave --plan out.",
            code="option-does-not-apply",
        )


def run_arguments(options: Options) -> Options:
    """The arguments of `factorize` that the `run_options` give."""
    return {name: options[name] for name in ("accuracy", "certificate", "time_limit", "seed")}


def selection(options: Options) -> Any:
    """The `Selection` that the `selection_options` describe."""
    from eckart.files import Selection

    chosen = {name: options[name] for name in ("header", "index", "tensor")}
    return Selection(columns=column_names(options["columns"]), **chosen)


def column_names(columns: str | None) -> tuple[str, ...] | None:
    """The names of columns in a list with commas; a name that holds a comma stands in quotes.

    Example:
        >>> column_names('a, "b, c"')
        ('a', 'b, c')
    """
    if columns is None:
        return None
    try:
        # as in a CSV file, so that a name may hold a comma
        names = next(csv.reader([columns], skipinitialspace=True), None) or [""]
    except csv.Error:  # raised for a line break outside of quotes
        names = columns.split(",")
    return tuple(name.strip() for name in names)


class LazyGroup(click.Group):
    """A group of commands whose modules are imported for a call, not for `--help`.

    Args:
        table: Module of each command and one line of help, by the name of the command, which is
            also its name in the module, where a hyphen is an underscore.
        settings: Arguments of `click.Group`.
    """

    def __init__(self, *, table: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(**settings)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands in the order of the table, which click would sort."""
        del ctx
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click decides the signature
        """The command of this name, imported now, or None."""
        if cmd_name not in self._table:
            return None
        module, _ = self._table[cmd_name]
        command: click.Command = getattr(import_module(module), cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command as click does, but suggest the nearest name for an unknown one."""
        # click reports unknown options itself
        if args and args[0] not in self._table and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._table, n=1)
            raise ArgumentError(
                f"There is no command '{args[0]}'.",
                hint=f"Did you mean {near[0]}?"
                if near
                else f"{ctx.command_path} --help lists them.",
                code="unknown-command",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and the help of the table, without importing any command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in self._table.items()])
