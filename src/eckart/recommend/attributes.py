"""Attributes of users or items, which are further columns or rows of W."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from eckart.errors import MatrixError
from eckart.recommend.features import Feature, doubt, learned

MOST_WIDTH: Final = 10_000
"""Width of a table of attributes: users without interactions get factors from a dense system of
so many equations."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attributes:
    """Attributes of users or of items, with a row for each id; empty if nothing is known of the id.

    Fields:
        features: For each column of the table, how it becomes numbers.
        matrix: SciPy CSR array, float32, of shape (ids, width); missing cells are not stored and
            count as zeros.
        id_column: Name of the column of ids in the table.
    """

    features: tuple[Feature, ...]
    matrix: Any
    id_column: str

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def width(self) -> int:
        """Number of columns or rows that the attributes add to W."""
        return int(self.matrix.shape[1])

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """A mask of the ids that have at least one attribute."""
        # missing cells are not stored, so an id without attributes has an empty row
        return np.diff(self.matrix.indptr) > 0

    def chosen(self, places: npt.NDArray[Any]) -> "Attributes":
        """The attributes of some ids, given as a mask or as places."""
        here = np.flatnonzero(places) if places.dtype == np.bool_ else places
        return replace(self, matrix=self.matrix[here])

    def widened(self, count: int) -> "Attributes":
        """These attributes with empty rows appended for new ids, up to a given number of rows."""
        if count == len(self):
            return self
        # repeating the last start appends empty rows without copying the values
        starts = self.matrix.indptr
        starts = np.concatenate([starts, np.full(count - len(self), starts[-1], starts.dtype)])
        matrix = scipy.sparse.csr_array(
            (self.matrix.data, self.matrix.indices, starts), shape=(count, self.width)
        )
        return replace(self, matrix=matrix)

    def placed(self, places: npt.NDArray[Any], rows: Any) -> "Attributes":
        """These attributes with the rows at some places replaced."""
        # one gather of stacked rows: each assignment would rebuild the sparse array
        order = np.arange(len(self))
        order[places] = len(self) + np.arange(len(places))
        stacked: Any = scipy.sparse.vstack([self.matrix, rows], format="csr")
        return replace(self, matrix=stacked[order])


def learned_features(
    columns: dict[str, Any], words: frozenset[str], source: str, *, named: bool
) -> tuple[tuple[Feature, ...], list[str]]:
    """The features of the columns of a table, and notes for the user.

    Args:
        columns: The columns, Arrow arrays by name.
        words: Names of the columns whose numbers are categories.
        source: Name of the table, for messages.
        named: Whether these columns were requested; one without information is an error then.

    Raises:
        MatrixError: If a requested column carries no information, no column does, or all together
            have more than 10,000 numbers and categories.
    """
    features: list[Feature] = []
    notes: list[str] = []
    for name, column in columns.items():
        try:
            # titles and the like are in nearly every table: an error only if they were requested
            feature = learned(name, column, as_words=name in words)
        except MatrixError as error:
            if named:
                raise
            notes.append(f"{source}: {error.message} It is left out.")
            continue
        features.append(feature)
        if name not in words and (said := doubt(feature, column)):
            notes.append(f"{source}: {said}")
    if not features:
        raise MatrixError(
            f"{source} has no column of attributes that tells anything.",
            hint=notes[0].removesuffix(" It is left out.") if notes else "Give one beside the ids.",
            code="no-attributes",
        )
    width = sum(feature.width for feature in features)
    if width > MOST_WIDTH:
        raise MatrixError(
            f"{source} has {width:,} attributes, numbers and words together, more than "
            f"{MOST_WIDTH:,}.",
            hint="Leave the columns with the most words out.",
            code="too-many-attributes",
        )
    return tuple(features), notes


def matrix_of(
    features: Sequence[Feature], columns: dict[str, Any], source: str
) -> tuple[Any, list[str]]:
    """A table of attributes as a sparse matrix of shape (rows, width), and notes on unknown values.

    Raises:
        MatrixError: If a column is missing, or does not hold numbers as its feature requires.
    """
    notes: list[str] = []
    rows: list[Any] = []
    places: list[Any] = []
    values: list[Any] = []
    width = 0
    for feature in features:
        column = columns[feature.name]
        cells = feature.cells(column, source)
        rows.append(cells.rows)
        places.append(cells.places + width)
        values.append(cells.values)
        width += feature.width
        if cells.unknown:
            notes.append(
                f"{source}: {cells.unknown:,} values of the column '{feature.name}' were not there "
                "at the fit and are left out."
            )
    height = len(columns[features[0].name])
    triplets = (np.concatenate(values).astype(np.float32),
                (np.concatenate(rows), np.concatenate(places)))  # fmt: skip
    return scipy.sparse.csr_array(triplets, shape=(height, width)), notes
