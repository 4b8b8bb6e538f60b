"""The best items of many users, block by block, in bounded memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.jobs.recommend.checks import whole_number
from eckart.jobs.recommend.interactions import Interactions

Scores: TypeAlias = npt.NDArray[np.float32]
Scorer: TypeAlias = Callable[[npt.NDArray[np.intp]], Scores]
"""Given the places of some users, their scores of all items: (users, items), fresh each time."""

History: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]
"""Where the items of each user begin and end, and the items: what he has seen."""
BLOCK_BYTES: Final = 32_000_000
"""Of scores that are formed at once."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """The best items of some users.

    Fields:
        users: Their places.
        items: Of shape (users, k), the best first; -1 where there are no more.
        scores: Of the same shape; NaN where there are no more.
    """

    users: npt.NDArray[np.intp]
    items: npt.NDArray[np.int32]
    scores: Scores


def rank(
    score: Scorer,
    users: npt.NDArray[np.intp],
    total: int,
    k: int,
    *,
    seen: Interactions | None = None,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Ranking:
    """The k best items of each user, without those he has seen.

    Args:
        score: All scores of some users.
        users: Their places.
        total: How many items there are.
        k: Items of each list.
        seen: What is left out, by user; None leaves nothing out.
        allowed: A mask of the items that may be listed.

    Raises:
        ArgumentError: If k is no whole number from 1.

    Cost:
        users × items scores, 32 MB of them at a time.

    Example:
        >>> table = np.array([[1.0, 3.0, 2.0]], np.float32)
        >>> rank(lambda users: table[users], np.array([0]), 3, 2).items.tolist()
        [[1, 2]]
    """
    history = None if seen is None else (seen.starts(), seen.columns)
    blocks = list(ranked_blocks(score, users, total, k, history=history, allowed=allowed))
    if not blocks:
        return Ranking(
            users=users, items=np.zeros((0, k), np.int32), scores=np.zeros((0, k), np.float32)
        )
    return Ranking(
        users=users,
        items=np.concatenate([block.items for block in blocks]),
        scores=np.concatenate([block.scores for block in blocks]),
    )


def ranked_blocks(
    score: Scorer,
    users: npt.NDArray[np.intp],
    total: int,
    k: int,
    *,
    history: History | None = None,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Iterator[Ranking]:
    """The same block by block, for lists that do not all fit into memory.

    Raises:
        ArgumentError: If k is no whole number from 1.
    """
    k = whole_number("k", k)
    height = max(1, BLOCK_BYTES // (4 * max(total, 1)))
    for begin in range(0, len(users), height):
        block = users[begin : begin + height]
        scores = score(block)
        if history is not None:
            starts, items = history
            counts = starts[block + 1] - starts[block]
            rows = np.repeat(np.arange(len(block)), counts)
            offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            columns = items[np.repeat(starts[block], counts) + offsets]
            scores[rows, columns] = -np.inf
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        yield _best(block, scores, k)


def _best(users: npt.NDArray[np.intp], scores: Scores, k: int) -> Ranking:
    """Of equal scores the earlier item comes first."""
    width = min(k, scores.shape[1])
    if width < scores.shape[1]:
        chosen = np.sort(_largest(scores, width), axis=1)
    else:
        chosen = np.broadcast_to(np.arange(width), scores.shape)
    values = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    items = np.full((len(users), k), -1, np.int32)
    best = np.full((len(users), k), np.nan, np.float32)
    items[:, :width] = np.take_along_axis(chosen, order, axis=1)
    best[:, :width] = np.take_along_axis(values, order, axis=1)
    gone = ~np.isfinite(best)
    items[gone], best[gone] = -1, np.nan
    return Ranking(users=users, items=items, scores=best)


def _largest(scores: Scores, width: int) -> npt.NDArray[np.intp]:
    """The places of so many largest scores of each row; of those that equal the last the first."""
    chosen = np.argpartition(scores, -width, axis=1)[:, -width:]
    least = np.take_along_axis(scores, chosen, axis=1).min(axis=1)
    tied = np.flatnonzero(np.count_nonzero(scores >= least[:, None], axis=1) > width)
    for row in tied[np.isfinite(least[tied])]:
        above = np.flatnonzero(scores[row] > least[row])
        equal = np.flatnonzero(scores[row] == least[row])
        chosen[row] = np.append(above, equal[: width - len(above)])
    return chosen
