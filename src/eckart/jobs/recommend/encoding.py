"""Ids coded by numbers in the order in which they first appear, a block at a time."""

from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from eckart.errors import MatrixError
from eckart.jobs.recommend.blockwise import taken
from eckart.jobs.recommend.growing import Growing
from eckart.jobs.recommend.ids import canonical
from eckart.storage.columns import plain_values

Codes: TypeAlias = npt.NDArray[np.int32]
pc: Final[Any] = compute  # its functions are made when it is imported, which no type checker sees
FEW: Final = 2**20
"""Ids of blocks that wait at least until they are looked for among all ids."""


@final
class Encoder:
    """The distinct ids of a column that comes in blocks, and the code of each of its entries.

    Blocks are coded on their own, and their distinct ids wait until there are as many as are known
    already; then they are looked for among those at once. So every id is looked for about twice.

    Cost:
        4 bytes for each entry, and twice the distinct ids.

    Example:
        >>> encoder = Encoder("user")
        >>> encoder.add(pa.array(["b", "a"]))
        >>> encoder.add(pa.array(["a", "c"]))
        >>> distinct, codes = encoder.finish()
        >>> distinct.to_pylist(), codes.tolist()
        (['b', 'a', 'c'], [0, 1, 1, 2])
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._codes = Growing(np.int32)
        self._known: Any = None
        self._waiting: list[tuple[Codes, Any]] = []

    def add(self, column: Any) -> None:
        """Take an Arrow array, of the same type as those before it.

        Raises:
            MatrixError: If an id is missing, or is a list.
        """
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            coded = self._coded(chunk)
            self._waiting.append((self._codes.add(np.asarray(coded.indices)), coded.dictionary))
        known = 0 if self._known is None else len(self._known)
        if sum(len(ids) for _, ids in self._waiting) > max(FEW, known):
            self._settle()

    def finish(self) -> tuple[Any, Codes]:
        """The distinct ids as an Arrow array, and the codes; nothing is kept here."""
        self._settle()
        distinct = pa.array([], pa.string()) if self._known is None else self._known
        return distinct, self._codes.joined()

    def _coded(self, chunk: Any) -> Any:
        """A dictionary array without a missing id, and without a category that no entry has."""
        chunk = self._plain(chunk)
        if pa.types.is_nested(chunk.type) or pa.types.is_fixed_size_binary(chunk.type):
            raise MatrixError(
                f"Each {self._what} is a {chunk.type}, not one number or text.",
                hint="Give a list of numbers or of text.",
                code="bad-ids",
            )
        if pa.types.is_dictionary(chunk.type):
            if not _has_more(chunk):
                return chunk
            chunk = chunk.dictionary_decode()
        gaps = np.asarray(pc.is_null(chunk, nan_is_null=True))
        if gaps.any():
            row = len(self._codes) + int(np.argmax(gaps)) + 1
            raise MatrixError(
                f"Row {row} has no {self._what}.",
                hint="Leave out rows without one.",
                code="missing-id",
            )
        return chunk.dictionary_encode()

    def _plain(self, chunk: Any) -> Any:
        """An array of an extension type or of bytes as one of values or text.

        Raises:
            MatrixError: If the bytes are no text.
        """
        kind = chunk.type
        if isinstance(kind, pa.BaseExtensionType) and kind.extension_name.startswith("pandas."):
            return canonical(chunk)  # refused: the number that a period is kept as is no name of it
        try:
            return plain_values(chunk)
        except pa.ArrowInvalid as error:
            raise MatrixError(
                f"Each {self._what} is of bytes, and some are no text.",
                hint="Convert them to text or to whole numbers.",
                code="bad-ids",
            ) from error

    def _settle(self) -> None:
        """Give the ids that wait their codes, and the entries that have them."""
        if not self._waiting:
            return
        parts = [] if self._known is None else [self._known]
        first = sum(len(part) for part in parts)
        parts += [ids for _, ids in self._waiting]
        together = pa.concat_arrays(parts).dictionary_encode()
        code = np.asarray(together.indices)
        for codes, ids in self._waiting:
            taken(code[first : first + len(ids)], codes, out=codes)
            first += len(ids)
        self._known = together.dictionary
        self._waiting = []


def _has_more(coded: Any) -> bool:
    """Whether a dictionary array has gaps, or words that none of its entries is."""
    words = coded.dictionary
    if coded.null_count or words.null_count or pa.types.is_floating(words.type):
        return True
    used = np.zeros(len(words), np.bool_)
    used[np.asarray(coded.indices)] = True
    return not bool(used.all())
