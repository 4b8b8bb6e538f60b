"""Ids in the canonical form in which they are compared, and their coding by numbers."""

from collections.abc import Iterable, Sized
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.errors import MatrixError
from eckart.files.columns import plain_values
from eckart.recommend.chunked import Column, Growing, pc, take

WHOLE: Final = r"^(0|-?[1-9][0-9]*)(\.0)?$"
"""Text of a whole number without leading zeros, which the number would not give back."""
PLAIN: Final = "Give a list of numbers or of text."
CONVERT: Final = "Convert them to text or to whole numbers."
GAPS: Final = ("NAType", "NaTType")
"""Names of the classes of missing values in pandas; by name, so that pandas is not imported."""


def column_of(values: Column, what: str = "ids") -> tuple[Column, bool]:
    """A column as an Arrow array, and whether it holds whole numbers beyond 64 bits, as text."""
    if isinstance(values, pa.ChunkedArray | pa.Array):
        return values, False
    # a text is iterable, but its characters are not ids
    is_one = isinstance(values, str | bytes) or getattr(values, "ndim", 1) == 0
    if is_one or not isinstance(values, Iterable):
        raise _bad(f"The {what} are {type(values).__name__}, which is no column.", what)
    listed = values if isinstance(values, Sized) else list(values)
    try:
        return pa.array(listed), False
    # Arrow has no whole numbers beyond 64 bits: such ids are held as text
    except OverflowError:
        texts = [str(one) for one in listed if isinstance(one, int)]
        if len(texts) == len(listed):
            return pa.array(texts), True
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError):
        pass  # several types, or one that Arrow does not know
    return _one_by_one(list(listed), what), False


def _one_by_one(listed: list[Any], what: str) -> Column:
    """A column that Arrow refuses: values with missing ones, or NumPy scalars, are converted."""
    filled = [None if _is_gap(one) else one for one in listed]
    given = [one for one in filled if one is not None]
    try:
        # pandas marks missing values by objects of its own, which Arrow does not know
        if len(given) < len(listed):
            return pa.array(filled)
        if all(isinstance(one, np.generic) for one in given):
            return pa.array(np.asarray(given))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    if any(isinstance(one, str) and _broken(one) for one in given):
        raise _bad(f"The {what} hold text with half of a character in it.", what)
    kinds = sorted({type(one).__name__ for one in given})
    if len(kinds) > 1:
        raise MatrixError(
            f"The {what} are of several types: {', '.join(kinds)}.",
            hint=CONVERT,
            code=f"mixed-{what.partition(' ')[0]}",
        )
    raise _bad(f"The {what} are of the type {kinds[0]}.", what)


def canonical(ids: Column) -> Column:
    """Ids as whole numbers (int64 or uint64) if all of them are whole numbers, else as text.

    A float or a decimal that is whole becomes that number, also among others that are not whole;
    times are written without trailing zeros, so that their unit does not matter.

    Example:
        >>> canonical(pa.array([12.0, 7.0])).to_pylist()
        [12, 7]
        >>> canonical(pa.array([12.0, 0.5])).to_pylist()
        ['12', '0.5']
    """
    kind = ids.type
    if pa.types.is_integer(kind) or pa.types.is_string(kind):
        return ids
    if pa.types.is_floating(kind):
        return _of_floats(ids)
    if isinstance(kind, pa.UuidType):
        return plain_values(ids)
    if pa.types.is_time(kind) or pa.types.is_timestamp(kind) or pa.types.is_decimal(kind):
        # without zeros at the end, since Arrow writes as many digits as the unit has
        texts = pc.replace_substring_regex(ids.cast(pa.string()), r"(\.\d*?)0+(Z?)$", r"\1\2")
        texts = pc.replace_substring_regex(texts, r"\.(Z?)$", r"\1")
        return as_whole(texts)[0] if pa.types.is_decimal(kind) else texts
    plain = isinstance(kind, pa.BaseExtensionType) or pa.types.is_duration(kind)
    try:
        if not plain:
            return ids.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # bytes that are no text, or a type that has none
    raise _bad(f"The ids are of the type {kind}, which cannot be written as text.")


def _of_floats(ids: Column) -> Column:
    numbers = ids.to_numpy(zero_copy_only=False)
    if not np.isfinite(numbers).all():
        raise _bad("An id is infinite, or no number.", hint="Leave out its rows.")
    whole = numbers == np.rint(numbers)
    # above 2^(bits of the mantissa + 1) a float stands for several whole numbers
    sure = 2.0 ** (np.finfo(numbers.dtype).nmant + 1)
    if (np.abs(numbers[whole]) >= sure).any():
        first = numbers[whole & (np.abs(numbers) >= sure)][0]
        raise _bad(
            f"An id is {first:.17g}, and a float of that size stands for several whole numbers.",
            hint="Give ids as whole numbers or as text.",
        )
    if whole.all():
        return pa.array(numbers.astype(np.int64))
    texts = ids.cast(pa.string()).to_pylist()
    named = zip(whole, numbers, texts, strict=True)
    return pa.array([str(int(one)) if is_whole else text for is_whole, one, text in named])


