"""Scores of rows, written in blocks as they are made."""

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

SUFFIXES: Final = (".parquet", ".csv", ".tsv", ".npy")


class ScoreWriter(Protocol):
    """Takes blocks of scores with what goes along with them."""

    def write(self, scores: Array, beside: Any) -> None:
        """The next rows; `beside` is an Arrow table of as many rows, or None."""
        ...


def check_score_suffix(path: Path, beside: Sequence[str] = ()) -> None:
    """Refuse a path to which no scores can be written, or not with what is to be beside them.

    Raises:
        ArgumentError: If its suffix is unknown, or that of an array, which holds numbers alone.
    """
    if beside and path.suffix.lower() == ".npy":
        raise ArgumentError(
            f"{path.name} would hold the scores alone, without the column '{beside[0]}'.",
            hint="Write .parquet, .csv or .tsv, or leave --id out.",
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
    """A writer for a file that is closed at the end.

    Args:
        path: Where to write, whatever its own suffix.
        suffix: Of the format.
        shape: Of all scores together.
        names: Of their columns.
        dtype: Of the scores.
    """
    if suffix == ".npy":
        with path.open("wb") as file:
            header: dict[str, Any] = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                "fortran_order": False,
                "shape": shape,
            }
            np.lib.format.write_array_header_1_0(file, header)
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
        """The next rows.

        Raises:
            MatrixError: If the format cannot hold a column that goes along.
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
                f"A {self._suffix} file cannot hold all that --id takes along: "
                f"{str(error).splitlines()[0]}.",
                hint="Leave that column out of --id, or write the scores to .parquet.",
                code="not-text",
            ) from error

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _beside(self, table: Any) -> list[Any]:
        """The columns that go along, in text as it is written."""
        if self._suffix == ".parquet":
            return table.columns
        return [plain_values(column.combine_chunks()) for column in table.columns]

    def _open(self, schema: Any) -> Any:
        if self._suffix == ".parquet":
            # numbers that are all different gain nothing from a dictionary, and it takes time
            beside: Any = [name for name in schema.names if name not in set(self._names)]
            return pq.ParquetWriter(self._path, schema, use_dictionary=beside)
        delimiter = "\t" if self._suffix == ".tsv" else ","
        return arrow_csv.CSVWriter(
            self._path, schema, write_options=arrow_csv.WriteOptions(delimiter=delimiter)
        )
