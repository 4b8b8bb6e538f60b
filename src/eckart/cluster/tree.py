"""The order in which results of parts of rows are added: one binary tree, whatever the workers.

The rows are cut into pieces, whose number is a power of two that depends on the matrix alone. A
task takes a range of pieces that is a whole subtree, and adds their results; the tree above is one
of tasks. So a sum has the same bits on any number of workers, and after any of them has died.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, final

T = TypeVar("T")
PIECES: Final = 64
"""Number of pieces of a small matrix."""
PIECE_BYTES: Final = 2**28
"""Bytes of the largest piece: larger matrices have more of them."""
TASKS_PER_THREAD: Final = 2
"""Least number of tasks of a pass for each thread; at most twice as many are made, and with what
adds them there are at most eight for each thread."""


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """Rows of one task, and the places at which its pieces begin, and where the last one ends."""

    edges: tuple[int, ...]

    @property
    def first(self) -> int:
        """Place of the first row."""
        return self.edges[0]

    @property
    def last(self) -> int:
        """Place behind the last row."""
        return self.edges[-1]


def cut(rows: int, nbytes: int, threads: int) -> list[Segment]:
    """Cut the rows of a matrix into the segments of tasks, of whole pieces each.

    Args:
        rows: Number of rows.
        nbytes: Bytes of the matrix.
        threads: Number of threads of all workers.

    Example:
        >>> [segment.edges[:3] for segment in cut(1000, 800, 1)]
        [(0, 16, 32), (512, 528, 544)]
    """
    pieces = PIECES
    while pieces * PIECE_BYTES < nbytes:
        pieces *= 2
    while pieces > rows:
        pieces //= 2
    tasks = 1
    while tasks < min(pieces, TASKS_PER_THREAD * threads):
        tasks *= 2
    # of one height but the last, so that each piece may be a chunk of a file
    height = -(-rows // pieces)
    edges, each = [*range(0, rows, height), rows], pieces // tasks
    starts = range(0, len(edges) - 1, each)
    return [Segment(tuple(edges[start : start + each + 1])) for start in starts]


def added(results: Iterable[T], add: Callable[[T, T], T]) -> T:
    """Add results in the order of a binary tree; no more are held than the tree has levels.

    Example:
        >>> added("abcd", lambda x, y: f"({x}{y})")
        '((ab)(cd))'
    """
    waiting: list[tuple[int, T]] = []
    for one in results:
        level, value = 0, one
        while waiting and waiting[-1][0] == level:
            value = add(waiting.pop()[1], value)
            level += 1
        waiting.append((level, value))
    (_, whole), *rest = reversed(waiting)
    for _, before in rest:
        whole = add(before, whole)
    return whole


def spread(count: int, workers: Sequence[tuple[str, int]]) -> list[str]:
    """The worker of each of `count` tasks: neighbours together, as many as it has threads.

    Example:
        >>> spread(4, [("a", 1), ("b", 1)])
        ['a', 'a', 'b', 'b']
    """
    slots = [address for address, threads in workers for _ in range(threads)]
    return [slots[place * len(slots) // count] for place in range(count)]


def pairs(items: Sequence[T]) -> Iterator[tuple[T, T | None]]:
    """Neighbours of a level of the tree; the last may be alone."""
    for place in range(0, len(items), 2):
        yield items[place], items[place + 1] if place + 1 < len(items) else None
