"""Passes over the longest texts, which tell before a run how much memory it takes."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from eckart.checkpoints.running import sentence_of
from eckart.errors import EckartError, FormatError
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
from eckart.finetuning.starts import gradients
from eckart.finetuning.training import answers, batch_loss, learnt

ALONE: Final = 1e-4
"""Difference of an output for a text in a batch and alone, relative to the largest output, that is
taken for rounding, which other shapes of the same products may add up over many blocks."""


def memory_of(
    model: Any,
    known: Sequence[Pair],
    data: tuple[Encoded, Encoded],
    settings: Settings,
    base: Path,
) -> Memory:
    """What a run holds at most; its model holds what it held before.

    Args:
        model: The adapted model.
        known: Its pairs.
        data: Rows to learn from and to validate with.
        settings: The settings of the run.
        base: Folder of the model.

    Raises:
        FormatError: If the model does not take the longest text.
    """
    longest = max(data, key=lambda one: one.lengths.max())
    place = int(np.argmax(longest.lengths))
    rows = longest.take([place])

    def step(count: int) -> None:
        model.train(settings.dropout)
        batch_loss(model, rows, rows.batch([0] * count), None).backward()
        model.zero_grad(set_to_none=True)

    def evaluate(count: int) -> None:
        model.eval()
        batch = rows.batch([0] * count)
        labels = batch.pop("labels")
        with torch.no_grad():
            rows.figures(model(**batch).logits, labels)

    tensors = [*model.parameters(), *model.buffers()]
    # no batch has more rows than there are
    batch = min(settings.batch, len(data[0]))
    together = min(rows.together(settings.batch), len(data[1]))

    def start(count: int) -> None:
        whitened = settings.start == "whitened"
        for _ in gradients(
            model,
            known,
            [rows.batch([0] * count)],
            lambda model, batch: batch_loss(model, rows, batch, None),
            whitened=whitened,
        ):
            pass

    with runs(base, rows), torch.random.fork_rng(devices=[]):
        peaks = [peak_of(step, tensors, batch), peak_of(evaluate, tensors, together)]
        if settings.start in ("gradient", "whitened"):
            peaks.append(peak_of(start, tensors, batch) + _layer_bytes(known))
    numbers = sum(one.numel() for one in learnt(model).values())
    if settings.budget is not None:
        most = sum(min(len(one.B), one.A.shape[1]) * (len(one.B) + one.A.shape[1]) for one in known)
        numbers = max(numbers, min(settings.budget // 4, most))
    free = free_memory()
    # what the model held while it was loaded, it may hold again when the adapter is tried
    before = max(resident(), largest_resident())
    return Memory(
        held=before,
        learnt=4 * COPIES * numbers,
        passes=max(peaks),
        kept=0,
        free=None if free is None else free + resident() - before,
    )


@contextmanager
def runs(base: Path, rows: Encoded) -> Generator[None, None, None]:
    """Refuse a model that cannot take a text, with the reason that it gives.

    Raises:
        FormatError: If the block fails.
    """
    try:
        yield
    except (EckartError, MemoryError):
        raise
    except Exception as error:  # a model may refuse texts with any error of its own
        raise FormatError(
            f"The model in {base} cannot take texts of {rows.lengths.min()} to "
            f"{rows.lengths.max()} tokens: {sentence_of(error)}.",
            hint="Give a smaller `length`, or another model.",
            code="cannot-run",
        ) from error


def check_alone(model: Any, data: Encoded, base: Path) -> None:
    """Refuse a model that answers a text in a batch otherwise than the text alone.

    What fills texts up must not count: whoever uses the adapter gives other batches, or none. If
    it counts on one side of the texts, the other is tried, and kept.

    Raises:
        FormatError: If it counts on both.
    """
    order = np.argsort(data.lengths, kind="stable")
    few = data.take(np.unique([*order[:3], *order[-3:]]))
    side, sides = few.tokenizer.padding_side, ("left", "right")
    with runs(base, few):
        alone = np.concatenate([answers(model, few.take([row]), 1) for row in range(len(few))])
        for one in (side, sides[side == "left"]):
            few.tokenizer.padding_side = one
            if one == "left" and data.task.name == "language":
                continue  # what is learnt is filled up on the right
            batch = answers(model, few, len(few))
            if float(np.abs(batch - alone).max()) <= ALONE * float(np.abs(alone).max()):
                return
    raise FormatError(
        f"The model in {base} answers otherwise if texts are filled up to one length.",
        hint="Set the padding_side and the pad_token of its tokenizer to those of its training.",
        code="filler-counts",
    )


def check_ends(data: Sequence[Encoded], model: Any) -> None:
    """Refuse texts that hide where they end from the head of the model.

    Raises:
        FormatError: If a text ends with the token that fills texts up, or the head of a model with
            encoder and decoder would find other numbers of ends in texts of one batch.
    """
    if data[0].task.name == "language":
        return
    config, tokenizer = model.config, data[0].tokenizer
    counts: list[int] = []
    for part in data:
        for row, tokens in enumerate(part.columns["input_ids"]):
            count = tokens.count(tokenizer.eos_token_id)
            counts = counts or [count]
            is_other = getattr(config, "is_encoder_decoder", False) and counts != [count]
            if tokens[-1] == tokenizer.pad_token_id or is_other:
                raise FormatError(
                    f"Row {row + 1} holds a token that says that texts end.",
                    hint=f"Leave '{tokenizer.eos_token or tokenizer.pad_token}' out of the texts.",
                    code="end-in-text",
                )


def _layer_bytes(known: Sequence[Pair]) -> int:
    """Bytes that the start of the largest layer is found with, in float64 outside of PyTorch."""
    shapes = [(pair.B.shape[0], pair.A.shape[1]) for pair in known]
    return (
        8 * 4 * (max(rows * columns for rows, columns in shapes) + max(n for _, n in shapes) ** 2)
    )
