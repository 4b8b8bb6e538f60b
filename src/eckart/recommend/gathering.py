"""Collects the columns of a table that comes in blocks, in the types that interactions have."""

from typing import Any, final

import numpy as np
import pyarrow as pa

from eckart.errors import MatrixError
from eckart.recommend.chunked import Growing
from eckart.recommend.columns import naming
from eckart.recommend.ids import Encoder, column_of
from eckart.recommend.reading import Blocks, Numbers, as_numbers
from eckart.recommend.times import EARLIEST, Clock, Times, clocked, numbers_in, parsed, plain_times
from eckart.recommend.vocabulary import Places, Vocabulary


@final
class Gathered:
    """The columns of all blocks: 4 bytes for each id, rating and weight, 8 for each time.

    Raises:
        FormatError: If the file is damaged.
        MatrixError: If an id is missing, or a cell does not fit the role of its column.
        StorageError: If the system refuses to read it.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._times = blocks, _Times(blocks.source)
        self._ids = {"user": Encoder("user"), "item": Encoder("item")}
        self._numbers = {
            role: Growing(np.float32) for role in ("rating", "weight") if role in blocks.roles
        }
        self._large = {"user": False, "item": False}
        # each column is taken out of its block, so that its memory is free once it is coded
        for columns in blocks.columns:
            self._add(columns)

    def _add(self, columns: dict[str, Any]) -> None:
        for role, encoder in self._ids.items():
            column, large = column_of(columns.pop(role))
            # one block with numbers beyond 64 bits makes the whole column text
            self._large[role] |= large
            encoder.add(column)
        for role, numbers in self._numbers.items():
            column, before = columns.pop(role), len(numbers)
            numbers.add(as_numbers(column, role, self._blocks.source, before=before))
        if "time" in columns:
            self._times.add(self._moments(columns.pop("time")))

    def _moments(self, column: Any) -> Any:
        """A column of times as an Arrow array, with dates and missing values of NumPy and pandas.

        Raises:
            MatrixError: If its values are of several types.
        """
        try:
            return column_of(column, "times")[0]
        except MatrixError as error:
            raise MatrixError(
                f"The column of times of {self._blocks.source} cannot be read: {error.message}",
                hint=f"Name another: {naming('time')}.",
                code="not-numbers",
            ) from error

    def ids(self, role: str) -> tuple[Vocabulary, Places]:
        """The vocabulary of users or items and the place of each entry; can be called once."""
        untyped = self._blocks.untyped or self._large[role]
        return Vocabulary.coded(self._ids.pop(role), untyped=untyped)

    def numbers(self, role: str) -> Numbers | None:
        """The ratings or weights, None if there are none; can be called once."""
        return self._numbers.pop(role).joined() if role in self._numbers else None

    def times(self, notes: list[str]) -> tuple[Times | None, Clock | None]:
        """Times as whole numbers and the clock that they count by; None if there are none."""
        # a reader infers the type of each block: only the whole column has one type
        if len(self._times.kinds) > 1 and self._blocks.times is not None:
            self._times = _Times(self._blocks.source)
            self._times.add(self._blocks.times())
        if not self._times.kinds:
            return None, None
        times, clock = self._times.finish()
        missing = int(np.count_nonzero(times == EARLIEST))
        if clock is None:
            notes.append("All times are missing.")
            return None, None
        if missing:
            notes.append(f"{missing:,} times are missing; they count as the earliest.")
        return times, clock


@final
class _Times:
    """Blocks of times: numbers in their final type, texts as they were read."""

    def __init__(self, source: str) -> None:
        self.kinds: set[Any] = set()
        self._source = source
        self._numbers = {np.int64: Growing(np.int64), np.float64: Growing(np.float64)}
        self._texts = list[Any]()

    def add(self, column: Any) -> None:
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            plain = plain_times(chunk, self._source)
            self.kinds.add(plain.type)
            if pa.types.is_string(plain.type):
                self._texts.append(plain)
            else:
                numbers = numbers_in(plain, self._source)
                self._numbers[numbers.dtype.type].add(numbers)

    def finish(self) -> tuple[Times, Clock | None]:
        if self._texts:
            texts = pa.chunked_array(self._texts, pa.string()).combine_chunks()
            # parsed together: one notation has to fit the whole column
            read = _Times(self._source)
            read.add(parsed(texts, self._source))
            return read.finish()
        (kind,) = self.kinds
        of = np.float64 if pa.types.is_floating(kind) else np.int64
        return clocked(self._numbers[of].joined(), kind, self._source)
