"""The command line: a table of commands, each loaded when it is called."""

import sys

from eckart.cli.main import main

__all__ = ["main", "run"]


def run() -> None:
    """Run the command of this process and exit with its status."""
    sys.exit(main())
