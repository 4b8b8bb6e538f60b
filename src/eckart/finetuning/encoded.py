"""Rows as tokens, from which batches for the model are made."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT64, Array
from eckart.errors import FormatError
from eckart.finetuning.dataset import Places, Rows, Task

UNLEARNT: Final = -100
"""The mark of PyTorch for a token that is not learnt."""
BELOW: Final = "below"
"""Key of a batch under which is what the blocks give that are not learnt, if it is kept."""
TOGETHER: Final = 4
"""Rows that are evaluated at once, as a multiple of those of a step: nothing is kept for them."""
Tokens = Sequence[list[int]]


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded:
    """Rows as tokens.

    Fields:
        task: The task.
        columns: What the model takes, by name: for each row a list with a number for each token.
        labels: Numbers of the classes, or the numbers to be learnt, of shape (rows,).
        learnt: For each row its tokens, with `UNLEARNT` in the place of those that are only read;
            () if the rows have labels.
        tokenizer: The tokenizer of the model.
        length: Most tokens of a text.
        cut: Number of texts that were longer.
        below: For each row what the blocks in front of the first that is learnt give for it, of
            shape (tokens, width), or ().
    """

    task: Task
    columns: Mapping[str, Tokens]
    labels: Array
    learnt: Tokens = ()
    tokenizer: Any
    length: int
    cut: int = 0
    below: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.columns["input_ids"])

    @property
    def lengths(self) -> npt.NDArray[np.intp]:
        """The number of tokens of each row."""
        return np.array([len(one) for one in self.columns["input_ids"]], np.intp)

    def take(self, places: Places) -> "Encoded":
        """Some rows."""
        chosen = [int(place) for place in places]
        return replace(
            self,
            columns={name: [own[one] for one in chosen] for name, own in self.columns.items()},
            labels=self.labels[chosen],
            learnt=[self.learnt[one] for one in chosen] if self.learnt else (),
            below=[self.below[one] for one in chosen] if self.below else (),
        )

    def batch(self, places: Places) -> dict[str, Any]:
        """The inputs of some rows, filled up to the longest of them, and what is learnt."""
        import torch

        chosen = [int(place) for place in places]
        made = self.tokenizer.pad(
            {name: [column[place] for place in chosen] for name, column in self.columns.items()},
            return_tensors="pt",
            return_attention_mask="attention_mask" in self.columns,
        )
        made = dict(made)
        if self.below:
            filled = torch.zeros(*made["input_ids"].shape, self.below[0].shape[1])
            filled[made["attention_mask"].bool()] = torch.cat([self.below[one] for one in chosen])
            made[BELOW] = filled
        if self.task.name == "language":
            # filled up behind the text; what fills up may be the token that texts end with
            wide = torch.full(made["input_ids"].shape, UNLEARNT)
            for row, place in enumerate(chosen):
                wide[row, : len(self.learnt[place])] = torch.tensor(self.learnt[place])
            return {**made, "labels": wide}
        kind = torch.int64 if self.task.name == "classification" else torch.float32
        return {**made, "labels": torch.tensor(self.labels[chosen]).to(kind)}

    def together(self, batch: int) -> int:
        """Rows that are evaluated at once; for a language the outputs take the most memory."""
        return batch if self.task.name == "language" else TOGETHER * batch

    def in_order(self, count: int) -> Iterator[npt.NDArray[np.intp]]:
        """Yield places of rows of similar length, which take the fewest tokens, in batches."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), count):
            yield order[start : start + count]

    def epoch(self, number: int, count: int, seed: int) -> list[npt.NDArray[np.int64]]:
        """The batches of an epoch: a permutation that depends on its number and the seed alone."""
        order = np.random.default_rng([seed, 2, number]).permutation(len(self))
        return [order[start : start + count] for start in range(0, len(order), count)]

    def loss(self, logits: Any, labels: Any) -> Any:
        """The mean loss of a batch: the cross-entropy in nats, or the squared error.

        It is not left to the model: some compare an output with the token at its own place, and
        some add a loss of other parts.

        Args:
            logits: Outputs of shape (rows, outputs), or (rows, tokens, vocabulary) of a language.
            labels: What the batch has as labels.
        """
        from torch.nn import functional

        if self.task.name == "regression":
            return functional.mse_loss(logits[:, 0].float(), labels)
        if self.task.name == "language":
            # the output at a token is for the next one
            logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        return functional.cross_entropy(logits.float(), labels, ignore_index=UNLEARNT)

    def figures(self, logits: Any, labels: Any) -> Array:
        """What is kept of the outputs for a batch: the outputs, or the loss of each text.

        Args:
            logits: Outputs of shape (rows, outputs), or (rows, tokens, vocabulary) of a language.
            labels: What the batch has as labels.

        Returns:
            The outputs; of a language the sum of the losses of the tokens of each row in nats, and
            the number of these tokens, of shape (rows, 2).
        """
        import torch

        if self.task.name != "language":
            return logits.double().numpy()
        # the output at a token is for the next one
        wanted = labels[:, 1:]
        lost = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().mT, wanted, reduction="none", ignore_index=UNLEARNT
        )
        counts = (wanted != UNLEARNT).sum(1)
        return torch.stack([lost.double().sum(1), counts.double()], 1).numpy()


