"""Parts of the interactions that a model does not see, to hold it against."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.errors import ArgumentError, MatrixError
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.merging import joined

Way: TypeAlias = Literal["random", "last", "users"]
WAYS: Final[tuple[Way, ...]] = ("random", "last", "users")
SHARE: Final = 0.1
HIDDEN: Final = 0.2
"""Of the items of a held-out user, those that are to be found from the others."""
FEWEST: Final = 5
"""Items of a user that can be held out whole."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What is fitted and what is held against it, over the same ids.

    Fields:
        way: How it was made.
        train: Is fitted.
        shown: What is shown of held-out users, who are folded in; else None.
        test: Is held against the answers.
    """

    way: Way
    train: Interactions
    test: Interactions
    shown: Interactions | None = None

    @property
    def seen(self) -> Interactions:
        """What a tested user is known to have dealt with, and is not recommended again."""
        return self.train if self.shown is None else self.shown

    @property
    def known(self) -> Interactions:
        """All that is known before the test part is: what is fitted and what is shown."""
        return self.train if self.shown is None else joined(self.train, self.shown)


def split(
    data: Interactions, way: Way, *, share: float = SHARE, seed: int = 0, most: int = 10_000
) -> Split:
    """Take a test part out of interactions.

    Args:
        data: All of them.
        way: "random" takes a share of the entries; "last" the last entries of each user in
            time, at least one of who has two; "users" takes whole
            users, of whose items 80 % are shown to the model afterwards and 20 % are to be found.
        share: Of the entries, or of the users.
        seed: Of the choice.
        most: Users that are held out, at most.

    Raises:
        ArgumentError: If the share is not between 0 and 1, or there are no times for "last".
        MatrixError: If there is too little to take a part from.

    Example:
        >>> from eckart.jobs.recommend.interactions import read_interactions
        >>> data = read_interactions({"user": [1, 1, 1, 2], "item": [1, 2, 3, 1],
        ...                           "time": [3, 2, 1, 0]})
        >>> len(split(data, "last").test)
        1
    """
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
    if not hidden.any() or hidden.all():
        raise _too_few(data)
    return Split(way=way, train=data.chosen(~hidden), test=data.chosen(hidden))


def _random(data: Interactions, share: float, drawn: np.random.Generator) -> npt.NDArray[np.bool_]:
    hidden = np.zeros(len(data), np.bool_)
    count = max(1, round(share * len(data)))
    hidden[drawn.choice(len(data), count, replace=False)] = True
    return hidden


def _last(data: Interactions, share: float) -> npt.NDArray[np.bool_]:
    counts, starts = data.user_counts(), data.starts()
    if data.times is None:
        raise ArgumentError(
            "There are no times, so the last interactions are not known.",
            hint="Name their column with --time, or test on a random part.",
            code="no-times",
        )
    order = np.lexsort((data.times, data.rows))
    place = np.arange(len(data)) - np.repeat(starts[:-1], counts)
    taken = np.where(counts > 1, np.maximum(1, np.floor(share * counts)), 0)
    hidden = np.zeros(len(data), np.bool_)
    hidden[order] = place >= np.repeat(counts - taken, counts)
    return hidden


def _by_users(data: Interactions, share: float, drawn: np.random.Generator, most: int) -> Split:
    counts, starts = data.user_counts(), data.starts()
    able = np.flatnonzero(counts >= FEWEST)
    count = min(most, max(1, round(share * len(data.users))), len(able))
    if not len(able) or count == len(data.users):
        raise _too_few(data)
    held = np.zeros(len(data.users), np.bool_)
    held[drawn.choice(able, count, replace=False)] = True
    # a random order within each user, of which the first fifth is hidden
    order = np.lexsort((drawn.random(len(data)), data.rows))
    place = np.arange(len(data)) - np.repeat(starts[:-1], counts)
    hidden = np.zeros(len(data), np.bool_)
    hidden[order] = place < np.repeat(np.floor(HIDDEN * counts), counts)
    of_held = held[data.rows]
    return Split(
        way="users",
        train=data.chosen(~of_held),
        shown=data.chosen(of_held & ~hidden),
        test=data.chosen(of_held & hidden),
    )


def _too_few(data: Interactions) -> MatrixError:
    return MatrixError(
        f"There are too few interactions for a test part: {len(data)} of {len(data.users)} users.",
        hint="Leave out --test, or give more data.",
        code="too-few",
    )
