"""What is known of users or items beside their interactions: more columns, or rows, of W."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from eckart.errors import MatrixError
from eckart.recommend.features import Feature, doubt, learned

MOST_WIDTH: Final = 10_000
"""Numbers and words of a table: systems of so many equations are solved for who did nothing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attributes:
    """Attributes of one side, a row for each of its ids; of whom nothing is known it is empty.

    Fields:
        features: How the columns of their table become numbers.
        matrix: SciPy sparse, by rows, float32, of shape (ids, width); what is missing is not
            stored, and counts as zero.
        id_column: What the column of ids was called in the table.
    """

    features: tuple[Feature, ...]
    matrix: Any
    id_column: str

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def width(self) -> int:
        """How many columns they add to W."""
        return int(self.matrix.shape[1])

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Of which ids there is any."""
        return np.diff(self.matrix.indptr) > 0

    def chosen(self, places: npt.NDArray[Any]) -> "Attributes":
        """Those of some ids, by mask or places."""
        here = np.flatnonzero(places) if places.dtype == np.bool_ else places
        return replace(self, matrix=self.matrix[here])

    def widened(self, count: int) -> "Attributes":
        """With empty rows for new ids, up to a count."""
        if count == len(self):
            return self
        starts = self.matrix.indptr
        starts = np.concatenate([starts, np.full(count - len(self), starts[-1], starts.dtype)])
        matrix = scipy.sparse.csr_array(
            (self.matrix.data, self.matrix.indices, starts), shape=(count, self.width)
        )
        return replace(self, matrix=matrix)

    def placed(self, places: npt.NDArray[Any], rows: Any) -> "Attributes":
        """With other rows at some places."""
        order = np.arange(len(self))
        order[places] = len(self) + np.arange(len(places))
        stacked: Any = scipy.sparse.vstack([self.matrix, rows], format="csr")
        return replace(self, matrix=stacked[order])


def learned_features(
    columns: dict[str, Any], words: frozenset[str], source: str, *, named: bool
) -> tuple[tuple[Feature, ...], list[str]]:
    """The features of the columns of a table, and what a person should know of them.

    Args:
        columns: Arrow arrays by name.
        words: Names of those whose numbers are names of something.
        source: The table, for messages.
        named: Whether these columns were asked for; one that tells nothing is refused then.

    Raises:
        MatrixError: If one that was asked for tells nothing, none does, or all together have more
            than 10,000 numbers and words.
    """
    features: list[Feature] = []
    notes: list[str] = []
    for name, column in columns.items():
        try:
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
    """The columns of a table as numbers, (rows, width), and what of them was not known before.

    Raises:
        MatrixError: If a column is missing, or does not hold numbers where it must.
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
