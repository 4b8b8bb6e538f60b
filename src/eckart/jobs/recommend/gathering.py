"""Columns of a table, which come in blocks, as interactions keep them."""

from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from eckart.errors import MatrixError
from eckart.jobs.recommend.encoding import Encoder
from eckart.jobs.recommend.growing import Growing
from eckart.jobs.recommend.ids import column_of
from eckart.jobs.recommend.reading import Blocks, Numbers, as_numbers
from eckart.jobs.recommend.vocabulary import Places, Vocabulary

Times: TypeAlias = npt.NDArray[np.int64]
pc: Final[Any] = compute  # its functions are made when it is imported, which no type checker sees
EARLIEST: Final = np.iinfo(np.int64).min
"""The time of what has none."""


@final
class Gathered:
    """All blocks of a table: 4 bytes for each id, rating and weight, 8 for each time.

    Raises:
        FormatError: If the file is damaged.
        MatrixError: If an id is missing, or cells are not what they should be.
        StorageError: If the system refuses to read it.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._times = blocks, _Times()
        self._ids = {"user": Encoder("user"), "item": Encoder("item")}
        self._numbers = {
            role: Growing(np.float32) for role in ("rating", "weight") if role in blocks.roles
        }
        self._large = {"user": False, "item": False}
        for columns in blocks.columns:
            self._add(columns)

    def _add(self, columns: dict[str, Any]) -> None:
        for role, encoder in self._ids.items():
            column, large = column_of(columns.pop(role))
            self._large[role] |= large
            encoder.add(column)
        for role, numbers in self._numbers.items():
            numbers.add(as_numbers(columns.pop(role), role, self._blocks.source))
        if isinstance(columns.get("time"), list):
            raise MatrixError(
                f"The column of times of {self._blocks.source} is of several types.",
                hint="Name another with --time.",
                code="not-numbers",
            )
        if "time" in columns:
            self._times.add(columns.pop("time"))

    def ids(self, role: str) -> tuple[Vocabulary, Places]:
        """The vocabulary of users or items and the place of each entry; can be asked for once."""
        untyped = self._blocks.untyped or self._large[role]
        return Vocabulary.coded(self._ids.pop(role), untyped=untyped)

    def numbers(self, role: str) -> Numbers | None:
        """Ratings or weights, None where there are none; can be asked for once."""
        return self._numbers.pop(role).joined() if role in self._numbers else None

    def times(self, notes: list[str]) -> Times | None:
        """Times as whole numbers that are in their order; of text, its ranks in sorted order."""
        if len(self._times.kinds) > 1 and self._blocks.times is not None:
            self._times = _Times()
            self._times.add(self._blocks.times())
        if not self._times.kinds:
            return None
        if self._times.missing:
            notes.append(f"{self._times.missing:,} times are missing; they count as the earliest.")
        return self._times.finish()


@final
class _Times:
    """Blocks of times: numbers as they are kept, texts as they came."""

    def __init__(self) -> None:
        self.kinds: set[Any] = set()
        self.missing = 0
        self._numbers, self._texts = Growing(np.int64), list[Any]()

    def add(self, column: Any) -> None:
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            self.kinds.add(chunk.type)
            self.missing += chunk.null_count
            if _has_numbers(chunk.type):
                self._numbers.add(_whole(chunk))
            else:
                self._texts.append(chunk)

    def finish(self) -> Times:
        return _ranks(self._texts) if self._texts else self._numbers.joined()


def _has_numbers(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_temporal(kind))


def _whole(chunk: Any) -> Times:
    """Microseconds of dates, and thousandths of what has a fraction."""
    if pa.types.is_temporal(chunk.type):
        filled = pc.cast(chunk, pa.timestamp("us"), safe=False).cast(pa.int64())
    elif pa.types.is_integer(chunk.type):
        filled = chunk.cast(pa.int64())
    else:
        filled = pc.cast(pc.multiply(chunk, 1e3), pa.int64(), safe=False)
    return np.asarray(pc.fill_null(filled, EARLIEST), np.int64)


def _ranks(chunks: list[Any]) -> Times:
    texts = pa.chunked_array([chunk.cast(pa.string()) for chunk in chunks])
    ranks = pc.rank(texts, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    ranks[np.asarray(pc.is_null(texts))] = EARLIEST
    return ranks
