"""Tensors read while others are worked on."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

from eckart.jobs.extract.coverage import TensorPair
from eckart.storage.checkpoints import Checkpoint

Tensor = npt.NDArray[Any]
Stored = tuple[Tensor | None, Tensor | None]


def read_ahead(
    base: Checkpoint, tuned: Checkpoint, pairs: Sequence[TensorPair]
) -> Iterator[tuple[TensorPair, Tensor | None, Tensor | None]]:
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
