"""Rows of a `.csv` or `.tsv`, parsed anew in each pass."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as arrow_csv

from eckart.arrays import FLOAT64
from eckart.errors import MatrixError
from eckart.storage.arrow_damage import arrow_reading
from eckart.storage.delimited import MISSING, delimiter_of, first_rows, is_number_text
from eckart.storage.rows.arrow import Batches, chosen, skipped
from eckart.storage.rows.table import Table, Wanted

BLOCK: Final = 2**18
LINES: Final = 8
LONGEST: Final = 2**26
"""Bytes of a line, at most."""
HELD: Final = 40
"""What Arrow keeps of text and numbers at once, in blocks of text."""
KEPT: Final = 24 * 2**20
"""Bytes that its threads keep beside that, whatever the table."""


def open_rows(path: Path, wanted: Wanted) -> Table:
    """The rows; one pass counts them."""
    first, _ = first_rows(path)
    header = wanted.header
    if header is None:
        header = any(not is_number_text(cell) for cell in first)
    names = first if header else [str(place) for place in range(len(first))]
    kept, rows, block = _counted(path, names, wanted, header=header)
    opened = partial(_batches, path, names, header, block, kept)
    if rows == 0:
        raise MatrixError(
            f"{path} has a header and no rows.", hint="Give at least one row.", code="empty"
        )
    beside = list(wanted.beside)
    return Table(
        source=Batches(path, kept, rows, FLOAT64, opened, KEPT + HELD * block),
        names=tuple(kept) if header else None,
        notes=skipped(names, kept, wanted, path),
        passes=1,
        along=partial(opened, beside) if beside else None,
    )


def _counted(
    path: Path, names: list[str], wanted: Wanted, *, header: bool
) -> tuple[list[str], int, int]:
    """The columns to read, how many rows there are, and the bytes to read at once.

    A line longer than all that Arrow reads at once is an error there; more is read then.
    """
    block = _block_size(path)
    with arrow_reading(path):
        while True:
            try:
                kept = chosen(names, _types(path, names, header, block), wanted, path)
                counted = _batches(path, names, header, block, kept, kept[:1])
                return kept, sum(batch.num_rows for batch in counted), block
            except pa.ArrowInvalid as error:
                if "straddl" not in str(error) or block >= LONGEST:
                    raise
            block *= 2


def _block_size(path: Path) -> int:
    """Bytes of text that Arrow reads at once: several lines of it, and more of short ones."""
    with path.open("rb") as file:
        lengths = [len(file.readline(LONGEST)) for _ in range(2)]
    return max(BLOCK, LINES * max(lengths))


def _types(path: Path, names: list[str], header: bool, block: int) -> list[Any]:
    """The types that Arrow takes the columns for from the first block of the file."""
    with arrow_csv.open_csv(path, **_options(path, names, header, block, {}, None)) as reader:
        return list(reader.schema.types)


def _batches(
    path: Path,
    names: list[str],
    header: bool,
    block: int,
    numbers: list[str],
    columns: list[str],
) -> Iterator[Any]:
    types = {name: pa.float64() if name in numbers else pa.string() for name in columns}
    with arrow_csv.open_csv(path, **_options(path, names, header, block, types, columns)) as reader:
        yield from reader


def _options(
    path: Path,
    names: list[str],
    header: bool,
    block: int,
    types: dict[str, Any],
    columns: list[str] | None,
) -> dict[str, Any]:
    return {
        "read_options": arrow_csv.ReadOptions(
            column_names=names, skip_rows=int(header), block_size=block
        ),
        "parse_options": arrow_csv.ParseOptions(delimiter=delimiter_of(path)),
        "convert_options": arrow_csv.ConvertOptions(
            column_types=types,
            include_columns=columns,
            null_values=[*sorted(MISSING), "NA", "N/A", "NaN", "NULL", "None"],
            strings_can_be_null=True,
        ),
    }
