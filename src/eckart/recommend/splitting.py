"""Splits of interactions into a training part and a test part that the model does not see."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.errors import ArgumentError, MatrixError
from eckart.recommend.chunked import BLOCK, taken
from eckart.recommend.columns import naming
from eckart.recommend.feedback import check_word
from eckart.recommend.interactions import COLUMNS, NOTHING, Interactions

Way: TypeAlias = Literal["random", "last", "users"]
WAYS: Final[tuple[Way, ...]] = ("random", "last", "users")
SHARE: Final = 0.1
"""Share of the interactions, or of the users, in the test part by default."""
HIDDEN: Final = 0.2
"""Share of the items of a held-out user that are hidden, to be predicted from the others."""
FEWEST: Final = 5
"""Items that a user must have to be held out: the hidden fifth is then at least one."""
TRAIN, SHOWN, TEST = range(3)
"""The codes of the parts in `Split.parts`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A training part and a test part over the same ids, without times.

    Fields:
        way: How the split was made: random, last or users.
        train: The interactions that a model is fitted to.
        shown: The interactions of held-out users by which they are folded in; None for other ways.
        test: The interactions that the answers are compared with.
        parts: The part of each entry, as TRAIN, SHOWN or TEST.
        rest: Everything that the parts lack: the times and the notes.
    """

    way: Way
    train: Interactions
    test: Interactions
    shown: Interactions | None
    parts: npt.NDArray[np.uint8]
    rest: Interactions

    @property
    def seen(self) -> Interactions:
        """The known interactions of the tested users, whose items are not recommended again."""
        return self.train if self.shown is None else self.shown

    def joined(self) -> Interactions:
        """The interactions before the split; the whole need not be kept beside the parts."""
        pieces = {TRAIN: self.train, SHOWN: self.shown, TEST: self.test}
        columns: dict[str, npt.NDArray[Any]] = {}
        for name in COLUMNS:
            first = getattr(self.train, name)
            if first is None:
                continue
            columns[name] = np.empty(len(self.parts), first.dtype)
            for part, piece in pieces.items():
                if piece is not None:
                    columns[name][self.parts == part] = getattr(piece, name)
        return replace(self.rest, **columns)


def split(
    data: Interactions, way: Way, *, share: float = SHARE, seed: int = 0, most: int = 10_000
) -> Split:
    """Split interactions into a training part and a test part.

    Args:
        data: The interactions.
        way: "random" takes a share of the entries; "last" the last entries of each user in time, at
            least one of each user who has two; "users" takes whole users, of whose items 80 % are
            shown to the model afterwards and 20 % are hidden.
        share: Share of the entries, or of the users, in the test part.
        seed: Seed of the random choice.
        most: The most users that are held out.

    Raises:
        ArgumentError: If the way is unknown, the share is not between 0 and 1, or there are no
            times for "last".
        MatrixError: If there are too few interactions.

    Example:
        >>> from eckart.recommend.interactions import read_interactions
        >>> data = read_interactions({"user": [1, 1, 1, 2], "item": [1, 2, 3, 1],
        ...                           "time": [3, 2, 1, 0]})
        >>> len(split(data, "last").test)
        1
    """
    check_word("test", way, WAYS)
    if not 0 < share < 1:
        raise ArgumentError(
            f"The share of the test part is {share}.",
            hint="Give a number between 0 and 1, such as 0.1.",
            code="bad-share",
        )
    drawn = np.random.Generator(np.random.Philox(seed))
    if way == "users":
        return _by_users(data, share, drawn, most)
    hidden = _random(data, share, drawn) if way == "random" else _last(data, share)
    # an empty part could be neither fitted nor measured
    if not hidden.any() or hidden.all():
        raise _too_few(data)
    return _parted(data, way, np.where(hidden, np.uint8(TEST), np.uint8(TRAIN)))


def _parted(data: Interactions, way: Way, parts: npt.NDArray[np.uint8]) -> Split:
    # no fit or evaluation needs times, which take 8 bytes for each entry
    timeless = replace(data, times=None, clock=None)
    return Split(
        way=way,
        train=timeless.chosen(parts == TRAIN),
        shown=timeless.chosen(parts == SHOWN) if way == "users" else None,
        test=timeless.chosen(parts == TEST),
        parts=parts,
        rest=replace(data, rows=NOTHING, columns=NOTHING, ratings=None, weights=None),
    )


def _random(data: Interactions, share: float, drawn: np.random.Generator) -> npt.NDArray[np.bool_]:
    hidden = np.zeros(len(data), np.bool_)
    count = max(1, round(share * len(data)))
    hidden[drawn.choice(len(data), count, replace=False)] = True
    return hidden


def _last(data: Interactions, share: float) -> npt.NDArray[np.bool_]:
    counts = data.user_counts()
    if data.times is None:
        raise ArgumentError(
            "There are no times, so the last interactions are not known.",
            hint=f"Test on a random part, or name their column: {naming('time')}.",
            code="no-times",
        )
    times: npt.NDArray[np.int64] = data.times

    def earlier(here: slice) -> npt.NDArray[Any]:
        return times[here]

    # a user with one entry keeps it: without it nothing would be known of the user
    wanted = np.where(counts > 1, np.maximum(1, np.floor(share * counts)), 0)
    kept = (counts - wanted).astype(np.int64)
    return ~_first(data, earlier, kept)


def _by_users(data: Interactions, share: float, drawn: np.random.Generator, most: int) -> Split:
    counts = data.user_counts()
    able = np.flatnonzero(counts >= FEWEST)
    count = min(most, max(1, round(share * len(data.users))), len(able))
    # somebody must be left to fit
    if not len(able) or count == len(data.users):
        raise _too_few(data)
    held = np.zeros(len(data.users), np.bool_)
    held[drawn.choice(able, count, replace=False)] = True
    of_held = taken(held, data.rows)

    def at_random(here: slice) -> npt.NDArray[Any]:
        return drawn.random(len(data.rows[here]))

    # a random order within each user, whose first fifth is hidden
    hidden = _first(data, at_random, np.floor(HIDDEN * counts).astype(np.int64))
    hidden &= of_held
    parts = np.where(of_held, np.uint8(SHOWN), np.uint8(TRAIN))
    parts[hidden] = TEST
    return _parted(data, "users", parts)


def _first(
    data: Interactions,
    keys: Callable[[slice], npt.NDArray[Any]],
    wanted: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """A mask of the first `wanted` entries of each user by a key, formed for blocks of users.

    Args:
        data: The interactions.
        keys: A function that returns the keys of consecutive slices of the entries; among equal
            keys the earlier entry is first.
        wanted: How many entries of each user are taken.
    """
    starts = data.starts()
    first = np.zeros(len(data), np.bool_)
    ends = np.searchsorted(starts, np.arange(BLOCK, len(data) + BLOCK, BLOCK))
    edges = np.unique(np.append(0, np.minimum(ends, len(wanted))))
    for low, high in pairwise(edges):
        here = slice(int(starts[low]), int(starts[high]))
        # the last key is the primary one
        order = np.lexsort((keys(here), data.rows[here]))
        counts = np.diff(starts[low : high + 1])
        place = np.arange(len(order)) - np.repeat(starts[low:high] - here.start, counts)
        first[here.start + order] = place < np.repeat(wanted[low:high], counts)
    return first


def _too_few(data: Interactions) -> MatrixError:
    return MatrixError(
        f"There are too few interactions for a test part: {len(data)} of {len(data.users)} users.",
        hint="Leave out `test`, or give more data.",
        code="too-few",
    )