def encoded(
    rows: Rows, task: Task, tokenizer: Any, inputs: Collection[str], length: int
) -> Encoded:
    """Encode rows.

    Args:
        rows: The rows.
        task: The task.
        tokenizer: The tokenizer of the model.
        inputs: Names of the inputs that the model takes.
        length: Most tokens of a text.

    Raises:
        FormatError: If a text has no token to be learnt.
    """
    if task.name == "language":
        columns, learnt, cut = _language(rows, tokenizer, length)
    else:
        texts, learnt = list(rows.texts), ()
        whole = tokenizer(texts, verbose=False)["input_ids"]
        cut = sum(len(one) > length for one in whole)
        found = tokenizer(
            texts,
            truncation=True,
            max_length=length,
            # some tokenizers give none by themselves, though the model takes one
            return_attention_mask="attention_mask" in inputs,
        )
        # a tokenizer may give more than the model takes, such as token_type_ids
        columns = {name: found[name] for name in found if name in inputs}
    empty = [row for row, own in enumerate(columns["input_ids"]) if not own]
    if empty or not len(columns["input_ids"]):
        raise FormatError(
            f"Row {empty[0] + 1} has no token." if empty else "There is no token to be learnt.",
            hint="Leave it out." if empty else "Give a longer text.",
            code="too-short",
        )
    return Encoded(
        task=task,
        columns=columns,
        labels=rows.labels if task.name != "language" else np.zeros(len(learnt), FLOAT64),
        learnt=learnt,
        tokenizer=tokenizer,
        length=length,
        cut=cut,
    )


def _language(rows: Rows, tokenizer: Any, length: int) -> tuple[dict[str, Tokens], Tokens, int]:
    """The columns, the tokens that are learnt, and the number of texts that were cut."""
    if rows.is_running:
        pieces = _pieces("".join(rows.texts), tokenizer, length)
        return _columns(pieces), pieces, 0
    ends = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    prompts = _tokens(tokenizer, rows.prompts) if rows.prompts else [[]] * len(rows)
    own = _tokens(tokenizer, rows.texts, special=not rows.prompts)
    texts: list[list[int]] = []
    learnt: list[list[int]] = []
    cut = 0
    for row, (prompt, text) in enumerate(zip(prompts, own, strict=True)):
        text = [*text, *ends]
        cut += len(prompt) + len(text) > length
        # of a long prompt the end is kept, which what is learnt follows; at least one token of it
        before = prompt[max(0, len(prompt) - max(1, length - len(text))) :]
        text = text[: length - len(before)]
        texts.append([*before, *text])
        learnt.append([*[UNLEARNT] * len(before), *text])
        if not any(one != UNLEARNT for one in learnt[-1][1:]):
            raise FormatError(
                f"Row {row + 1} has no token to be learnt, since none follows another.",
                hint="Leave it out.",
                code="too-short",
            )
    return _columns(texts), learnt, cut


def _tokens(tokenizer: Any, texts: Sequence[str], *, special: bool = True) -> Tokens:
    """The tokens of texts, without those that the tokenizer adds at the end."""
    plain, whole = (
        tokenizer("a", add_special_tokens=one, verbose=False)["input_ids"] for one in (False, True)
    )
    before = next((n for n in range(len(whole)) if whole[n : n + len(plain)] == plain), None)
    # where that cannot be told, no token of a text is taken for one of the tokenizer
    added = 0 if before is None or not special else len(whole) - before - len(plain)
    found = tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
    return [one[: len(one) - added] for one in found]


def _pieces(text: str, tokenizer: Any, length: int) -> Tokens:
    """A text as pieces of one length, of which the last may be shorter."""
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    pieces = [tokens[start : start + length] for start in range(0, len(tokens), length)]
    # one token alone follows no other
    return [one for one in pieces if len(one) > 1]


def _columns(texts: Tokens) -> dict[str, Tokens]:
    return {"input_ids": texts, "attention_mask": [[1] * len(one) for one in texts]}
