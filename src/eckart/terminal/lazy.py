"""Groups of commands whose modules are imported when a command is called."""

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from eckart.errors import ArgumentError


class LazyGroup(click.Group):
    """A group of commands whose modules are imported for a call, not for `--help`.

    Args:
        table: Module of each command and one line of help, by the name of the command, which is
            also its name in the module.
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
        command: click.Command = getattr(import_module(module), cmd_name)
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
