"""Tensors read while others are worked on, and several worked on at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextvars import copy_context
from typing import Any, Final, TypeVar

import numpy.typing as npt

from eckart.jobs.extract.coverage import TensorPair
from eckart.storage.checkpoints import Checkpoint
from eckart.threads import limited_threads, thread_count

T = TypeVar("T")
R = TypeVar("R")

MOST_AT_ONCE: Final = 2
"""Tensors that are worked on side by side, however many cores there are. With the change of each
and the pair that is read meanwhile they stay within four times the largest pair."""
Tensor = npt.NDArray[Any]
Stored = tuple[Tensor | None, Tensor | None]
ReadPair = tuple[TensorPair, Tensor | None, Tensor | None]


def read_ahead(
    base: Checkpoint, tuned: Checkpoint, pairs: Sequence[TensorPair]
) -> Iterator[ReadPair]:
    """Each pair with its tensors as stored, the next one read while this one is worked on.

    Cost:
        The memory of two pairs.
    """

    def read(pair: TensorPair) -> Stored:
        return (
            None if pair.base is None else base.read(pair.base),
            None if pair.tuned is None else tuned.read(pair.tuned),
        )

    with ThreadPoolExecutor(1) as reader:
        following: Future[Stored] | None = reader.submit(read, pairs[0]) if pairs else None
        for number, pair in enumerate(pairs):
            assert following is not None
            stored = following.result()
            last = number + 1 == len(pairs)
            following = None if last else reader.submit(read, pairs[number + 1])
            yield pair, *stored
            del stored


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What the work makes of each item, as it is done: one for each core, on one thread each.

    The threads of BLAS wait for each other in products of a few columns; those of different
    items do not. What each item gives does not depend on how many there are.

    Cost:
        The memory of two items and what the work takes for them, and of the next item.
    """
    count = min(thread_count(), MOST_AT_ONCE)
    with limited_threads(1), ThreadPoolExecutor(count) as pool:
        running: set[Future[R]] = set()
        for item in items:
            running.add(pool.submit(copy_context().run, work, item))
            if len(running) == count:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        yield from (one.result() for one in as_completed(running))
