"""The rank rule that follows from the arguments of a user."""

import math

import numpy as np

from eckart.arguments import check_whole
from eckart.errors import ArgumentError
from eckart.ranks.noise import AboveThreshold, NoiseThreshold
from eckart.ranks.rules import GivenRank, RankRule, WithinBytes, WithinTolerance, check_open_unit


def rank_rule(
    rank: int | str | AboveThreshold | None,
    tolerance: float | None,
    budget: int | str | None,
    ratio: float | None,
    nbytes: int,
) -> RankRule:
    """Return the rule for exactly one of four ways to choose the rank.

    Args:
        rank: Number of columns of B, "auto", or a threshold for the singular values.
        tolerance: Largest relative error.
        budget: Bytes of the factors, or text such as "10MB".
        ratio: Bytes of the factors as a share of the bytes of W.
        nbytes: Bytes of W.

    Raises:
        ArgumentError: If none or more than one is given, or the one given is out of its range.
    """
    given = [way for way in (rank, tolerance, budget, ratio) if way is not None]
    if len(given) != 1:
        raise ArgumentError(
            f"{len(given) or 'None'} of rank, tolerance, budget and ratio "
            f"{'is' if len(given) < 2 else 'are'} given.",
            hint="Give exactly one of the four.",
            code="rank-not-chosen" if not given else "rank-chosen-twice",
        )
    if tolerance is not None:
        return WithinTolerance(tolerance)
    if budget is not None:
        return WithinBytes(byte_count(budget))
    if ratio is not None:
        check_open_unit("ratio", ratio)
        # at least 1 byte, so that the error names the bytes that rank 1 takes
        return WithinBytes(max(1, int(ratio * nbytes)))
    if isinstance(rank, AboveThreshold):
        return rank
    # isinstance first: an array compared with a string gives an array
    return NoiseThreshold() if isinstance(rank, str) and rank == "auto" else GivenRank(_whole(rank))


def byte_count(text: int | str) -> int:
    """Return the number of bytes that text such as "10MB", "2GiB" or "4096" names.

    Raises:
        ArgumentError: If the text is not a number of bytes.

    Example:
        >>> byte_count("10MB"), byte_count("2 KiB")
        (10000000, 2048)
    """
    if not isinstance(text, str):
        return check_whole("number of bytes", text)
    number = text.strip().rstrip("BbIiKkMmGgTt ")
    unit = text.strip()[len(number) :].strip().lower()
    scales = {"": 1, "b": 1}
    for power, letter in enumerate("kmgt", start=1):
        scales |= {
            letter: 1000**power,
            f"{letter}b": 1000**power,
            f"{letter}ib": 1024**power,
        }
    try:
        size = float(number) * scales[unit]
    except (ValueError, KeyError):
        size = math.nan
    if not math.isfinite(size):
        raise ArgumentError(
            f"'{text}' is not a number of bytes.",
            hint="Write it like 10MB or 512KiB.",
            code="bad-bytes",
        )
    return int(size)


def _whole(rank: int | str | None) -> int:
    # True is an int in Python, and no rank
    if isinstance(rank, int | np.integer) and not isinstance(rank, bool):
        return int(rank)
    raise ArgumentError(
        f"The rank is {rank!r}.", hint='Give a whole number, or "auto".', code="rank-not-whole"
    )
