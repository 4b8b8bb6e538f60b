"""Export of factors for a vector store, as arrays with ids."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.errors import ArgumentError, MatrixError
from eckart.files import check_output, whole_files, write_text
from eckart.files.tables import write_table
from eckart.recommend.model import Model

SIDES: Final = ("users", "items")
SUFFIXES: Final = (".npy", ".parquet")


def export_factors(
    model: Model, output: str | PathLike[str], side: str = "items", *, force: bool = False
) -> list[Path]:
    """Write vectors of all users or all items whose inner products are the scores of the model.

    For a model with biases the vector of a user ends in 1 and that of an item in its bias: the
    scores rank items as the model does, without the terms that are the same for all items of a
    user. A `.parquet` file holds ids and vectors; a `.npy` file holds the vectors, with the ids in
    a `.ids.txt` file beside it.

    Args:
        model: The fitted model.
        output: Path of a .npy or .parquet file.
        side: "users" or "items".
        force: Whether existing files are overwritten.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: If the suffix is unknown, or a file exists and `force` is false.
        MatrixError: If an id has a line break and the ids go to a text file.
        StorageError: If the system refuses to write.
    """
    path = Path(output)
    check_export(path, side, force=force)
    vectors = vectors_of(model, side)
    vocabulary = model.data.users if side == "users" else model.data.items
    if path.suffix.lower() == ".parquet":
        width = vectors.shape[1]
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
        write_table(path, {"id": vocabulary.ids, "vector": flat}, force=force)
        return [path]
    # with a character behind it, or a break at the end of the id would not count
    broken = [one for one in vocabulary.listed() if len(f"{one}.".splitlines()) > 1]
    if broken:
        raise MatrixError(
            f"The id {broken[0]!r} has a line break in it, which a list of lines cannot hold.",
            hint=f"Write them to {path.with_suffix('.parquet').name}.",
            code="bad-ids",
        )
    # both or none: vectors beside other ids would be wrong without a sign of it
    with whole_files((path, ids_path(path)), force=force) as (place, beside_it):
        with place.open("wb") as file:
            # given an open file, since `np.save` adds .npy to a path without that suffix
            np.save(file, vectors, allow_pickle=False)
        write_text(beside_it, "".join(f"{one}\n" for one in vocabulary.listed()))
    return [path, ids_path(path)]


def ids_path(path: Path) -> Path:
    """The file for the ids of exported vectors, beside them.

    Example:
        >>> ids_path(Path("items.npy")).name
        'items.ids.txt'
    """
    return path.with_name(f"{path.stem}.ids.txt")


def check_export(path: Path, side: str, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse a file that cannot be written, before any work.

    Raises:
        ArgumentError: If the side or suffix is unknown, or a file exists and `force` is false.
    """
    if side not in SIDES:
        raise ArgumentError(
            f"There are no factors of '{side}'.", hint="Give users or items.", code="bad-side"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ArgumentError(
            f"Factors are exported to .npy or .parquet, not to {path.name}.",
            hint="Name a .parquet or a .npy file.",
            code="unknown-suffix",
        )
    # both files, before any work is done
    check_output(path, force=force, inputs=inputs)
    if path.suffix.lower() == ".npy":
        check_output(ids_path(path), force=force, inputs=[*inputs, path])


def vectors_of(model: Model, side: str) -> npt.NDArray[Any]:
    """The vectors of one side, float32, of shape (users or items, rank), one wider with biases."""
    offset = model.offset
    factor = offset.factors.B if side == "users" else offset.factors.A.T
    if not model.objective.has_biases:
        return np.ascontiguousarray(factor, np.float32)
    ones = np.ones(len(factor), np.float32)
    last = ones if side == "users" else offset.column_bias
    return np.concatenate([factor, last[:, None]], axis=1, dtype=np.float32)
