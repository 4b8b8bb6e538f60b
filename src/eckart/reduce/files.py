"""The files of a reduction: the saved model and the loadings."""

from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import Array
from eckart.errors import ArgumentError
from eckart.files import beside, named_path, npz, whole_file
from eckart.files.columns import text_column
from eckart.files.scores import score_writer
from eckart.files.whole import reading, settle
from eckart.reduce.fit import loadings
from eckart.reduce.reduction import Reduction, read_back


def model_path(output: Path) -> Path:
    """The path of the saved reduction, beside its scores.

    Example:
        >>> model_path(Path("scores.parquet")).name
        'scores.model.npz'
    """
    return beside(output, f"{named_path(output).stem}.model.npz")


def tables_path(output: Path, kind: str) -> Path:
    """The path of a table that belongs to the scores; a .csv file if the scores are an array.

    Example:
        >>> tables_path(Path("scores.npy"), "loadings").name
        'scores.loadings.csv'
    """
    suffix = ".csv" if output.suffix.lower() == ".npy" else output.suffix
    return beside(output, f"{named_path(output).stem}.{kind}{suffix}")


def write_reduction(path: Path, reduction: Reduction, *, force: bool) -> None:
    """Write a reduction to a `.npz` file.

    Raises:
        ArgumentError: If the suffix is not .npz, or the file exists and `force` is false.
        StorageError: If the system refuses to write.
    """
    check_model_path(path)
    with whole_file(path, force=force) as temporary:
        npz.write_arrays(temporary, reduction.arrays(), reduction.facts())


def read_reduction(path: Path) -> Reduction:
    """Read a saved reduction.

    Raises:
        ArgumentError: If the file does not exist, or its suffix is not .npz.
        FormatError: If it is damaged, or does not hold a reduction.
    """
    check_model_path(path)
    # a run that was killed may have left new files that are not yet in their places
    settle(path)
    with reading(path):
        arrays, facts = npz.read_arrays(path)
    return read_back(arrays, facts, path)


def write_loadings(path: Path, reduction: Reduction, *, force: bool) -> None:
    """Write the loadings: a row for each column of the table, with a value for every component.

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
    """Refuse a path that cannot be a saved reduction.

    Raises:
        ArgumentError: If the suffix is not .npz.
    """
    if path.suffix.lower() != ".npz":
        raise ArgumentError(
            f"A reduction is an .npz file, not {path.name}.",
            hint="eckart reduce writes it beside the scores: NAME.model.npz.",
            code="unknown-suffix",
        )


MOST_POINTS: Final = 3000
"""Points of the figure of a report, at most."""
SHOWN: Final = 3
"""Components whose scores a figure needs."""


@final
class Picture:
    """A sample of the scores for a figure: every n-th row, with its ids and its colour.

    Args:
        rank: Number of components.
        rows: Number of rows that will be added.
    """

    def __init__(self, rank: int, rows: int) -> None:
        # rounded up, so that there are at most MOST_POINTS
        self._stride = -(-rows // MOST_POINTS)
        self._row = 0
        self._shown = min(rank, SHOWN)
        self.points: list[list[float]] = []
        self.rows: list[int] = []
        self.labels: list[str] = []
        self.colours: list[Any] = []
        self.colour = ""

    def add(self, scores: Array, along: Any, colour: str | None, ids: tuple[str, ...]) -> None:
        """Take the sample of the next rows, which come in blocks."""
        # blocks need not be multiples of the stride
        first = -self._row % self._stride
        places = range(first, len(scores), self._stride)
        self.points += [[float(x) for x in scores[place, : self._shown]] for place in places]
        self.rows += [self._row + place for place in places]
        self._row += len(scores)
        if along is None:
            return
        taken = along.take(list(places))
        if ids:
            named = [taken.column(name).to_pylist() for name in ids]
            self.labels += [", ".join(map(str, row)) for row in zip(*named, strict=True)]
        if colour is not None:
            self.colour = colour
            self.colours += [_plain(value) for value in taken.column(colour).to_pylist()]

    def to_dict(self) -> dict[str, Any]:
        """The points with their rows, labels and colours as plain values."""
        return {
            "points": self.points,
            "rows": self.rows,
            "labels": self.labels,
            "colours": self.colours,
            "colour": self.colour,
        }


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    # NaN, which JSON does not know
    return value if value == value else None
