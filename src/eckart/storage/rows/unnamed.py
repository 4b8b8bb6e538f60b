"""Arrays, whose columns have no names."""

from pathlib import Path

from eckart.errors import ArgumentError
from eckart.storage.rows.table import Wanted


def check_unnamed(path: Path, wanted: Wanted) -> None:
    """Refuse names of columns for a file that has none.

    Raises:
        ArgumentError: If some were given.
    """
    named = wanted.columns or wanted.beside
    if named:
        raise ArgumentError(
            f"{path.name} is an array, whose columns have no names such as '{named[0]}'.",
            hint="Leave --columns, --id and --color out, or give a table.",
            code="option-does-not-apply",
        )
