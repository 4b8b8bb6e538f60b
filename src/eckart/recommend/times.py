"""Times of any kind, however they are written, in one unit of whole numbers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from eckart.errors import MatrixError
from eckart.files.columns import plain_values
from eckart.files.text.cells import MISSING, numbers
from eckart.recommend.columns import naming

Times: TypeAlias = npt.NDArray[np.int64]
pc: Final[Any] = compute  # its functions are created at import, which no type checker sees
EARLIEST: Final = np.iinfo(np.int64).min
"""The time of what has none."""
DIGITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}
UNITS: Final = ("seconds", "milliseconds", "microseconds", "nanoseconds")
LAST: Final = 253_402_300_800
"""Seconds from 1970 to the year 10000: a number beyond is in a smaller unit."""
FIRST: Final = 10**8
"""Seconds from 1970 to 1973: numbers below do not count from 1970."""
WRITTEN: Final = ((190_001_010_000, 210_012_312_359), (19_000_101_000_000, 21_001_231_235_959))
"""Numbers such as 202406011230 and 20240601123000: dates without signs, in their order."""
MOST: Final = 2.0**62


@final
@dataclass(frozen=True, slots=True)
class Clock:
    """What times count.

    Fields:
        dated: Whether from 1970; else they are numbers in their own order.
        digits: Decimal digits behind the point that they have, of seconds or of those numbers.
    """

    dated: bool
    digits: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {"dated": self.dated, "digits": self.digits}


def plain_times(chunk: Any, source: str) -> Any:
    """An Arrow array of times as whole numbers, floats, text, moments or durations.

    Raises:
        MatrixError: If it holds something else.
    """
    chunk = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
    kind, types = chunk.type, pa.types
    if types.is_integer(kind) or types.is_string(kind):
        return chunk
    if types.is_floating(kind) or types.is_decimal(kind):
        return chunk.cast(pa.float64())
    if types.is_timestamp(kind) or types.is_duration(kind):
        return chunk
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


def numbers_in(chunk: Any, source: str) -> npt.NDArray[Any]:
    """Plain times that are no text as int64 or float64; what is missing is `EARLIEST` or NaN.

    Raises:
        MatrixError: If a number is too large.
    """
    if pa.types.is_floating(chunk.type):
        return chunk.to_numpy(zero_copy_only=False)
    try:
        filled = pc.fill_null(chunk.cast(pa.int64()), EARLIEST)
    except pa.ArrowInvalid as error:
        raise _too_large(source) from error
    return filled.to_numpy(zero_copy_only=False)


def clocked(numbers: npt.NDArray[Any], kind: Any, source: str) -> tuple[Times, Clock | None]:
    """Times as whole numbers, and what they count; None where all are missing.

    Numbers are seconds, milliseconds, microseconds or nanoseconds from 1970 by their size, or in
    their own order where all are below 10⁸.

    Args:
        numbers: What `numbers_in` gave.
        kind: The Arrow type that they had.
        source: Name of the table, for messages.

    Raises:
        MatrixError: If they are in several units, or too large for any.

    Example:
        >>> times, clock = clocked(np.array([1.5, np.nan]), pa.float64(), "the table")
        >>> times[0] == 1.5 * 10**clock.digits, clock.dated
        (np.True_, False)
    """
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        clock = Clock(dated=pa.types.is_timestamp(kind), digits=DIGITS[kind.unit])
        return numbers, clock if (numbers != EARLIEST).any() else None
    if numbers.dtype != np.int64:
        return _of_floats(numbers, source)
    known = numbers[numbers != EARLIEST]
    if not len(known):
        return numbers, None
    digits = _unit(known, source)
    if _is_written(known):
        return numbers, Clock(dated=False, digits=0)
    return numbers, Clock(dated=digits > 0 or int(np.abs(known).max()) >= FIRST, digits=digits)


def _of_floats(numbers: npt.NDArray[np.float64], source: str) -> tuple[Times, Clock | None]:
    """With as many digits behind the point as 64 bits hold."""
    gaps = np.isnan(numbers)
    known = numbers[~gaps]
    if not len(known):
        return np.full(len(numbers), EARLIEST), None
    largest = float(np.abs(known).max())
    digits = _unit(known, source)
    more = 18 if largest <= 1 else int(np.floor(np.log10(MOST / largest)))
    times = np.full(len(numbers), EARLIEST)
    times[~gaps] = np.rint(known * 10.0**more).astype(np.int64)
    if _is_written(known):
        return times, Clock(dated=False, digits=more)
    return times, Clock(dated=digits > 0 or largest >= FIRST, digits=digits + more)


def _is_written(known: npt.NDArray[Any]) -> bool:
    """Whether all are dates that are written as a number."""
    first, last = known.min(), known.max()
    return any(low <= first and last <= high for low, high in WRITTEN)


def _unit(known: npt.NDArray[Any], source: str) -> int:
    """The digits of a second that numbers count, by the largest.

    Raises:
        MatrixError: If others look like another unit, or no unit is that small.
    """
    sizes = np.abs(known)
    largest = sizes.max()
    digits = next((digits for digits in DIGITS.values() if largest < LAST * 10.0**digits), None)
    if digits is None:
        raise _too_large(source)
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
    """Whether times of two tables can be held against each other."""
    return old is not None and new is not None and old.dated == new.dated


def together(old: tuple[Times, Clock], new: tuple[Times, Clock]) -> tuple[Times, Clock]:
    """Times of two tables, that are comparable, one behind the other.

    They have the more digits of the two, or as many as fit into 64 bits.
    """
    digits = max(clock.digits for _, clock in (old, new))
    sizes = [(_largest(times), clock.digits) for times, clock in (old, new)]
    while any(size * 10.0 ** (digits - own) >= MOST * 2 for size, own in sizes):
        digits -= 1
    moved = [_scaled(times, digits - clock.digits) for times, clock in (old, new)]
    return np.concatenate(moved), Clock(dated=old[1].dated, digits=digits)


def behind(old: tuple[Times, Clock], new: Times) -> tuple[Times, Clock]:
    """Times of one table, and of another that cannot be compared with them: all of it is later."""
    ranks = np.unique(new, return_inverse=True)[1].astype(np.int64)
    return np.concatenate([old[0], old[0].max() + 1 + ranks]), old[1]


def _largest(times: Times) -> float:
    known = times[times != EARLIEST]
    return float(np.abs(known.astype(np.float64)).max()) if len(known) else 0.0


def _scaled(times: Times, digits: int) -> Times:
    gaps = times == EARLIEST
    moved = times * 10**digits if digits >= 0 else times // 10**-digits
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
FIRST_YEAR: Final = 1000
"""Of years in full: `%Y` also takes two digits, for a year of the first century."""
NOTHING: Final = (*sorted(MISSING), "NaT")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parsed(texts: Any, source: str) -> Any:
    """Text as whole numbers, floats or nanoseconds from 1970; without a zone it is UTC.

    Args:
        texts: An Arrow array of text; what is empty, or a word such as NA, is missing.
        source: Name of the table, for messages.

    Raises:
        MatrixError: If a text is no time, or they can be read in two ways.

    Example:
        >>> str(parsed(pa.array(["31.12.2020 10:00"]), "the table")[0])
        '2020-12-31 10:00:00'
    """
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(texts, value_set=pa.array(NOTHING))
    texts = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
    for kind in (pa.int64(), pa.float64()):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    coded = texts.dictionary_encode()
    words = _with_zones(coded.dictionary)
    moments = _iso(words)
    if moments is None:
        moments = _as_in_spreadsheets(words, source)
    if moments is None:
        raise _no_time(texts, coded.dictionary, source)
    return moments.take(coded.indices)


def _iso(words: Any) -> Any:
    """ISO 8601 as nanoseconds; None where a word is something else."""
    try:
        return words.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        pass  # another form, a zone, or a year far away
    found = [_moment(word) for word in words.to_pylist()]
    if any(one is None for one in found):
        return None
    ticks = np.array(found, object)
    digits = 9 if all(abs(one) < 2**63 for one in found if one is not None) else 6
    scaled = ticks if digits == 9 else ticks // 1000
    return pa.array(scaled.astype(np.int64), pa.timestamp("ns" if digits == 9 else "us"))


def _with_zones(words: Any) -> Any:
    """Text with the zone Z where it is named UTC or GMT."""
    return pc.replace_substring_regex(words, r"\s*(?:UTC|GMT)$", "Z")


def _moment(word: str) -> int | None:
    """Nanoseconds from 1970 of one text of ISO 8601; those that are below microseconds are kept."""
    head, point, rest = word.replace(",", ".", 1).partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if point else ""
    try:
        moment = datetime.fromisoformat(head + rest[len(digits) :])
    except ValueError:
        return None
    if point and (not digits or len(digits) > 9):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    past = moment - EPOCH
    return (past.days * 86_400 + past.seconds) * 10**9 + int(digits.ljust(9, "0") or 0)


def _as_in_spreadsheets(words: Any, source: str) -> Any:
    """Moments by the one way of writing that fits all; None where there is none.

    Raises:
        MatrixError: If two ways fit, and say different things.
    """
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
    for way, other in ways[1:]:
        if not other.equals(ways[0][1]):
            raise MatrixError(
                f"The times of {source} can be read in two ways, {ways[0][0]} and {way}: such as "
                f"{words[0]}.",
                hint="Write them as 2024-06-01 12:30:00, or as numbers.",
                code="ambiguous-times",
            )
    return ways[0][1] if ways else None


def _no_time(texts: Any, words: Any, source: str) -> MatrixError:
    """Names the first text that is no time of the usual form, or no number where most are."""
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
