"""Attributes of users or items, which are further columns or rows of W."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse

from eckart.errors import MatrixError
from eckart.files.columns import plain_values
from eckart.files.text.cells import numbers, odd_and_marks
from eckart.recommend.chunked import Column, Numbers, one_array, pc

MOST_WIDTH: Final = 10_000
"""Width of a table of attributes: users without interactions get factors from a dense system of
so many equations."""
MOST_CATEGORIES: Final = 1000
"""Different categories of one column, at most: each of them is a column of W."""
SparseMatrix: TypeAlias = Any
"""A SciPy CSR array, float32; SciPy has no types."""
TRUTHS: Final = frozenset({"true", "false"})
"""The texts of truth values, in lower case."""
SEPARATOR: Final = "|"
"""Separator of several categories in one cell, as in Action|Comedy."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """How a column becomes numbers: standardised, or one indicator for each category.

    Fields:
        name: Name of the column.
        levels: The categories in their order, each an indicator column; None for numbers.
        mean: The mean that is subtracted from numbers.
        deviation: The standard deviation by which numbers are divided.

    Example:
        >>> genres = learn_feature("genres", pa.array(["Action|Comedy", "Comedy", None]))
        >>> films = pa.array(["Comedy", "Horror"])
        >>> genres.levels, genres.cells(films, "films")[0].toarray().tolist()
        (('Action', 'Comedy'), [[0.0, 1.0], [0.0, 0.0]])
    """

    name: str
    levels: tuple[str, ...] | None = None
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def width(self) -> int:
        """Number of columns of W that the feature makes."""
        return 1 if self.levels is None else len(self.levels)

    def cells(self, column: Column, source: str) -> tuple[SparseMatrix, int]:
        """The numbers of a column, missing ones not stored, and how many are unknown."""
        if self.levels is None:
            rows, values = self._standardise(column, source)
            places, unknown = np.zeros(len(rows), np.int64), 0
        else:
            rows, words = _words(column)
            words = _spell_truths(words, self.levels)
            found = pc.fill_null(pc.index_in(words, value_set=pa.array(self.levels)), -1)
            places = np.asarray(found.to_numpy(zero_copy_only=False), np.int64)
            known = places >= 0
            unknown = int((~known).sum())
            # a category that occurs twice in a cell counts once
            pairs = np.unique(rows[known] * self.width + places[known])
            rows, places, values = pairs // self.width, pairs % self.width, np.ones(len(pairs))
        shape = (len(column), self.width)
        return scipy.sparse.csr_array((values, (rows, places)), shape=shape), unknown

    def _standardise(self, column: Column, source: str) -> tuple[Numbers, Numbers]:
        """The rows that have a number, and the numbers."""
        numbers = _numbers(column)
        if numbers is None:
            raise MatrixError(
                f"The column '{self.name}' of {source} does not hold numbers.",
                hint="Give numbers there, as at the fit.",
                code="not-numbers",
            )
        # missing cells are not stored and count as zero, the mean of a standardised column
        rows = np.flatnonzero(~np.isnan(numbers))
        with np.errstate(over="ignore", invalid="ignore"):
            values = (numbers[rows] - self.mean) / self.deviation
            # float32 is what is stored: a finite float64 may overflow in it
            wrong = ~np.isfinite(values.astype(np.float32))
        if wrong.any():
            row = int(rows[np.argmax(wrong)]) + 1
            raise MatrixError(
                f"Row {row} of {source} has no finite number in the column '{self.name}'.",
                hint="Correct it or leave it empty; rows are counted from 1, without the header.",
                code="not-finite",
            )
        return rows, values

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        if self.levels is not None:
            return {"name": self.name, "levels": list(self.levels)}
        return {"name": self.name, "mean": self.mean, "deviation": self.deviation}

    @staticmethod
    def of_dict(document: dict[str, Any]) -> "Feature":
        """The feature that `to_dict` described."""
        name = str(document["name"])
        if "levels" in document:
            return Feature(name=name, levels=tuple(str(one) for one in document["levels"]))
        mean, deviation = float(document["mean"]), float(document["deviation"])
        if not (np.isfinite(mean) and 0 < deviation < np.inf):
            raise ValueError(f"the numbers of '{name}' are about {mean}, by {deviation}")
        return Feature(name=name, mean=mean, deviation=deviation)


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
    matrix: SparseMatrix
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

    def summary(self, counts: npt.NDArray[np.int64]) -> dict[str, Any]:
        """The number of attributes, and of ids that have them, with the entries of each id."""
        return {
            "columns": [feature.name for feature in self.features],
            "width": self.width,
            "known": int(self.known.sum()),
            "unknown": int((~self.known).sum()),
            "without_interactions": int((self.known & (counts == 0)).sum()),
        }

    def select(self, places: Numbers) -> "Attributes":
        """The attributes of some ids, given as a mask or as places."""
        here = np.flatnonzero(places) if places.dtype == np.bool_ else places
        return replace(self, matrix=self.matrix[here])

    def widen(self, count: int) -> "Attributes":
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

    def with_rows_at(self, places: Numbers, rows: SparseMatrix) -> "Attributes":
        """These attributes with the rows at some places replaced."""
        # one gather of stacked rows: each assignment would rebuild the sparse array
        order = np.arange(len(self))
        order[places] = len(self) + np.arange(len(places))
        stacked: Any = scipy.sparse.vstack([self.matrix, rows], format="csr")
        return replace(self, matrix=stacked[order])


def learn_feature(name: str, column: Column, *, as_words: bool = False) -> Feature:
    """Learn the feature of a column: numeric if all its cells are numbers, else categories."""
    numbers = None if as_words else _numbers(column)
    if numbers is None:
        return Feature(name=name, levels=_learn_levels(name, column))
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        raise _useless(f"The column '{name}' is empty.")
    # squares of numbers near the end of the range of float64 would overflow
    largest = max(float(np.abs(finite).max()), np.finfo(np.float64).tiny)
    mean, deviation = float(np.mean(finite / largest)), float(np.std(finite / largest))
    # a deviation of 0 also for numbers that differ by less than rounding shows
    if finite.min() == finite.max() or deviation == 0:
        raise _useless(f"All numbers of the column '{name}' are the same.")
    return Feature(name=name, mean=mean * largest, deviation=deviation * largest)


def learn_features(
    columns: dict[str, Column], words: frozenset[str], source: str, *, named: bool
) -> tuple[tuple[Feature, ...], list[str]]:
    """The features of the columns of a table, and notes for the user."""
    features: list[Feature] = []
    notes: list[str] = []
    for name, column in columns.items():
        try:
            # titles and the like are in nearly every table: an error only if they were requested
            feature = learn_feature(name, column, as_words=name in words)
        except MatrixError as error:
            if named:
                raise
            notes.append(f"{source}: {error.message} It is left out.")
            continue
        features.append(feature)
        if name not in words and (said := describe_doubt(feature, column)):
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
    features: Sequence[Feature], columns: dict[str, Column], source: str
) -> tuple[SparseMatrix, list[str]]:
    """A table of attributes as a sparse matrix, (rows, width), and notes on unknown values."""
    notes: list[str] = []
    parts: list[SparseMatrix] = []
    for feature in features:
        cells, unknown = feature.cells(columns[feature.name], source)
        parts.append(cells)
        if unknown:
            notes.append(
                f"{source}: {unknown:,} values of the column '{feature.name}' were not there "
                "at the fit and are left out."
            )
    return scipy.sparse.hstack(parts, format="csr").astype(np.float32), notes


def describe_doubt(feature: Feature, column: Column) -> str:
    """A note on a column of text that was read as categories though most cells are numbers, or "".

    Example:
        >>> ages = pa.array(["20", "30", "20", "?"])
        >>> describe_doubt(learn_feature("age", ages), ages)
        "The column 'age' is taken as words, not as numbers, since row 4 has '?'."
    """
    plain = _plain(column)
    if feature.levels is None or not pa.types.is_string(plain.type):
        return ""
    found, words = numbers(plain)
    odd, _ = odd_and_marks(plain)
    strange = np.asarray(pc.fill_null(words, False).to_numpy(zero_copy_only=False), np.bool_)
    if len(found) - found.null_count + int((odd & strange).sum()) <= int((strange & ~odd).sum()):
        return ""
    row = int(np.argmax(strange))
    return (
        f"The column '{feature.name}' is taken as words, not as numbers, since row {row + 1} has "
        f"'{plain[row].as_py()[:40]}'."
    )


def _spell_truths(words: Column, levels: tuple[str, ...]) -> Column:
    """Truth values spelled as the levels are: pandas writes True as text, Arrow writes true."""
    truths = {one.casefold(): one for one in levels}
    if not truths.keys() <= TRUTHS:
        return words
    texts = [one if one in levels else truths.get(one.casefold(), one) for one in words.to_pylist()]
    return pa.array(texts, pa.string())


def is_text(column: Column) -> bool:
    """Whether a typed column is text or categories, whose digits are then not read as numbers."""
    types = pa.types
    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_it(column.type) for is_it in (types.is_dictionary, *texts))


def _learn_levels(name: str, column: Column) -> tuple[str, ...]:
    _, words = _words(column)
    counted = pc.value_counts(words)
    if not len(counted):
        raise _useless(f"The column '{name}' is empty.")
    if len(counted) > MOST_CATEGORIES:
        raise _useless(
            f"The column '{name}' has {len(counted):,} different values, more than "
            f"{MOST_CATEGORIES:,}."
        )
    if pc.max(counted.field("counts")).as_py() == 1:
        raise _useless(f"No two rows share a value of the column '{name}'.")
    # sorted, so that the order of rows changes nothing
    return tuple(sorted(counted.field("values").to_pylist()))


def _words(column: Column) -> tuple[npt.NDArray[np.int64], Any]:
    """The row of each category of a column, and the categories without surrounding blanks."""
    plain = _plain(column)
    kind = plain.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        plain = pc.split_pattern(_text(plain), SEPARATOR)
    rows = pc.list_parent_indices(plain).to_numpy(zero_copy_only=False)
    words = pc.utf8_trim_whitespace(_text(pc.list_flatten(plain)))
    there = pc.fill_null(pc.not_equal(words, ""), False)
    kept = np.asarray(there.to_numpy(zero_copy_only=False), np.bool_)
    return np.asarray(rows, np.int64)[kept], words.filter(there)


def _numbers(column: Column) -> npt.NDArray[np.float64] | None:
    """The numbers of a column, NaN for missing cells; None if some cells are not numbers."""
    plain = _plain(column)
    kind = plain.type
    if pa.types.is_boolean(kind):
        return None
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            plain, words = numbers(plain.cast(pa.string()))
            if pc.any(words).as_py():
                return None
        elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            # one unit for all types of dates, so that a later table may have another type
            plain = pc.cast(pc.cast(plain, pa.timestamp("us"), safe=False), pa.int64())
        elif pa.types.is_duration(kind):
            plain = pc.cast(pc.cast(plain, pa.duration("us"), safe=False), pa.int64())
        elif pa.types.is_time(kind):
            plain = pc.cast(pc.cast(plain, pa.time64("us"), safe=False), pa.int64())
        return np.asarray(
            pc.cast(plain, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None  # a text that is no number, or a type that has no numbers


def _plain(column: Column) -> Column:
    """A column as one Arrow array without a dictionary."""
    try:
        return plain_values(one_array(column))
    except pa.ArrowInvalid as error:
        raise _useless("A column holds bytes that are no text.") from error


def _text(values: Column) -> Column:
    """Values as text; floats that are all whole are written without a point."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        with suppress(pa.ArrowInvalid):  # some are not whole
            values = values.cast(pa.int64())
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _useless(
            f"A column holds {values.type}, which is neither number nor text."
        ) from error


def _useless(message: str) -> MatrixError:
    return MatrixError(
        message, hint="Leave the column out, or group its values.", code="bad-attribute"
    )
