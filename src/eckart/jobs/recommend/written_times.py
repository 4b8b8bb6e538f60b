"""Times as they are written: numbers, ISO 8601, and the ways of spreadsheets where one fits."""

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import compute

from eckart.errors import MatrixError
from eckart.storage.text.cells import MISSING, numbers

pc: Final[Any] = compute  # its functions are made when it is imported, which no type checker sees
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
        source: The table, for messages.

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
