"""Times of any type and notation, as whole numbers of one unit."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.errors import MatrixError
from eckart.files.columns import plain_values
from eckart.files.text.cells import MISSING, numbers
from eckart.recommend.chunked import Column, Growing, pc
from eckart.recommend.columns import naming
from eckart.recommend.ids import column_of

Times: TypeAlias = npt.NDArray[np.int64]
EARLIEST: Final = np.iinfo(np.int64).min
"""The time of entries without a time, so that they count as earliest."""
DIGITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}
"""Decimal digits of a second, by Arrow's names of the units."""
UNITS: Final = ("seconds", "milliseconds", "microseconds", "nanoseconds")
"""Names of the units in the order of `DIGITS`, for messages."""
LAST: Final = 253_402_300_800
"""Seconds from 1970 to the year 10000: larger numbers are in a smaller unit."""
FIRST: Final = 10**8
"""Seconds from 1970 to 1973: if all numbers are smaller, they do not count from 1970."""
WRITTEN: Final = ((190_001_010_000, 210_012_312_359), (19_000_101_000_000, 21_001_231_235_959))
"""Ranges of dates that are written as digits, such as 202406011230 and 20240601123000."""
MOST: Final = 2.0**62
"""Size up to which times are scaled to hold more digits, within the range of int64."""


@final
@dataclass(frozen=True, slots=True)
class Clock:
    """The unit and the origin of times.

    Fields:
        dated: Whether they count from 1970; otherwise they are numbers with an order of their own.
        digits: Decimal digits behind the point, of seconds or of those numbers.
    """

    dated: bool
    digits: int


