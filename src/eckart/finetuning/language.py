"""Language as a task: texts or prompts with what follows them, and whether a model can learn it."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from eckart.arrays import FLOAT64
from eckart.checkpoints.running import sentence_of
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.files.reading import reading
from eckart.files.tables import table_head
from eckart.finetuning.dataset import Rows, read_columns_of_text

RUNNING: Final = (".txt", ".text")
"""Suffixes of files that hold one running text and no table."""
PROMPT: Final = "prompt"
COMPLETION: Final = "completion"
PROBED: Final = 6
"""Tokens of a text with which a model is tried."""
SAME: Final = 1e-6
"""Difference of an output, relative to the largest, above which it depends on a later token."""


def read_texts(path: Path, text: str) -> Rows:
    """Read texts, prompts with what follows them, or one running text.

    Args:
        path: A table with a column of texts or with the columns `prompt` and `completion`, or a
            file of running text (.txt).
        text: Name of the column of texts.

    Raises:
        ArgumentError: If the table has neither, or both.
        FormatError: If a cell is missing, or a running text is no UTF-8.
    """
    if path.suffix.lower() in RUNNING:
        return _running(path)
    names = table_head(path, frozenset({text, PROMPT, COMPLETION})).names or ()
    has_pairs = PROMPT in names and COMPLETION in names
    if has_pairs and text in names:
        raise ArgumentError(
            f"{path} has the columns '{text}', '{PROMPT}' and '{COMPLETION}'.",
            hint="Leave out what is not to be learnt.",
            code="no-such-column",
        )
    if has_pairs:
        prompts, texts = read_columns_of_text(path, PROMPT, COMPLETION)
        return Rows(texts=texts, labels=np.zeros(len(texts), FLOAT64), prompts=prompts)
    (texts,) = read_columns_of_text(path, text)
    return Rows(texts=texts, labels=np.zeros(len(texts), FLOAT64))


def _running(path: Path) -> Rows:
    """The lines of a text, each with its end."""
    # utf-8-sig: editors on Windows begin a file with a byte order mark
    with reading(path), path.open(encoding="utf-8-sig") as file:
        try:
            lines = tuple(file)
        except UnicodeDecodeError as error:
            raise FormatError(
                f"{path} is not UTF-8.", hint="Save it as UTF-8.", code="not-utf-8"
            ) from error
    if not any(line.strip() for line in lines):
        raise FormatError(f"{path} holds no text.", hint="Give another.", code="missing-value")
    return Rows(texts=lines, labels=np.zeros(len(lines), FLOAT64), is_running=True)


def split_texts(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Texts to learn from and texts to validate with; of a running text the end is held back.

    Raises:
        MatrixError: If there are too few for both.
    """
    count = len(rows)
    if rows.is_running:
        ends = np.cumsum([len(line) for line in rows.texts])
        first = int(np.searchsorted(ends, (1 - share) * ends[-1], side="right"))
        order, held = np.arange(count), count - max(1, first)
    else:
        order, held = np.random.default_rng([seed, 1]).permutation(count), round(share * count)
    if not 0 < held < count:
        raise MatrixError(
            f"{count} {'lines' if rows.is_running else 'texts'} are too few to hold {share:.0%} "
            "back.",
            hint="Give more, or others to validate with.",
            code="too-few-rows",
        )
    return rows.take(np.sort(order[:-held])), rows.take(np.sort(order[-held:]))


def check_causal(model: Any, folder: Path) -> None:
    """Refuse a model whose output at a token depends on later ones, which it is to foretell.

    Such a model, BERT for one, would learn to copy, and its loss would say nothing.

    Raises:
        FormatError: If it does.
    """
    import torch

    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    places = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    first = torch.arange(min(PROBED, places or PROBED)) % vocabulary
    other = first.clone()
    other[-1] = (first[-1] + vocabulary // 2) % vocabulary
    model.eval()
    try:
        with torch.no_grad():
            one, two = (model(input_ids=tokens[None]).logits[0, :-1] for tokens in (first, other))
    except Exception as error:  # a model may refuse texts with any error of its own
        raise FormatError(
            f"The model in {folder} cannot run over a text: {sentence_of(error)}.",
            hint="Give another model.",
            code="cannot-run",
        ) from error
    # true for NaN too
    if not float((one - two).abs().max()) <= SAME * float(one.abs().max()):
        raise FormatError(
            f"The model in {folder} reads the tokens that follow, so that it cannot learn to "
            "foretell them, or its outputs are no numbers.",
            hint="Give a model that writes text, such as GPT-2 or Llama.",
            code="not-causal",
        )


def is_encoder(config: Any) -> bool:
    """Whether a model reads with an encoder, which a language model alone would not have."""
    return bool(getattr(config, "is_encoder_decoder", False))
