"""Passes over the longest texts, which tell before a run how much memory it takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eckart.checkpoints.running import sentence_of
from eckart.errors import EckartError, FormatError
from eckart.finetuning.below import Below
from eckart.finetuning.encoded import Encoded
from eckart.finetuning.memory import (
    COPIES,
    Memory,
    free_memory,
    largest_resident,
    peak_of,
    resident,
)
from eckart.finetuning.pairs import Pair
from eckart.finetuning.settings import Settings
from eckart.finetuning.training import learnt


def memory_of(
    model: Any,
    known: Sequence[Pair],
    data: tuple[Encoded, Encoded],
    settings: Settings,
    below: Below | None,
    base: Path,
) -> Memory:
    """What a run holds at most; its model holds what it held before.

    Args:
        model: The adapted model.
        known: Its pairs.
        data: Rows to learn from and to validate with.
        settings: The settings of the run.
        below: Blocks whose outputs will be kept.
        base: Folder of the model.

    Raises:
        FormatError: If the model does not take the longest text.
    """
    longest = max(data, key=lambda one: one.lengths.max())
    place = int(np.argmax(longest.lengths))
    rows = longest.take([place])

    def step(count: int) -> None:
        model.train(settings.dropout)
        model(**rows.batch([0] * count)).loss.backward()
        model.zero_grad(set_to_none=True)

    def evaluate(count: int) -> None:
        model.eval()
        batch = rows.batch([0] * count)
        labels = batch.pop("labels")
        with torch.no_grad():
            rows.figures(model(**batch).logits, labels)

    tensors = [*model.parameters(), *model.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):
            peaks = [
                peak_of(step, tensors, settings.batch),
                peak_of(evaluate, tensors, rows.together(settings.batch)),
            ]
    except EckartError:
        raise
    except Exception as error:  # a model may refuse texts with any error of its own
        raise FormatError(
            f"The model in {base} cannot take a text of {rows.lengths[0]} tokens: "
            f"{sentence_of(error)}.",
            hint="Give a smaller `length`, or another model.",
            code="cannot-run",
        ) from error
    numbers = sum(one.numel() for one in learnt(model).values())
    if settings.budget is not None:
        numbers = max(numbers, settings.budget // 4)
    free = free_memory()
    # what the model held while it was loaded, it may hold again when the adapter is tried
    before = max(resident(), largest_resident())
    return Memory(
        held=before,
        learnt=4 * COPIES * numbers,
        passes=max(peaks) + _start_bytes(known, settings),
        kept=0 if below is None else sum(below.nbytes(one) for one in data),
        free=None if free is None else free + resident() - before,
    )


def _start_bytes(known: Sequence[Pair], settings: Settings) -> int:
    """Bytes of the gradients of a start, and of the moments of the inputs of the layers."""
    if settings.start not in ("gradient", "whitened"):
        return 0
    found = sum(4 * pair.B.shape[0] * pair.A.shape[1] for pair in known)
    largest = max(pair.B.shape[0] * pair.A.shape[1] for pair in known)
    squares = [pair.A.shape[1] ** 2 for pair in known]
    moments = 8 * sum(squares) if settings.start == "whitened" else 0
    # one layer at a time is worked on in float64
    return found + moments + 8 * 4 * (largest + max(squares))
