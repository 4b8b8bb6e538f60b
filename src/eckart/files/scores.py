"""Writers of scores, which take blocks of rows as they are made."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from eckart.arrays import Array, DType
from eckart.errors import ArgumentError, MatrixError
from eckart.files.columns import arrow_writer, column_of, plain_values
from eckart.files.npy import write_header
from eckart.files.records import ArrowTable

SUFFIXES: Final = (".parquet", ".csv", ".tsv", ".npy")
"""Suffixes of the formats to which scores can be written."""
ScoreWriter: TypeAlias = Callable[[Array, ArrowTable | None], object]
"""Writes the next rows of scores, with an Arrow table of what accompanies them, or None."""


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
    path: Path, suffix: str, shape: tuple[int, int], names: list[str], dtype: DType
) -> Generator[ScoreWriter, None, None]:
    """Give a function that writes the next rows, and close the file at the end.

    The format is that of `suffix`, whatever that of the path; `shape` is that of all scores.

    Raises:
        MatrixError: If the format cannot hold an accompanying column.
    """
    writer: Any = None
    with ExitStack() as opened:
        if suffix == ".npy":
            file = opened.enter_context(path.open("wb"))
            write_header(file, shape, dtype)
            yield lambda scores, _: file.write(np.ascontiguousarray(scores).data)
            return

        def write(scores: Array, beside: ArrowTable | None) -> None:
            nonlocal writer
            labels = [] if beside is None else beside.column_names
            columns = [] if beside is None else beside.columns
            try:
                if suffix != ".parquet":
                    # text formats hold no extension types and no bytes
                    columns = [plain_values(column.combine_chunks()) for column in columns]
                columns = [*columns, *(column_of(scores[:, place]) for place in range(len(names)))]
                table = pa.Table.from_arrays(columns, names=[*labels, *names])
                if writer is None:
                    # scores are almost all different: a dictionary takes time and saves nothing
                    repeated = [name for name in labels if name not in names]
                    writer = opened.enter_context(
                        arrow_writer(path, table.schema, suffix, dictionary=repeated)
                    )
                writer.write_table(table)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise MatrixError(
                    f"A {suffix} file cannot hold all that `ids` takes along: "
                    f"{str(error).splitlines()[0]}.",
                    hint="Leave that column out of `ids`, or write the scores to .parquet.",
                    code="not-text",
                ) from error

        yield write
