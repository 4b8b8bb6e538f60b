"""The files of a reduction: the model that projects new rows, and the loadings by name."""

from pathlib import Path

import numpy as np

from eckart.errors import ArgumentError
from eckart.jobs.reduce.fit import loadings
from eckart.jobs.reduce.reduction import Reduction, read_back
from eckart.storage import beside, named_path, npz, whole_file
from eckart.storage.columns import text_column
from eckart.storage.rows import score_writer
from eckart.storage.whole import reading, settle


def model_path(output: Path) -> Path:
    """Where the reduction goes: beside its scores.

    Example:
        >>> model_path(Path("scores.parquet")).name
        'scores.model.npz'
    """
    return beside(output, f"{named_path(output).stem}.model.npz")


def tables_path(output: Path, kind: str) -> Path:
    """Where a table that belongs to the scores goes; beside an array as text.

    Example:
        >>> tables_path(Path("scores.npy"), "loadings").name
        'scores.loadings.csv'
    """
    suffix = ".csv" if output.suffix.lower() == ".npy" else output.suffix
    return beside(output, f"{named_path(output).stem}.{kind}{suffix}")


def write_reduction(path: Path, reduction: Reduction, *, force: bool) -> None:
    """Write a reduction to a `.npz` file.

    Raises:
        ArgumentError: If the suffix is another, or the file exists and `force` is false.
        StorageError: If the system refuses to write.
    """
    check_model_path(path)
    with whole_file(path, force=force) as temporary:
        npz.write_arrays(temporary, reduction.arrays(), reduction.facts())


def read_reduction(path: Path) -> Reduction:
    """A reduction that was saved.

    Raises:
        ArgumentError: If it is not there or its suffix is another.
        FormatError: If it is damaged, or no reduction.
    """
    check_model_path(path)
    settle(path)
    with reading(path):
        arrays, facts = npz.read_arrays(path)
    return read_back(arrays, facts, path)


def write_loadings(path: Path, reduction: Reduction, *, force: bool) -> None:
    """Write one row for each column of the table, with its loading on every component.

    Raises:
        ArgumentError: If the file exists and `force` is false.
        StorageError: If the system refuses to write.
    """
    import pyarrow as pa

    table = loadings(reduction)
    names = [name for name in table if name != "column"]
    columns = np.stack([table[name] for name in names], axis=1)
    beside = pa.table({"column": text_column(table["column"].tolist())})
    with (
        whole_file(path, force=force) as temporary,
        score_writer(temporary, path.suffix.lower(), columns.shape, names, columns.dtype) as writer,
    ):
        writer.write(columns, beside)


def check_model_path(path: Path) -> None:
    """Refuse a path that is none of a reduction.

    Raises:
        ArgumentError: If the suffix is another.
    """
    if path.suffix.lower() != ".npz":
        raise ArgumentError(
            f"A reduction is an .npz file, not {path.name}.",
            hint="eckart reduce writes it beside the scores: NAME.model.npz.",
            code="unknown-suffix",
        )