def as_whole(texts: Column) -> tuple[Column, bool]:
    """Texts as 64-bit numbers if all of them are, and whether they are longer whole numbers."""
    if not pc.all(pc.match_substring_regex(texts, WHOLE)).as_py():
        return texts, False
    texts = without_points(texts)
    try:
        return texts.cast(pa.int64()), False
    except pa.ArrowInvalid:
        return texts, True


def without_points(texts: Column) -> Column:
    """Texts with `12` for `12.0`, which is how a table of floats is written as text."""
    return pc.replace_substring_regex(texts, r"^\s*(0|-?[1-9][0-9]*)(\.0)?\s*$", r"\1")


def all_of(ids: Column) -> Column:
    """Several ids as one column, of one type or of several; equal ids are written alike.

    Example:
        >>> all_of([1, "a", 2.0]).to_pylist()
        ['1', 'a', '2']
    """
    try:
        column = column_of(ids)[0]
    except MatrixError as error:
        if error.code != "mixed-ids":
            raise
        # each id by its own type, so that 2 and 2.0 are one id
        texts = [canonical(column_of([one])[0]).cast(pa.string()) for one in ids]
        return pa.concat_arrays(texts)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    gaps = np.flatnonzero(np.asarray(pc.is_null(column, nan_is_null=True)))
    if len(gaps):
        raise MatrixError(
            f"Id {gaps[0] + 1} of those that were asked for is missing.",
            hint="Leave out rows without one.",
            code="missing-id",
        )
    if pa.types.is_nested(column.type):
        raise _bad(f"Each id is a {column.type}, not one number or text.")
    return canonical(column)


def _is_gap(one: object) -> bool:
    return one is None or type(one).__name__ in GAPS or (isinstance(one, float) and one != one)


def _broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _bad(message: str, what: str = "ids", hint: str = PLAIN) -> MatrixError:
    return MatrixError(message, hint=hint, code=f"bad-{what.partition(' ')[0]}")


Codes: TypeAlias = npt.NDArray[np.int32]
FEW: Final = 2**20
"""Ids of blocks that are collected at least before they are looked up among all known ids."""


@final
class Encoder:
    """The distinct ids of a column that comes in blocks, and the code of each of its entries.

    Each block is coded on its own, and its distinct ids are collected until there are as many as
    are known already; then all of them are looked up at once. So every id is looked up about twice.

    Cost:
        4 bytes for each entry, and twice the memory of the distinct ids.

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
        self._known: Column = None
        self._waiting: list[tuple[Codes, Column]] = []
        self.large = False

    def add(self, values: Column) -> None:
        """Add a column, of the same type as those before it."""
        column, large = column_of(values)
        # one block with numbers beyond 64 bits makes the whole column text
        self.large |= large
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            coded = self._encode(chunk)
            self._waiting.append((self._codes.add(np.asarray(coded.indices)), coded.dictionary))
        known = 0 if self._known is None else len(self._known)
        if sum(len(ids) for _, ids in self._waiting) > max(FEW, known):
            self._settle()

    def finish(self) -> tuple[Column, Codes]:
        """The distinct ids as an Arrow array, and the codes; this object is empty afterwards."""
        self._settle()
        distinct = pa.array([], pa.string()) if self._known is None else self._known
        return distinct, self._codes.join()

    def _encode(self, chunk: Column) -> Column:
        """A dictionary array of a chunk, without missing ids and without unused categories."""
        chunk = self._plain(chunk)
        if pa.types.is_nested(chunk.type) or pa.types.is_fixed_size_binary(chunk.type):
            raise _bad(f"Each {self._what} is a {chunk.type}, not one number or text.")
        if pa.types.is_dictionary(chunk.type):
            # categories of pandas and of Parquet are coded already
            if not _has_unused(chunk):
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

    def _plain(self, chunk: Column) -> Column:
        """An array of an extension type or of bytes as an array of plain values or text."""
        kind = chunk.type
        if isinstance(kind, pa.BaseExtensionType) and kind.extension_name.startswith("pandas."):
            # refused there: a period is stored as a number, which is not its name
            return canonical(chunk)
        try:
            return plain_values(chunk)
        except pa.ArrowInvalid as error:
            message = f"Each {self._what} is of bytes, and some are no text."
            raise _bad(message, hint=CONVERT) from error

    def _settle(self) -> None:
        """Look up the collected ids, and replace the codes of their entries."""
        if not self._waiting:
            return
        parts = [] if self._known is None else [self._known]
        first = sum(len(part) for part in parts)
        parts += [ids for _, ids in self._waiting]
        together = pa.concat_arrays(parts).dictionary_encode()
        code = np.asarray(together.indices)
        for codes, ids in self._waiting:
            take(code[first : first + len(ids)], codes, out=codes)
            first += len(ids)
        self._known = together.dictionary
        self._waiting = []


def _has_unused(coded: Column) -> bool:
    """Whether a dictionary array has missing values, or categories that no entry has."""
    words = coded.dictionary
    # a dictionary of floats may hold NaN, which is missing but no null
    if coded.null_count or words.null_count or pa.types.is_floating(words.type):
        return True
    used = np.zeros(len(words), np.bool_)
    used[np.asarray(coded.indices)] = True
    return not bool(used.all())
