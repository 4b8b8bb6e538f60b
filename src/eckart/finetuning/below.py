"""What lies below the first layer that is learnt, computed once for each text.

A model of texts is a list of blocks. Blocks in front of the first one in which something is learnt
give the same for a text in every step, as long as there is no dropout. What they give is kept, as
the input of that block, and they are left out of every pass.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import torch

from eckart.arrays import FLOAT32
from eckart.finetuning.encoded import BELOW, Encoded

SAME: Final = 1e-5
"""Largest difference of an output with what is kept, relative to the largest output."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """The blocks in front of the first one that is learnt.

    Fields:
        before: These blocks.
        first: The first block in which something is learnt.
        width: Numbers of each token between two blocks.
    """

    before: Sequence[Any]
    first: Any
    width: int

    @staticmethod
    def find(model: Any, data: Encoded) -> "Below | None":
        """The blocks of a model, or None if it has no block in front of all that is learnt.

        Args:
            model: The adapted model.
            data: Rows, for a pass that shows in which order modules are called.
        """
        example = data.batch([0])
        del example["labels"]
        # else positions may depend on what fills a text up, or a row cannot be told from that
        if data.tokenizer.padding_side != "right" or "attention_mask" not in example:
            return None
        blocks = [
            (own, number, block)
            for own in model.modules()
            if isinstance(own, torch.nn.ModuleList)
            for number, block in enumerate(own)
        ]
        called, given = _run(model, [block for _, _, block in blocks], example)
        first = next((one for one in called if _is_learnt(one)), None)
        # the outermost list comes first among the modules
        found = next((one for one in blocks if any(first is own for own in one[2].modules())), None)
        if found is None or found[1] == 0:
            return None
        own, number, block = found
        begun = called[: next(place for place, one in enumerate(called) if one is first)]
        before = list(own)[:number]
        # each of them runs once, and gives one tensor, which the next one takes
        outputs = [given.get(one) for one in before if sum(one is run for run in begun) == 1]
        tensors = [one for one in outputs if isinstance(one, torch.Tensor)]
        if len(tensors) < number:
            return None
        return Below(before=before, first=block, width=int(tensors[-1].shape[-1]))

    def nbytes(self, data: Encoded) -> int:
        """Bytes of what is kept of some rows."""
        return FLOAT32.itemsize * self.width * int(data.lengths.sum())

    def keep(self, model: Any, data: Encoded, count: int) -> Encoded:
        """The rows with what the blocks give for them, taking so many rows at once."""
        found: list[Any] = [None] * len(data)
        seen: list[Any] = []

        def see(_module: Any, inputs: tuple[Any, ...]) -> None:
            seen.append(inputs[0])

        handle = self.first.register_forward_pre_hook(see)
        try:
            with torch.no_grad():
                model.eval()
                for places in data.in_order(count):
                    batch = data.batch(places)
                    del batch["labels"]
                    model(**batch)
                    hidden, mask = seen.pop(), batch["attention_mask"].bool()
                    for place, own, kept in zip(places, hidden, mask, strict=True):
                        found[place] = own[kept].clone()
        finally:
            handle.remove()
        return replace(data, below=found)

    @contextmanager
    def left_out(self, hidden: Any) -> Generator[None, None, None]:
        """Run a model with some inputs of the first block that is learnt, without those before."""

        def put(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return hidden, *inputs[1:]

        own = [block.forward for block in self.before]
        handle = self.first.register_forward_pre_hook(put)
        try:
            for block in self.before:
                block.forward = _passed_on
            yield
        finally:
            handle.remove()
            for block, forward in zip(self.before, own, strict=True):
                block.forward = forward


def _is_learnt(module: Any) -> bool:
    return any(one.requires_grad for one in module.parameters(recurse=False))


def _run(
    model: Any, blocks: Sequence[Any], example: Mapping[str, Any]
) -> tuple[list[Any], dict[Any, Any]]:
    """The blocks and the learnt modules in the order in which they run, and what blocks give."""
    called: list[Any] = []
    given: dict[Any, Any] = {}

    def call(module: Any, _inputs: Any) -> None:
        called.append(module)

    def give(module: Any, _inputs: Any, output: Any) -> None:
        given[module] = output

    learnt = [module for module in model.modules() if _is_learnt(module)]
    handles = [one.register_forward_pre_hook(call) for one in [*learnt, *blocks]]
    handles += [block.register_forward_hook(give) for block in blocks]
    try:
        with torch.no_grad():
            model.eval()(**example)
    finally:
        for handle in handles:
            handle.remove()
    return called, given


def outputs(model: Any, batch: Mapping[str, Any], below: Below | None) -> Any:
    """The outputs of a model for a batch, without the blocks whose outputs are kept in it."""
    rest = {name: one for name, one in batch.items() if name != BELOW}
    if below is None or BELOW not in batch:
        return model(**rest)
    with below.left_out(batch[BELOW]):
        return model(**rest)


def keep_below(
    model: Any, below: Below, train: Encoded, held: Encoded, batch: int
) -> tuple[Below | None, Encoded, Encoded]:
    """The rows with what lies below kept, or as they were if the model does not allow it."""
    kept, other = (below.keep(model, rows, rows.together(batch)) for rows in (train, held))
    if all(_agrees(model, below, rows) for rows in (kept, other)):
        return below, kept, other
    return None, train, held


def _agrees(model: Any, below: Below, rows: Encoded) -> bool:
    """Whether what is kept gives the outputs of a whole pass, for the longest and shortest rows."""
    order = np.argsort(rows.lengths, kind="stable")
    batch = rows.batch(np.unique([*order[:2], *order[-2:]]))
    del batch["labels"]
    with torch.no_grad():
        short = outputs(model, batch, below).logits
        del batch[BELOW]
        whole = model(**batch).logits
    mask = batch["attention_mask"].bool()
    if whole.shape[:2] == mask.shape:  # outputs behind the end of a text mean nothing
        whole, short = whole[mask], short[mask]
    return float((whole - short).abs().max()) <= SAME * float(whole.abs().max())


def _passed_on(hidden: Any, *_more: Any, **_named: Any) -> Any:
    return hidden
