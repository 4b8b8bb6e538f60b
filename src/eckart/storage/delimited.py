"""Comma- and tab-separated tables: `.csv` and `.tsv`."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.csv as arrow_csv

from eckart.errors import FormatError, MatrixError
from eckart.matrices import Dense, Matrix
from eckart.storage.contents import Contents, Part, Selection
from eckart.storage.npy import only_part
from eckart.storage.table import matrix_of, select, table_of
from eckart.storage.whole import damaged

SELECTABLE = frozenset({"header", "index", "columns"})
MISSING: Final = frozenset({"", "na", "n/a", "nan", "null", "none", "-nan", "#n/a"})


def read(path: Path, selection: Selection) -> Contents:
    """A table of numbers, with what was taken as header and index said in the notes."""
    first, second = first_rows(path)
    layout, notes = _layout(path, first, second, selection)
    table = _parse(path, layout)
    if layout.index_unsure and _is_index(table.column(0)):
        notes.append(f"{path.name}: the first column is taken as an index (--no-index if not).")
        layout = layout.with_index()
    elif layout.index_unsure:
        table = _parse(path, layout.without_text())
    positions = select(layout.names, selection.columns, path)
    if selection.columns is None and layout.index:
        positions = positions[1:]
    W = matrix_of(table.select(positions))
    return Contents(parts=(Part(name="", matrix=Dense(W)),), notes=tuple(notes))


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix without header, block by block, with every digit that float64 needs."""
    options = arrow_csv.WriteOptions(include_header=False, delimiter=delimiter_of(path))
    blocks = only_part(parts, path).row_blocks()
    table = table_of(next(blocks).astype(float, copy=False))
    with arrow_csv.CSVWriter(path, table.schema, write_options=options) as writer:
        writer.write_table(table)
        for block in blocks:
            writer.write_table(table_of(block.astype(float, copy=False)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    names: list[str]
    header: bool
    index: bool
    index_unsure: bool
    wanted: tuple[str, ...] | None

    def with_index(self) -> "_Layout":
        return _Layout(
            names=self.names, header=self.header, index=True, index_unsure=False, wanted=self.wanted
        )

    def without_text(self) -> "_Layout":
        return _Layout(
            names=self.names,
            header=self.header,
            index=False,
            index_unsure=False,
            wanted=self.wanted,
        )

    def is_text(self, position: int) -> bool:
        """Whether this column is read as text: an index, perhaps one, or one that is not wanted."""
        if self.wanted is not None:
            return self.names[position] not in self.wanted
        return position == 0 and (self.index or self.index_unsure)


def _layout(
    path: Path, first: list[str], second: list[str], selection: Selection
) -> tuple[_Layout, list[str]]:
    notes: list[str] = []
    header = selection.header
    if header is None:
        header = any(not is_number_text(cell) for cell in first)
        if header:
            shown = ", ".join(first[:4]) + (" …" if len(first) > 4 else "")
            notes.append(
                f"{path.name}: the first row is taken as a header ({shown}; --no-header if not)."
            )
    names = first if header else [str(position) for position in range(len(first))]
    unnamed = header and not first[0].strip() and len(first) > 1
    index = selection.index
    if index is None and unnamed:
        index = True
        notes.append(
            f"{path.name}: the first column, which has no name, is taken as an index "
            "(--no-index if not)."
        )
    body = second if header else first
    unsure = index is None and len(first) > 1 and bool(body) and not is_number_text(body[0])
    layout = _Layout(
        names=names,
        header=header,
        index=bool(index),
        index_unsure=unsure and selection.columns is None,
        wanted=selection.columns,
    )
    return layout, notes


def _parse(path: Path, layout: _Layout) -> Any:
    keys = [str(position) for position in range(len(layout.names))]
    types = {
        key: pa.string() if layout.is_text(position) else pa.float64()
        for position, key in enumerate(keys)
    }
    try:
        table = arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(column_names=keys, skip_rows=int(layout.header)),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter_of(path)),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types,
                null_values=[*sorted(MISSING), "NA", "N/A", "NaN", "NULL", "None"],
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _located(path, layout, error) from error
    if table.num_rows == 0:
        raise MatrixError(
            f"{path} has a header and no rows.", hint="Give at least one row.", code="empty"
        )
    return table


def first_rows(path: Path) -> tuple[list[str], list[str]]:
    """The first two rows that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = (row for row in csv.reader(file, delimiter=delimiter_of(path)) if any(row))
            first, second = next(rows, []), next(rows, [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise damaged(path, error) from error
    if not first:
        raise MatrixError(f"{path} is empty.", hint="Give at least one row.", code="empty")
    return first, second


def _located(path: Path, layout: _Layout, error: Exception) -> FormatError | MatrixError:
    """The error with the line and the column of the cell that caused it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter_of(path))
            seen_header = not layout.header
            for row in rows:
                if not any(row):
                    continue
                if seen_header:
                    found = _fault(path, layout, row, rows.line_num)
                    if found is not None:
                        return found
                seen_header = True
    except (UnicodeDecodeError, csv.Error) as unreadable:
        return damaged(path, unreadable)
    return damaged(path, error)


def _fault(
    path: Path, layout: _Layout, row: list[str], line: int
) -> FormatError | MatrixError | None:
    width = len(layout.names)
    if len(row) != width:
        return FormatError(
            f"{path}, line {line}: {len(row)} cells where the first row has {width}.",
            hint="Give every row the same number of cells.",
            code="ragged",
        )
    for position, cell in enumerate(row):
        if not layout.is_text(position) and not is_number_text(cell):
            name = f" ('{layout.names[position]}')" if layout.header else ""
            return MatrixError(
                f"{path}, line {line}, column {position + 1}{name}: '{cell[:40]}' is not a number.",
                hint="Correct it, or choose the columns of numbers with --columns.",
                code="not-numbers",
            )
    return None


def _is_index(column: Any) -> bool:
    """Whether most cells of a text column are no numbers."""
    cells = column.unique().to_pylist()
    text = sum(not is_number_text(cell or "") for cell in cells)
    return 2 * text >= len(cells)


def is_number_text(cell: str) -> bool:
    """Whether a cell holds a number, or a word for a missing one."""
    text = cell.strip()
    if text.lower() in MISSING:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def delimiter_of(path: Path) -> str:
    """What stands between the cells: a tab in a `.tsv`, else a comma."""
    return "\t" if path.suffix.lower() == ".tsv" else ","
