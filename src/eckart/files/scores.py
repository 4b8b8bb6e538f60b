"""Writers of scores, which take blocks of rows as they are made."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, final

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from eckart.arrays import Array
from eckart.errors import ArgumentError, MatrixError
from eckart.files.columns import column_of, plain_values
from eckart.files.npy import write_header

SUFFIXES: Final = (".parquet", ".csv", ".tsv", ".npy")
"""Suffixes of the formats to which scores can be written."""


class ScoreWriter(Protocol):
    """A writer that takes blocks of scores with the columns that accompany them."""

    def write(self, scores: Array, beside: Any) -> None:
        """Write the next rows; `beside` is an Arrow table of as many rows, or None."""
        ...


def check_score_suffix(path: Path, beside: Sequence[str] = ()) -> None:
    """Refuse a path to which scores, or the columns that accompany them, cannot be written.

    Raises:
        ArgumentError: If the suffix is unknown, or is that of an array, which holds only numbers,
            and there are accompanying columns.
    """
    if beside and path.suffix.lower() == ".npy":
        raise ArgumentError(
            f"{path.name} would hold the scores alone, without the column '{beside[0]}'.",
            hint="Write .parquet, .csv or .tsv, or leave `ids` out.",
            code="option-does-not-apply",
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ArgumentError(
            f"eckart cannot write scores to {path.name}.",
            hint=f"Known are: {', '.join(SUFFIXES)}.",
            code="unknown-suffix",
        )


@contextmanager
def score_writer(
    path: Path, suffix: str, shape: tuple[int, int], names: list[str], dtype: Any
) -> Generator[ScoreWriter, None, None]:
    """Open a writer for a file, which is closed at the end.

    Args:
        path: The file to write; its own suffix does not matter.
        suffix: Suffix of the format.
        shape: Rows and columns of all scores together.
        names: Names of the columns of scores.
        dtype: Dtype of the scores.
    """
    if suffix == ".npy":
        with path.open("wb") as file:
            write_header(file, shape, dtype)
            yield _Plain(file)
        return
    writer = _Tables(path, suffix, names)
    try:
        yield writer
    finally:
        writer.close()


@final
class _Plain:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, scores: Array, beside: Any) -> None:
        del beside
        self._file.write(np.ascontiguousarray(scores).data)


@final
class _Tables:
    def __init__(self, path: Path, suffix: str, names: list[str]) -> None:
        self._path, self._suffix, self._names = path, suffix, names
        self._writer: Any = None

    def write(self, scores: Array, beside: Any) -> None:
        """Write the next rows.

        Raises:
            MatrixError: If the format cannot hold an accompanying column.
        """
        names = [*(() if beside is None else beside.column_names), *self._names]
        try:
            columns = [*(() if beside is None else self._beside(beside))]
            columns += [column_of(scores[:, place]) for place in range(len(self._names))]
            table = pa.Table.from_arrays(columns, names=names)
            if self._writer is None:
                self._writer = self._open(table.schema)
            self._writer.write_table(table)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise MatrixError(
                f"A {self._suffix} file cannot hold all that `ids` takes along: "
                f"{str(error).splitlines()[0]}.",
                hint="Leave that column out of `ids`, or write the scores to .parquet.",
                code="not-text",
            ) from error

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _beside(self, table: Any) -> list[Any]:
        """The accompanying columns, for text formats as plain values."""
        if self._suffix == ".parquet":
            return table.columns
        # text formats hold no extension types and no bytes
        return [plain_values(column.combine_chunks()) for column in table.columns]

    def _open(self, schema: Any) -> Any:
        """The writer of Arrow for this suffix."""
        if self._suffix == ".parquet":
            # scores are almost all different, so a dictionary takes time and saves nothing
            beside: Any = [name for name in schema.names if name not in set(self._names)]
            return pq.ParquetWriter(self._path, schema, use_dictionary=beside)
        delimiter = "\t" if self._suffix == ".tsv" else ","
        return arrow_csv.CSVWriter(
            self._path, schema, write_options=arrow_csv.WriteOptions(delimiter=delimiter)
        )