def plain_times(chunk: Column, source: str) -> Column:
    """Convert an Arrow array of times to whole numbers, floats, text, timestamps or durations."""
    chunk = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
    kind, types = chunk.type, pa.types
    kept = (types.is_integer, types.is_string, types.is_timestamp, types.is_duration)
    if any(is_it(kind) for is_it in kept):
        return chunk
    if types.is_floating(kind) or types.is_decimal(kind):
        return chunk.cast(pa.float64())
    if types.is_date(kind):
        return chunk.cast(pa.timestamp("ms"))
    if types.is_null(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return chunk.cast(pa.string())
    if types.is_binary(kind) or types.is_large_binary(kind):
        return plain_values(chunk)
    what = "times of day without a date" if types.is_time(kind) else f"of the type {kind}"
    raise MatrixError(
        f"The times of {source} are {what}, so which is later is not known.",
        hint=f"Leave that column out, or name one of dates or numbers: {naming('time')}.",
        code="no-times",
    )


def set_clock(numbers: npt.NDArray[Any], kind: Any, source: str) -> tuple[Times, Clock | None]:
    """Times as whole numbers, and their clock; the clock is None if all times are missing.

    Numbers are seconds, milliseconds, microseconds or nanoseconds from 1970, judged by their size,
    or numbers with an order of their own if all are below 10⁸.

    Example:
        >>> times, clock = set_clock(np.array([1.5, np.nan]), pa.float64(), "the table")
        >>> times[0] == 1.5 * 10**clock.digits, clock.dated
        (np.True_, False)
    """
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        clock = Clock(dated=pa.types.is_timestamp(kind), digits=DIGITS[kind.unit])
        return numbers, clock if (numbers != EARLIEST).any() else None
    wide = numbers.dtype != np.int64
    gaps = np.isnan(numbers) if wide else numbers == EARLIEST
    known = numbers[~gaps]
    if not len(known):
        return np.full(len(numbers), EARLIEST), None
    digits, more, largest = _unit(known, source), 0, float(np.abs(known).max())
    if wide:
        # as many digits behind the point as 64 bits hold
        more = 18 if largest <= 1 else int(np.floor(np.log10(MOST / largest)))
        numbers = np.full(len(gaps), EARLIEST)
        numbers[~gaps] = np.rint(known * 10.0**more).astype(np.int64)
    # dates that are written as digits
    if any(low <= known.min() and known.max() <= high for low, high in WRITTEN):
        return numbers, Clock(dated=False, digits=more)
    return numbers, Clock(dated=digits > 0 or largest >= FIRST, digits=digits + more)


def _unit(known: npt.NDArray[Any], source: str) -> int:
    """The decimal digits of a second in the unit of the times, by the largest of them."""
    sizes = np.abs(known)
    largest = sizes.max()
    digits = next((digits for digits in DIGITS.values() if largest < LAST * 10.0**digits), None)
    if digits is None:
        raise _too_large(source)
    # small numbers may be early times of any unit: only dates after 1973 tell another unit
    others = (sizes >= FIRST) & (sizes < LAST * 10.0 ** (digits - 3))
    if digits and others.any():
        raise MatrixError(
            f"The times of {source} are in several units: {known[others][0]:.17g}, and "
            f"{known[sizes == largest][0]:.17g}, which are {UNITS[digits // 3]}.",
            hint="Give all in the same unit, or as dates such as 2024-06-01 12:30:00.",
            code="mixed-times",
        )
    return digits


def comparable(old: Clock | None, new: Clock | None) -> bool:
    """Whether the times of two tables can be compared."""
    return old is not None and new is not None and old.dated == new.dated


def join_times(
    old: tuple[Times, Clock] | None, new: tuple[Times, Clock] | None, counts: tuple[int, int]
) -> tuple[Times | None, Clock | None]:
    """Concatenate the times of two tables; those that cannot be compared count as later.

    `counts` are the numbers of their entries. The common unit has the larger number of digits of
    the two, or as many as fit into 64 bits.
    """
    if old is None:
        # the history has no times: everything new is later
        return (None, None) if new is None else (
            np.concatenate([np.full(counts[0], EARLIEST), new[0]]), new[1]
        )  # fmt: skip
    if new is None or not comparable(old[1], new[1]):
        # without times all new entries count as equally late; ranks keep the order of others
        later = np.zeros(counts[1], np.int64)
        if new is not None:
            later = np.unique(new[0], return_inverse=True)[1].astype(np.int64)
        return np.concatenate([old[0], old[0].max() + 1 + later]), old[1]
    digits = max(clock.digits for _, clock in (old, new))
    sizes = [(_largest(times), clock.digits) for times, clock in (old, new)]
    # in float64, since the product could overflow in int64
    while any(size * 10.0 ** (digits - own) >= MOST * 2 for size, own in sizes):
        digits -= 1
    moved = [_scale(times, digits - clock.digits) for times, clock in (old, new)]
    return np.concatenate(moved), Clock(dated=old[1].dated, digits=digits)


def _largest(times: Times) -> float:
    known = times[times != EARLIEST]
    return float(np.abs(known.astype(np.float64)).max()) if len(known) else 0.0


def _scale(times: Times, digits: int) -> Times:
    gaps = times == EARLIEST
    moved = times * 10**digits if digits >= 0 else times // 10**-digits
    # scaling would have made another time of the marker
    moved[gaps] = EARLIEST
    return moved


def _too_large(source: str) -> MatrixError:
    return MatrixError(
        f"A time of {source} is too large for one in nanoseconds.",
        hint="Give seconds or milliseconds from 1970, or dates such as 2024-06-01 12:30:00.",
        code="bad-times",
    )


DATES: Final = ("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%Y-%m-%d",
                "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d-%b-%Y", "%m %d, %Y", "%Y-%m",
                "%m/%d/%y", "%d/%m/%y", "%y/%m/%d", "%d.%m.%y", "%m-%d-%y", "%d-%m-%y", "%y-%m-%d",
                "%d-%b-%y")  # fmt: skip
CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
"""Times of day that may follow a date."""
FIRST_YEAR: Final = 1000
"""The first year that a date may have: `%Y` also reads two digits, as in the first century."""
NOTHING: Final = (*sorted(MISSING), "NaT")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_times(texts: Column, source: str) -> Column:
    """Parse text as whole numbers, floats or timestamps; a time without a zone is in UTC.

    Example:
        >>> str(parse_times(pa.array(["31.12.2020 10:00"]), "the table")[0])
        '2020-12-31 10:00:00'
    """
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(texts, value_set=pa.array(NOTHING))
    texts = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
    # whole numbers first: float64 rounds nanoseconds
    for kind in (pa.int64(), pa.float64()):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    # each distinct text is parsed once
    coded = texts.dictionary_encode()
    words = _with_zones(coded.dictionary)
    moments = _iso(words)
    if moments is None:
        moments = _as_in_spreadsheets(words, source)
    if moments is None:
        raise _no_time(texts, coded.dictionary, source)
    return moments.take(coded.indices)


def _iso(words: Column) -> Column:
    """Texts in ISO 8601 as timestamps in nanoseconds; None if one has another form."""
    try:
        return words.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        pass  # another form, a zone, or a year far away
    found = [_moment(word) for word in words.to_pylist()]
    if any(one is None for one in found):
        return None
    ticks = np.array(found, object)
    # nanoseconds in 64 bits end in 1677 and 2262: microseconds beyond
    digits = 9 if all(abs(one) < 2**63 for one in found if one is not None) else 6
    scaled = ticks if digits == 9 else ticks // 1000
    return pa.array(scaled.astype(np.int64), pa.timestamp("ns" if digits == 9 else "us"))


def _with_zones(words: Column) -> Column:
    """Texts with the zone Z in place of UTC or GMT."""
    return pc.replace_substring_regex(words, r"\s*(?:UTC|GMT)$", "Z")


def _moment(word: str) -> int | None:
    """Nanoseconds from 1970 of one text in ISO 8601, or None; all nine digits are kept."""
    # apart, because `datetime` keeps microseconds only
    head, point, rest = word.replace(",", ".", 1).partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if point else ""
    try:
        moment = datetime.fromisoformat(head + rest[len(digits) :])
    except ValueError:
        return None
    # more digits than nanoseconds would be lost without a word
    if point and (not digits or len(digits) > 9):
        return None
    # the zone of the machine must not change the result
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    past = moment - EPOCH
    return (past.days * 86_400 + past.seconds) * 10**9 + int(digits.ljust(9, "0") or 0)


def _as_in_spreadsheets(words: Column, source: str) -> Column:
    """Timestamps by the only notation of spreadsheets that fits all texts; None if none fits."""
    found: dict[str, Any] = {}
    for date in DATES:
        for clock in CLOCKS:
            try:
                moments = pc.strptime(words, date + clock, unit="s")
            except pa.ArrowInvalid:
                continue
            if pc.min(pc.year(moments)).as_py() >= FIRST_YEAR:
                found[date + clock] = moments
    ways = list(found.items())
    # several notations may fit, such as 5/5/2020, as long as they give the same times
    for way, other in ways[1:]:
        if not other.equals(ways[0][1]):
            raise MatrixError(
                f"The times of {source} can be read in two ways, {ways[0][0]} and {way}: such as "
                f"{words[0]}.",
                hint="Write them as 2024-06-01 12:30:00, or as numbers.",
                code="ambiguous-times",
            )
    return ways[0][1] if ways else None


def _no_time(texts: Column, words: Column, source: str) -> MatrixError:
    """The error that names the first text that is no time, or no number if most are numbers."""
    found, strange = numbers(texts)
    among_numbers = len(found) - found.null_count > (pc.sum(strange).as_py() or 0)
    if among_numbers:
        odd = texts.filter(strange)[0].as_py()
    else:
        named = zip(words.to_pylist(), _with_zones(words).to_pylist(), strict=True)
        odd = next((word for word, iso in named if _moment(iso) is None), words[0].as_py())
    row = int(np.argmax(np.asarray(pc.fill_null(pc.equal(texts, odd), False)))) + 1
    return MatrixError(
        f"Row {row} of {source} has the time '{odd[:40]}', and not all times are written in one "
        "way that is known.",
        hint="Write them as 2024-06-01 12:30:00 or as numbers, or leave that column out.",
        code="no-times",
    )


@final
class TimeBlocks:
    """Blocks of times: numbers in their final type, texts as they were read."""

    def __init__(self, source: str) -> None:
        self.kinds: set[Any] = set()
        self._source = source
        self._numbers = {np.int64: Growing(np.int64), np.float64: Growing(np.float64)}
        self._texts = list[Any]()

    def add(self, values: Column) -> None:
        """Add the times of a block."""
        try:
            # dates and missing values of NumPy and pandas are none of Arrow
            column = column_of(values, "times")[0]
        except MatrixError as error:
            raise MatrixError(
                f"The column of times of {self._source} cannot be read: {error.message}",
                hint=f"Name another: {naming('time')}.",
                code="not-numbers",
            ) from error
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            plain = plain_times(chunk, self._source)
            self.kinds.add(plain.type)
            if pa.types.is_string(plain.type):
                self._texts.append(plain)
                continue
            if not pa.types.is_floating(plain.type):
                try:
                    plain = pc.fill_null(plain.cast(pa.int64()), EARLIEST)
                except pa.ArrowInvalid as error:
                    raise _too_large(self._source) from error
            numbers = plain.to_numpy(zero_copy_only=False)
            self._numbers[numbers.dtype.type].add(numbers)

    def finish(self) -> tuple[Times, Clock | None]:
        """All times as whole numbers, and their clock."""
        if self._texts:
            texts = pa.chunked_array(self._texts, pa.string()).combine_chunks()
            # parsed together: one notation has to fit the whole column
            read = TimeBlocks(self._source)
            read.add(parse_times(texts, self._source))
            return read.finish()
        (kind,) = self.kinds
        of = np.float64 if pa.types.is_floating(kind) else np.int64
        return set_clock(self._numbers[of].join(), kind, self._source)
