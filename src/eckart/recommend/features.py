"""Features: how a column of a table of users or items becomes numbers."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from eckart.errors import MatrixError
from eckart.files.columns import plain_values
from eckart.files.text.cells import numbers, odd_and_marks

pc: Final[Any] = compute  # its functions are created at import, which no type checker sees

MOST_LEVELS: Final = 1000
"""Different categories of one column, at most: each of them is a column of W."""
TRUTHS: Final = frozenset({"true", "false"})
"""The texts of truth values, in lower case."""
BETWEEN: Final = "|"
"""Separator of several categories in one cell, as in Action|Comedy."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """The nonzero numbers of some rows as triplets; all others are zero or unknown.

    Fields:
        rows: The row of each number.
        places: The column of each number among those of the feature.
        values: The numbers.
        unknown: Number of categories in the cells that the feature does not know.
    """

    rows: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    unknown: int = 0


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
        >>> genres = learned("genres", pa.array(["Action|Comedy", "Comedy", None]))
        >>> genres.levels, genres.cells(pa.array(["Comedy", "Horror"]), "films").rows.tolist()
        (('Action', 'Comedy'), [0])
    """

    name: str
    levels: tuple[str, ...] | None = None
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def width(self) -> int:
        """Number of columns of W that the feature makes."""
        return 1 if self.levels is None else len(self.levels)

    def cells(self, column: Any, source: str) -> Cells:
        """The numbers of a column; missing cells give none.

        Args:
            column: An Arrow array.
            source: Name of the table, for messages.

        Raises:
            MatrixError: If the feature is numeric and a cell is not a finite number.
        """
        if self.levels is None:
            return self._standardised(column, source)
        rows, words = _words(column)
        words = _as_written(words, self.levels)
        places = pc.fill_null(pc.index_in(words, value_set=pa.array(self.levels)), -1)
        places = np.asarray(places.to_numpy(zero_copy_only=False), np.int64)
        known = places >= 0
        # a category that occurs twice in a cell counts once
        pairs = np.unique(rows[known] * self.width + places[known])
        return Cells(
            rows=pairs // self.width,
            places=pairs % self.width,
            values=np.ones(len(pairs)),
            unknown=int((~known).sum()),
        )

    def _standardised(self, column: Any, source: str) -> Cells:
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
        return Cells(rows=rows, places=np.zeros(len(rows), np.int64), values=values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        if self.levels is not None:
            return {"name": self.name, "levels": list(self.levels)}
        return {"name": self.name, "mean": self.mean, "deviation": self.deviation}

    @staticmethod
    def of_dict(document: dict[str, Any]) -> "Feature":
        """The feature that `to_dict` described.

        Raises:
            KeyError: If something is missing.
            TypeError: If something is of another type.
            ValueError: If a number is not finite.
        """
        name = str(document["name"])
        if "levels" in document:
            return Feature(name=name, levels=tuple(str(one) for one in document["levels"]))
        mean, deviation = float(document["mean"]), float(document["deviation"])
        if not (np.isfinite(mean) and 0 < deviation < np.inf):
            raise ValueError(f"the numbers of '{name}' are about {mean}, by {deviation}")
        return Feature(name=name, mean=mean, deviation=deviation)


def learned(name: str, column: Any, *, as_words: bool = False) -> Feature:
    """Learn the feature of a column: numeric if all its cells are numbers, else categories.

    Args:
        name: Name of the column.
        column: An Arrow array of numbers, dates, truth values, text or lists of text.
        as_words: Whether numbers are categories, such as codes.

    Raises:
        MatrixError: If the column carries no information: it is empty, all its numbers are equal,
            no category occurs twice, there are more than 1,000, or it holds another type.
    """
    numbers = None if as_words else _numbers(column)
    if numbers is None:
        return Feature(name=name, levels=_levels(name, column))
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


def doubt(feature: Feature, column: Any) -> str:
    """A note on a column of text that was read as categories though most cells are numbers, or "".

    Example:
        >>> ages = pa.array(["20", "30", "20", "?"])
        >>> doubt(learned("age", ages), ages)
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


def _as_written(words: Any, levels: tuple[str, ...]) -> Any:
    """Truth values spelled as the levels are: pandas writes True as text, Arrow writes true."""
    truths = {one.casefold(): one for one in levels}
    if not truths.keys() <= TRUTHS:
        return words
    texts = [one if one in levels else truths.get(one.casefold(), one) for one in words.to_pylist()]
    return pa.array(texts, pa.string())


def is_text(column: Any) -> bool:
    """Whether a typed column is text or categories, whose digits are then not read as numbers."""
    types = pa.types
    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_it(column.type) for is_it in (types.is_dictionary, *texts))


def _levels(name: str, column: Any) -> tuple[str, ...]:
    _, words = _words(column)
    counted = pc.value_counts(words)
    if not len(counted):
        raise _useless(f"The column '{name}' is empty.")
    if len(counted) > MOST_LEVELS:
        raise _useless(
            f"The column '{name}' has {len(counted):,} different values, more than {MOST_LEVELS:,}."
        )
    if pc.max(counted.field("counts")).as_py() == 1:
        raise _useless(f"No two rows share a value of the column '{name}'.")
    # sorted, so that the order of rows changes nothing
    return tuple(sorted(counted.field("values").to_pylist()))


def _words(column: Any) -> tuple[npt.NDArray[np.int64], Any]:
    """The row of each category of a column, and the categories without surrounding blanks.

    Raises:
        MatrixError: If the column holds a type that has no text.
    """
    plain = _plain(column)
    kind = plain.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        plain = pc.split_pattern(_text(plain), BETWEEN)
    rows = pc.list_parent_indices(plain).to_numpy(zero_copy_only=False)
    words = pc.utf8_trim_whitespace(_text(pc.list_flatten(plain)))
    there = pc.fill_null(pc.not_equal(words, ""), False)
    kept = np.asarray(there.to_numpy(zero_copy_only=False), np.bool_)
    return np.asarray(rows, np.int64)[kept], words.filter(there)


def _numbers(column: Any) -> npt.NDArray[np.float64] | None:
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


def _plain(column: Any) -> Any:
    """A column as one Arrow array without a dictionary.

    Raises:
        MatrixError: If it holds bytes that are not text.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_decode()
    try:
        return plain_values(whole)
    except pa.ArrowInvalid as error:
        raise _useless("A column holds bytes that are no text.") from error


def _text(values: Any) -> Any:
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
